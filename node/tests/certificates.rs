//! Certificates that change while a node runs.

use std::path::Path;

use quorate::identity::{IdentityDirectory, NodeProfile, bootstrap, files};
use quorate::serve::certificates::KvCertificates;

fn identity(folder: &Path) -> IdentityDirectory {
    let profile = NodeProfile {
        node_id: 1,
        name: "node-1".to_owned(),
        zone: "az1".to_owned(),
        site: "dc1".to_owned(),
        peer: "127.0.0.1:2380".to_owned(),
        kv: "127.0.0.1:2379".to_owned(),
        console: "127.0.0.1:8443".to_owned(),
        hosts: Vec::new(),
    };
    let directory = IdentityDirectory::new(folder);
    bootstrap(&directory, &profile).expect("an identity");
    directory
}

fn copy(from: &IdentityDirectory, to: &IdentityDirectory, names: &[&str]) {
    for name in names {
        std::fs::copy(from.path().join(name), to.path().join(name)).expect("copied");
    }
}

const PAIR: [&str; 3] = [files::KV_CERT, files::KV_KEY, files::KV_CA];

#[test]
fn a_good_pair_is_taken_over_and_a_bad_one_is_not() {
    // Another test of this process may have done it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let directory = identity(&folder.path().join("one"));
    let other = identity(&folder.path().join("two"));
    for mutual_tls in [false, true] {
        let mut certificates = KvCertificates::load(&directory, mutual_tls).expect("usable");
        let mut config = certificates.config();
        assert!(*certificates.expiry().borrow() > 0);
        let mut changed = |certificates: &mut KvCertificates| {
            certificates.reload();
            let changed = config.has_changed().expect("the sender lives");
            config.mark_unchanged();
            changed
        };
        assert!(!changed(&mut certificates), "nothing is new");
        let kept: Vec<Vec<u8>> = PAIR.iter().map(|name| directory.read(name).expect("read")).collect();
        copy(&other, &directory, &[files::KV_CERT]);
        assert!(!changed(&mut certificates), "a certificate without its key");
        std::fs::write(directory.path().join(files::KV_CERT), "no certificate").expect("written");
        assert!(!changed(&mut certificates), "not PEM");
        std::fs::remove_file(directory.path().join(files::KV_CERT)).expect("removed");
        assert!(!changed(&mut certificates), "gone");
        copy(&other, &directory, &PAIR);
        assert!(changed(&mut certificates), "a new pair");
        for (name, contents) in PAIR.iter().zip(kept) {
            std::fs::write(directory.path().join(name), contents).expect("written");
        }
        assert!(changed(&mut certificates), "the first pair again");
    }
}
