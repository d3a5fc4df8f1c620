//! Redis: one server, sentinels, or a cluster per side (C23).

use super::check::{Account, account, fill_tls, same_servers, site, tls};
use super::{
    KindSpec, KindTraits, ProbedDetail, ProbedSecret, ProbedSide, SecretSlot, SiteSpec, TlsSpec, shared::tls_fields,
};
use crate::model::*;
use crate::validate::{MAX_ACCOUNT_CHARS, MAX_ADDRESSES, Problems};

/// How the servers of both sides are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RedisMode {
    /// One address per side.
    Normal = 0,
    /// The addresses are those of sentinels.
    Sentinel = 1,
    /// The addresses are those of some nodes of a cluster.
    Cluster = 2,
}

impl RedisMode {
    /// Every mode.
    pub const ALL: [RedisMode; 3] = [RedisMode::Normal, RedisMode::Sentinel, RedisMode::Cluster];

    /// The spelling of SDK keys and of the API.
    pub const fn name(self) -> &'static str {
        match self {
            RedisMode::Normal => "normal",
            RedisMode::Sentinel => "sentinel",
            RedisMode::Cluster => "cluster",
        }
    }
}

/// One side of a Redis monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RedisSite {
    #[prost(message, required, tag = "1")]
    pub place: SiteSpec,
    /// No login at all.
    #[prost(bool, tag = "2")]
    pub passwordless: bool,
    /// ACL user; empty: `default`.
    #[prost(string, tag = "3")]
    pub user: String,
    /// Absent when passwordless, and in an edit that keeps the present one.
    #[prost(message, optional, tag = "4")]
    pub password: Option<Sealed>,
    /// Sentinel: account at the sentinels; empty: `default`, and no login without a password.
    #[prost(string, tag = "5")]
    pub sentinel_user: String,
    #[prost(message, optional, tag = "6")]
    pub sentinel_password: Option<Sealed>,
    /// Absent: off.
    #[prost(message, optional, tag = "7")]
    pub tls: Option<TlsSpec>,
}

/// A Redis monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RedisSpec {
    #[prost(enumeration = "RedisMode", tag = "1")]
    pub mode: i32,
    #[prost(enumeration = "Routing", tag = "2")]
    pub routing: i32,
    /// Name of the master that the sentinels watch.
    #[prost(string, tag = "3")]
    pub master_name: String,
    #[prost(message, required, tag = "4")]
    pub dc1: RedisSite,
    #[prost(message, required, tag = "5")]
    pub dc2: RedisSite,
}

impl RedisSpec {
    /// One side.
    pub fn site(&self, dc: DataCenter) -> &RedisSite {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

impl KindSpec for RedisSpec {
    fn place(&self, dc: DataCenter) -> SiteSpec {
        self.site(dc).place.clone()
    }

    fn probed(&self, dc: DataCenter) -> ProbedSide {
        let site = self.site(dc);
        let field = |name: &str| format!("{}.{name}", dc.name());
        let mut secrets = ProbedSecret::password(&field("password"), site.password.as_ref());
        if let Some(sealed) = &site.sentinel_password {
            secrets.push(ProbedSecret {
                name: "sentinel_password".to_owned(),
                field: field("sentinel_password"),
                sealed: sealed.clone(),
            });
        }
        ProbedSide {
            kind: "",
            addresses: site.place.addresses.clone(),
            user: site.user.clone(),
            secrets,
            database: String::new(),
            tls: fill_tls(site.tls.as_ref()),
            detail: ProbedDetail::Redis {
                mode: self.mode(),
                master_name: self.master_name.clone(),
                sentinel_user: site.sentinel_user.clone(),
            },
        }
    }

    fn routing(&self) -> Option<Routing> {
        Some(self.routing())
    }

    fn mode(&self) -> Option<&'static str> {
        Some(self.mode().name())
    }

    fn secret_slots(&mut self) -> Vec<SecretSlot<'_>> {
        let sentinel = self.mode() == RedisMode::Sentinel;
        let mut slots = Vec::new();
        for (dc, site) in [("dc1", &mut self.dc1), ("dc2", &mut self.dc2)] {
            if !site.passwordless || site.password.is_some() {
                slots.push(SecretSlot {
                    field: format!("{dc}.password"),
                    sealed: &mut site.password,
                });
            }
            if sentinel && (!site.sentinel_user.is_empty() || site.sentinel_password.is_some()) {
                slots.push(SecretSlot {
                    field: format!("{dc}.sentinel_password"),
                    sealed: &mut site.sentinel_password,
                });
            }
        }
        slots
    }

    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = vec![
            ("mode".to_owned(), self.mode().name().to_owned()),
            ("routing".to_owned(), self.routing().name().to_owned()),
            ("master_name".to_owned(), self.master_name.clone()),
        ];
        for dc in DataCenter::ALL {
            let (site, dc) = (self.site(dc), dc.name());
            fields.extend(site.place.fields(dc));
            fields.push((format!("{dc}.passwordless"), site.passwordless.to_string()));
            fields.push((format!("{dc}.user"), site.user.clone()));
            fields.push((format!("{dc}.sentinel_user"), site.sentinel_user.clone()));
            fields.extend(tls_fields(&format!("{dc}."), &fill_tls(site.tls.as_ref())));
        }
        fields
    }

    fn check(&self, problems: &mut Problems, at: &str, traits: &KindTraits) {
        let mode = RedisMode::try_from(self.mode);
        if mode.is_err() {
            problems.add(format!("{at}/mode"), "unsupported", "normal, sentinel or cluster");
        }
        problems.routing(&format!("{at}/routing"), self.routing, traits);
        let sentinel = mode == Ok(RedisMode::Sentinel);
        let least = usize::from(sentinel);
        problems.text(
            &format!("{at}/master_name"),
            &self.master_name,
            least,
            MAX_ACCOUNT_CHARS,
        );
        if !sentinel && !self.master_name.is_empty() {
            let detail = "only sentinels know a master by name";
            problems.add(format!("{at}/master_name"), "unsupported", detail);
        }
        let most = if mode == Ok(RedisMode::Normal) {
            1
        } else {
            MAX_ADDRESSES
        };
        for dc in DataCenter::ALL {
            let (side, at) = (self.site(dc), format!("{at}/{}", dc.name()));
            site(problems, &at, &side.place, most);
            account(
                problems,
                &at,
                &Account {
                    user: &side.user,
                    user_required: false,
                    passwordless: side.passwordless,
                    password: side.password.as_ref(),
                },
            );
            problems.text(
                &format!("{at}/sentinel_user"),
                &side.sentinel_user,
                0,
                MAX_ACCOUNT_CHARS,
            );
            if let Some(sealed) = &side.sentinel_password {
                problems.secret(&format!("{at}/sentinel_password"), sealed);
            }
            if !sentinel && (side.sentinel_password.is_some() || !side.sentinel_user.is_empty()) {
                let detail = "an account of sentinels belongs to the mode sentinel";
                problems.add(format!("{at}/sentinel_user"), "unsupported", detail);
            } else if !side.sentinel_user.is_empty() && side.sentinel_password.is_none() {
                let detail = "the account of the sentinels needs its password";
                problems.add(format!("{at}/sentinel_password"), "required", detail);
            }
            tls(problems, &format!("{at}/tls"), side.tls.as_ref());
        }
        let (dc1, dc2) = (&self.dc1.place.addresses, &self.dc2.place.addresses);
        same_servers(problems, &format!("{at}/dc2/addresses"), dc1, dc2);
    }
}
