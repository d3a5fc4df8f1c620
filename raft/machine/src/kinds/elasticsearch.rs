//! Elasticsearch and OpenSearch: several addresses and an account per side (C25).

use super::check::{Account, account, same_servers, site, tls};
use super::{
    KindSpec, KindTraits, ProbedDetail, ProbedSecret, ProbedSide, SecretSlot, SiteSpec, TlsSpec, shared::tls_fields,
};
use crate::model::*;
use crate::validate::{MAX_ADDRESSES, Problems};

/// Scheme of HTTP data sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Scheme {
    Https = 0,
    Http = 1,
}

impl Scheme {
    /// The spelling of addresses and of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
        }
    }
}

/// One side of an Elasticsearch monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ElasticsearchSite {
    #[prost(message, required, tag = "1")]
    pub place: SiteSpec,
    #[prost(enumeration = "Scheme", tag = "2")]
    pub scheme: i32,
    /// No login at all.
    #[prost(bool, tag = "3")]
    pub passwordless: bool,
    /// Monitoring account, apart from the business user.
    #[prost(string, tag = "4")]
    pub user: String,
    /// Absent when passwordless, and in an edit that keeps the present one.
    #[prost(message, optional, tag = "5")]
    pub password: Option<Sealed>,
    /// How the certificate is verified with `Https`; absent: not at all.
    #[prost(message, optional, tag = "6")]
    pub tls: Option<TlsSpec>,
}

/// An Elasticsearch monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ElasticsearchSpec {
    #[prost(enumeration = "Routing", tag = "1")]
    pub routing: i32,
    #[prost(message, required, tag = "2")]
    pub dc1: ElasticsearchSite,
    #[prost(message, required, tag = "3")]
    pub dc2: ElasticsearchSite,
}

impl ElasticsearchSpec {
    /// One side.
    pub fn site(&self, dc: DataCenter) -> &ElasticsearchSite {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

impl KindSpec for ElasticsearchSpec {
    fn place(&self, dc: DataCenter) -> SiteSpec {
        self.site(dc).place.clone()
    }

    fn probed(&self, dc: DataCenter) -> ProbedSide {
        let site = self.site(dc);
        ProbedSide {
            kind: "",
            addresses: site.place.addresses.clone(),
            user: site.user.clone(),
            secrets: ProbedSecret::password(&format!("{}.password", dc.name()), site.password.as_ref()),
            database: String::new(),
            tls: http_tls(site.scheme(), site.tls.as_ref()),
            detail: ProbedDetail::Elasticsearch {
                https: site.scheme() == Scheme::Https,
            },
        }
    }

    fn routing(&self) -> Option<Routing> {
        Some(self.routing())
    }

    fn secret_slots(&mut self) -> Vec<SecretSlot<'_>> {
        [("dc1", &mut self.dc1), ("dc2", &mut self.dc2)]
            .into_iter()
            .filter(|(_, site)| !site.passwordless || site.password.is_some())
            .map(|(dc, site)| SecretSlot {
                field: format!("{dc}.password"),
                sealed: &mut site.password,
            })
            .collect()
    }

    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = vec![("routing".to_owned(), self.routing().name().to_owned())];
        for dc in DataCenter::ALL {
            let (site, dc) = (self.site(dc), dc.name());
            fields.extend(site.place.fields(dc));
            fields.push((format!("{dc}.scheme"), site.scheme().name().to_owned()));
            fields.push((format!("{dc}.passwordless"), site.passwordless.to_string()));
            fields.push((format!("{dc}.user"), site.user.clone()));
            let tls = http_tls(site.scheme(), site.tls.as_ref());
            fields.extend(tls_fields(&format!("{dc}."), &tls));
        }
        fields
    }

    fn check(&self, problems: &mut Problems, at: &str, traits: &KindTraits) {
        problems.routing(&format!("{at}/routing"), self.routing, traits);
        for dc in DataCenter::ALL {
            let (side, at) = (self.site(dc), format!("{at}/{}", dc.name()));
            site(problems, &at, &side.place, MAX_ADDRESSES);
            account(
                problems,
                &at,
                &Account {
                    user: &side.user,
                    user_required: !side.passwordless,
                    passwordless: side.passwordless,
                    password: side.password.as_ref(),
                },
            );
            http_scheme(problems, &at, side.scheme, side.tls.as_ref());
        }
        let (dc1, dc2) = (&self.dc1.place.addresses, &self.dc2.place.addresses);
        same_servers(problems, &format!("{at}/dc2/addresses"), dc1, dc2);
    }
}

/// TLS as a prober of HTTP sees it: the scheme says whether, the specification how.
pub(super) fn http_tls(scheme: Scheme, spec: Option<&TlsSpec>) -> TlsSpec {
    use super::TlsMode;
    match scheme {
        Scheme::Http => TlsSpec::default(),
        Scheme::Https => spec.cloned().unwrap_or(TlsSpec {
            mode: TlsMode::Unverified as i32,
            ca_pem: String::new(),
        }),
    }
}

/// Scheme and TLS must not contradict each other.
pub(super) fn http_scheme(problems: &mut Problems, at: &str, scheme: i32, spec: Option<&TlsSpec>) {
    use super::TlsMode;
    if Scheme::try_from(scheme).is_err() {
        problems.add(format!("{at}/scheme"), "unsupported", "https or http");
    }
    tls(problems, &format!("{at}/tls"), spec);
    let off = spec.map(|spec| spec.mode() == TlsMode::Off);
    let contradiction = match Scheme::try_from(scheme) {
        Ok(Scheme::Https) if off == Some(true) => "https cannot do without TLS: unverified or verified",
        Ok(Scheme::Http) if off == Some(false) => "http knows no TLS: choose https, or leave this out",
        _ => return,
    };
    problems.add(format!("{at}/tls/mode"), "unsupported", contradiction);
}
