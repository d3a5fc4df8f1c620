//! The numbers of a cluster and its members, computed as etcd computes them, so that every member that is started with the
//! same `--initial-cluster` and token knows them, and tools see the ones that they expect.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use quorate_machine::FIRST_ETCD_MEMBER_ID;

/// Id of a member: the start of a SHA-1 over its peer URLs, the cluster's token and, for one that is added later, the time in
/// whole seconds since the epoch.
pub fn member_id(peer_urls: &[String], token: &str, added_at_s: Option<i64>) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    let mut text = urls.concat() + token;
    if let Some(seconds) = added_at_s {
        text.push_str(&seconds.to_string());
    }
    let id = first_eight(text.as_bytes());
    // One in four billion would be taken for the number of a node of an appliance.
    if id < FIRST_ETCD_MEMBER_ID { id | 1 << 63 } else { id }
}

/// Id of a cluster: the start of a SHA-1 over its first members' ids in order.
pub fn cluster_id(members: &[u64]) -> u64 {
    let mut members = members.to_vec();
    members.sort_unstable();
    let bytes: Vec<u8> = members.iter().flat_map(|id| id.to_be_bytes()).collect();
    first_eight(&bytes).max(1)
}

fn first_eight(bytes: &[u8]) -> u64 {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let first: [u8; 8] = digest.as_ref()[..8].try_into().expect("SHA-1 has 20 bytes");
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_a_real_etcd() {
        // As etcd 3.6.16 said with --initial-cluster m1=http://127.0.0.1:42380.
        let member = member_id(&["http://127.0.0.1:42380".to_string()], "etcd-cluster", None);
        assert_eq!(format!("{member:x}"), "667880157b8812c8");
        assert_eq!(format!("{:x}", cluster_id(&[member])), "dc50b8daae93b3e0");
    }
}
