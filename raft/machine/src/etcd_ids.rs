//! The numbers under which etcd clients know a cluster and its members: hashes, so that no instance's port tells of another.
//!
//! Here rather than at the edge, because alarms in a keyspace name members by them.

use sha2::{Digest, Sha256};

use crate::model::Id;

/// High half of the id of a cluster that stands in for etcd; no UUIDv7 has it.
const ETCD_NUMBERED: u64 = u64::from_be_bytes(*b"etcd-ids");

/// Node ids from here on are etcd's member ids themselves, as in a cluster that stands in for etcd; those of nodes that
/// bootstrap and join numbered stay far below.
pub const FIRST_ETCD_MEMBER_ID: u64 = 1 << 32;

/// Id of a cluster that stands in for etcd: clients know it as `number`.
pub fn etcd_numbered_cluster(number: u64) -> Id {
    Id {
        high: ETCD_NUMBERED,
        low: number,
    }
}

/// etcd's `cluster_id` of an instance: a hash of the ids of cluster and instance, never 0; the number itself where the cluster
/// stands in for etcd.
pub fn etcd_cluster_id(cluster: Id, instance: Id) -> u64 {
    if cluster.high == ETCD_NUMBERED {
        return cluster.low;
    }
    hash(b"quorate cluster", [cluster.as_u128(), instance.as_u128()])
}

/// etcd's member id of a node as seen on an instance's port, never 0. `cluster_id` is [`etcd_cluster_id`].
pub fn etcd_member_id(cluster_id: u64, node: u64) -> u64 {
    if node >= FIRST_ETCD_MEMBER_ID {
        return node;
    }
    hash(b"quorate member", [cluster_id.into(), node.into()])
}

fn hash(domain: &[u8], values: [u128; 2]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(domain);
    for value in values {
        hash.update(value.to_be_bytes());
    }
    let digest = hash.finalize();
    let bytes: [u8; 8] = digest[..8].try_into().expect("SHA-256 has 32 bytes");
    // Clients take 0 for "none".
    u64::from_be_bytes(bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_never_change() {
        // They lie in alarms, in clients' configurations and in backups.
        let cluster = etcd_cluster_id(Id { high: 1, low: 2 }, Id { high: 3, low: 4 });
        assert_eq!((cluster, etcd_member_id(cluster, 1)), (CLUSTER, MEMBER));
    }

    #[test]
    fn a_cluster_that_stands_in_for_etcd_shows_its_own_numbers() {
        let cluster = etcd_cluster_id(etcd_numbered_cluster(77), Id { high: 3, low: 4 });
        assert_eq!((cluster, etcd_member_id(cluster, 1 << 40)), (77, 1 << 40));
    }

    const CLUSTER: u64 = 10_744_004_755_745_488_367;
    const MEMBER: u64 = 9_927_309_571_127_459_105;
}
