//! Checks that several kinds share.

use std::collections::BTreeSet;

use super::{ProbedSecret, SiteSpec, TlsMode, TlsSpec};
use crate::model::Sealed;
use crate::validate::{MAX_ACCOUNT_CHARS, MAX_PLACE_CHARS, MAX_ZONES, Problems, canonical};

/// Longest bundle of trusted certificates.
const MAX_CA_PEM_BYTES: usize = 64 * 1024;

impl ProbedSecret {
    /// The secret `password`, if there is one.
    pub(super) fn password(field: &str, sealed: Option<&Sealed>) -> Vec<Self> {
        let secret = sealed.map(|sealed| Self {
            name: "password".to_owned(),
            field: field.to_owned(),
            sealed: sealed.clone(),
        });
        secret.into_iter().collect()
    }
}

/// TLS as it is in force: absent means off.
pub(super) fn fill_tls(spec: Option<&TlsSpec>) -> TlsSpec {
    spec.cloned().unwrap_or_default()
}

/// An account as a kind has it.
pub(super) struct Account<'a> {
    pub user: &'a str,
    pub user_required: bool,
    pub passwordless: bool,
    pub password: Option<&'a Sealed>,
}

pub(super) fn account(problems: &mut Problems, at: &str, account: &Account<'_>) {
    let least = usize::from(account.user_required);
    problems.text(&format!("{at}/user"), account.user, least, MAX_ACCOUNT_CHARS);
    let pointer = format!("{at}/password");
    match (account.passwordless, account.password) {
        (false, None) => problems.add(pointer, "required", "must be given"),
        (false, Some(sealed)) => problems.secret(&pointer, sealed),
        (true, Some(_)) => problems.add(pointer, "unsupported", "a passwordless side has no password"),
        (true, None) if !account.user.is_empty() => {
            let detail = "a passwordless side has no account";
            problems.add(format!("{at}/user"), "unsupported", detail);
        }
        (true, None) => {}
    }
}

/// Where a side is, with 1 to `most` addresses.
pub(super) fn site(problems: &mut Problems, at: &str, site: &SiteSpec, most: usize) {
    problems.place(at, &site.cloud, &site.region);
    if site.zones.len() > MAX_ZONES {
        problems.add(format!("{at}/zones"), "too-many", format!("at most {MAX_ZONES}"));
    }
    for (position, zone) in site.zones.iter().enumerate() {
        problems.text(&format!("{at}/zones/{position}"), zone, 1, MAX_PLACE_CHARS);
    }
    if site.addresses.is_empty() {
        problems.add(format!("{at}/addresses"), "required", "at least one address");
    }
    site_addresses(problems, &format!("{at}/addresses"), &site.addresses, &[], most);
}

/// At most `most` addresses, none of them twice or among `known`.
pub(super) fn site_addresses(
    problems: &mut Problems,
    pointer: &str,
    addresses: &[String],
    known: &[String],
    most: usize,
) {
    if addresses.len() > most {
        problems.add(
            pointer,
            "too-many",
            format!("{} addresses; at most {most}", addresses.len()),
        );
    }
    let mut seen: BTreeSet<String> = known.iter().map(|address| canonical(address)).collect();
    for (position, address) in addresses.iter().enumerate() {
        let pointer = format!("{pointer}/{position}");
        problems.address(&pointer, address);
        if !seen.insert(canonical(address)) {
            problems.add(pointer, "duplicate", "this address is listed already");
        }
    }
}

/// No server may stand on both sides: a switch to itself would move nothing.
pub(super) fn same_servers(problems: &mut Problems, pointer: &str, dc1: &[String], dc2: &[String]) {
    let first: BTreeSet<String> = dc1.iter().map(|address| canonical(address)).collect();
    if dc2.iter().any(|address| first.contains(&canonical(address))) {
        problems.add(pointer, "same-address", "dc1 and dc2 must be two different servers");
    }
}

pub(super) fn tls(problems: &mut Problems, at: &str, spec: Option<&TlsSpec>) {
    let Some(spec) = spec else { return };
    let mode = TlsMode::try_from(spec.mode);
    if mode.is_err() {
        problems.add(format!("{at}/mode"), "unsupported", "off, unverified or verified");
    }
    let pointer = format!("{at}/ca_pem");
    if spec.ca_pem.is_empty() {
        return;
    }
    if mode != Ok(TlsMode::Verified) {
        problems.add(
            pointer,
            "unsupported",
            "certificates are looked at only in the mode verified",
        );
    } else if spec.ca_pem.len() > MAX_CA_PEM_BYTES {
        problems.add(pointer, "too-long", format!("at most {MAX_CA_PEM_BYTES} bytes"));
    } else if !spec.ca_pem.contains("-----BEGIN CERTIFICATE-----") {
        problems.add(pointer, "invalid-certificate", "no PEM block CERTIFICATE in it");
    } else if spec.ca_pem.contains("PRIVATE KEY-----") {
        problems.add(
            pointer,
            "invalid-certificate",
            "only certificates belong here, never a private key",
        );
    }
}
