//! MySQL, PostgreSQL, Oracle (C20–C22): account and databases are the same on both sides.

use super::canary::{CANARY_PASSWORD, CanarySpec, ProbedCanary};
use super::check::{Account, account, fill_tls, same_servers, site_addresses, tls};
use super::{
    KindSpec, KindTraits, ProbedDetail, ProbedSecret, ProbedSide, SecretSlot, SiteSpec, TlsSpec, shared::tls_fields,
};
use crate::model::*;
use crate::validate::{MAX_ACCOUNT_CHARS, MAX_REPLICAS, Problems};

/// One side of a relational monitor (C20). Addresses are `host:port`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RelationalSite {
    #[prost(string, tag = "1")]
    pub cloud: String,
    #[prost(string, tag = "2")]
    pub region: String,
    #[prost(string, tag = "3")]
    pub address: String,
    #[prost(string, repeated, tag = "4")]
    pub replicas: Vec<String>,
}

/// A relational monitor: the account and the monitoring database are the same on both sides.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RelationalSpec {
    #[prost(string, tag = "1")]
    pub user: String,
    /// Absent in an edit that keeps the present password.
    #[prost(message, optional, tag = "2")]
    pub password: Option<Sealed>,
    /// Oracle: the service name.
    #[prost(string, tag = "3")]
    pub monitoring_database: String,
    #[prost(string, tag = "4")]
    pub connecting_database: String,
    #[prost(message, required, tag = "5")]
    pub dc1: RelationalSite,
    #[prost(message, required, tag = "6")]
    pub dc2: RelationalSite,
    /// Absent: off.
    #[prost(message, optional, tag = "7")]
    pub tls: Option<TlsSpec>,
    /// Oracle: `monitoring_database` is a SID and no service name.
    #[prost(bool, tag = "8")]
    pub database_is_sid: bool,
    /// Absent: nothing is ever written.
    #[prost(message, optional, tag = "105")]
    pub canary: Option<CanarySpec>,
}

impl RelationalSpec {
    fn probed_secrets(&self) -> Vec<ProbedSecret> {
        let mut secrets = ProbedSecret::password("password", self.password.as_ref());
        secrets.extend(self.canary.as_ref().and_then(CanarySpec::probed_secret));
        secrets
    }

    fn probed_canary(&self, dc: DataCenter) -> Option<ProbedCanary> {
        self.canary.as_ref().map(|canary| ProbedCanary {
            user: canary.user.clone(),
            database: canary.database.clone(),
            table: canary.table.clone(),
            row: dc.row(),
            votes: canary.votes,
        })
    }

    /// One side.
    pub fn site(&self, dc: DataCenter) -> &RelationalSite {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

impl KindSpec for RelationalSpec {
    fn place(&self, dc: DataCenter) -> SiteSpec {
        let site = self.site(dc);
        SiteSpec {
            cloud: site.cloud.clone(),
            region: site.region.clone(),
            zones: Vec::new(),
            addresses: vec![site.address.clone()],
        }
    }

    fn replicas(&self, dc: DataCenter) -> &[String] {
        &self.site(dc).replicas
    }

    fn probed(&self, dc: DataCenter) -> ProbedSide {
        ProbedSide {
            kind: "",
            addresses: vec![self.site(dc).address.clone()],
            user: self.user.clone(),
            secrets: self.probed_secrets(),
            database: self.monitoring_database.clone(),
            tls: fill_tls(self.tls.as_ref()),
            detail: ProbedDetail::Relational {
                database_is_sid: self.database_is_sid,
                canary: self.probed_canary(dc),
            },
        }
    }

    fn secret_slots(&mut self) -> Vec<SecretSlot<'_>> {
        let mut slots = vec![SecretSlot {
            field: "password".to_owned(),
            sealed: &mut self.password,
        }];
        if let Some(canary) = &mut self.canary {
            slots.push(SecretSlot {
                field: CANARY_PASSWORD.to_owned(),
                sealed: &mut canary.password,
            });
        }
        slots
    }

    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = vec![
            ("user".to_owned(), self.user.clone()),
            ("monitoring_database".to_owned(), self.monitoring_database.clone()),
            ("connecting_database".to_owned(), self.connecting_database.clone()),
        ];
        if self.database_is_sid {
            fields.push(("database_is_sid".to_owned(), "true".to_owned()));
        }
        if let Some(canary) = &self.canary {
            fields.extend(canary.fields());
        }
        if let Some(tls) = &self.tls {
            fields.extend(tls_fields("", tls));
        }
        for dc in DataCenter::ALL {
            let (site, dc) = (self.site(dc), dc.name());
            fields.push((format!("{dc}.cloud"), site.cloud.clone()));
            fields.push((format!("{dc}.region"), site.region.clone()));
            fields.push((format!("{dc}.address"), site.address.clone()));
            fields.push((format!("{dc}.replicas"), site.replicas.join(",")));
        }
        fields
    }

    fn check(&self, problems: &mut Problems, at: &str, traits: &KindTraits) {
        let pointer = |field: &str| format!("{at}/{field}");
        for (field, name) in [
            ("monitoring_database", &self.monitoring_database),
            ("connecting_database", &self.connecting_database),
        ] {
            problems.text(&pointer(field), name, 1, MAX_ACCOUNT_CHARS);
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
        tls(problems, &pointer("tls"), self.tls.as_ref());
        if self.database_is_sid && traits.name != "oracle" {
            let detail = "only an Oracle database has a SID";
            problems.add(pointer("database_is_sid"), "unsupported", detail);
        }
        if let Some(canary) = &self.canary {
            canary.check(problems, &pointer("canary"), traits);
        }
        for dc in DataCenter::ALL {
            let (site, at) = (self.site(dc), format!("{at}/{}", dc.name()));
            problems.place(&at, &site.cloud, &site.region);
            problems.address(&format!("{at}/address"), &site.address);
            let known = [site.address.clone()];
            site_addresses(
                problems,
                &format!("{at}/replicas"),
                &site.replicas,
                &known,
                MAX_REPLICAS,
            );
        }
        same_servers(
            problems,
            &format!("{at}/dc2/address"),
            std::slice::from_ref(&self.dc1.address),
            std::slice::from_ref(&self.dc2.address),
        );
    }
}
