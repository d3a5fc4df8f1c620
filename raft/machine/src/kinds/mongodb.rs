//! MongoDB: several addresses per side, one account for both (C24).

use super::check::{Account, account, fill_tls, same_servers, site, tls};
use super::{
    KindSpec, KindTraits, ProbedDetail, ProbedSecret, ProbedSide, SecretSlot, SiteSpec, TlsSpec, shared::tls_fields,
};
use crate::model::*;
use crate::validate::{MAX_ACCOUNT_CHARS, MAX_ADDRESSES, Problems};

/// A MongoDB monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MongodbSpec {
    #[prost(string, tag = "1")]
    pub user: String,
    /// Absent in an edit that keeps the present password.
    #[prost(message, optional, tag = "2")]
    pub password: Option<Sealed>,
    /// Database that the account belongs to.
    #[prost(string, tag = "3")]
    pub monitoring_database: String,
    #[prost(string, tag = "4")]
    pub connecting_database: String,
    /// Name of the replica set, the same on both sides; empty: whatever answers.
    #[prost(string, tag = "5")]
    pub replica_set: String,
    /// Absent: off.
    #[prost(message, optional, tag = "6")]
    pub tls: Option<TlsSpec>,
    #[prost(message, required, tag = "7")]
    pub dc1: SiteSpec,
    #[prost(message, required, tag = "8")]
    pub dc2: SiteSpec,
}

impl MongodbSpec {
    /// One side.
    pub fn site(&self, dc: DataCenter) -> &SiteSpec {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

impl KindSpec for MongodbSpec {
    fn place(&self, dc: DataCenter) -> SiteSpec {
        self.site(dc).clone()
    }

    fn probed(&self, dc: DataCenter) -> ProbedSide {
        ProbedSide {
            kind: "",
            addresses: self.site(dc).addresses.clone(),
            user: self.user.clone(),
            secrets: ProbedSecret::password("password", self.password.as_ref()),
            database: self.monitoring_database.clone(),
            tls: fill_tls(self.tls.as_ref()),
            detail: ProbedDetail::Mongodb {
                replica_set: self.replica_set.clone(),
            },
        }
    }

    fn secret_slots(&mut self) -> Vec<SecretSlot<'_>> {
        vec![SecretSlot {
            field: "password".to_owned(),
            sealed: &mut self.password,
        }]
    }

    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = vec![
            ("user".to_owned(), self.user.clone()),
            ("monitoring_database".to_owned(), self.monitoring_database.clone()),
            ("connecting_database".to_owned(), self.connecting_database.clone()),
            ("replica_set".to_owned(), self.replica_set.clone()),
        ];
        fields.extend(tls_fields("", &fill_tls(self.tls.as_ref())));
        for dc in DataCenter::ALL {
            fields.extend(self.site(dc).fields(dc.name()));
        }
        fields
    }

    fn check(&self, problems: &mut Problems, at: &str, _traits: &KindTraits) {
        for (field, name, least) in [
            ("monitoring_database", &self.monitoring_database, 1),
            ("connecting_database", &self.connecting_database, 1),
            ("replica_set", &self.replica_set, 0),
        ] {
            problems.text(&format!("{at}/{field}"), name, least, MAX_ACCOUNT_CHARS);
        }
        account(
            problems,
            at,
            &Account {
                user: &self.user,
                user_required: true,
                passwordless: false,
                password: self.password.as_ref(),
            },
        );
        tls(problems, &format!("{at}/tls"), self.tls.as_ref());
        for dc in DataCenter::ALL {
            site(problems, &format!("{at}/{}", dc.name()), self.site(dc), MAX_ADDRESSES);
        }
        let (dc1, dc2) = (&self.dc1.addresses, &self.dc2.addresses);
        same_servers(problems, &format!("{at}/dc2/addresses"), dc1, dc2);
    }
}
