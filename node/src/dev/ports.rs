//! Ports of a development cluster.

use std::net::{Ipv4Addr, SocketAddr};

/// Nodes of a development cluster.
pub const NODES: u64 = 3;
/// Largest `--port-offset`: the highest port of the table stays a port.
pub const MAX_PORT_OFFSET: u16 = 30_000;

/// Addresses of one node, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    pub kv: SocketAddr,
    pub peer: SocketAddr,
    pub console: SocketAddr,
}

impl NodePorts {
    /// Addresses of node `node_id` (1..=3) of a cluster at `offset`.
    ///
    /// # Panics
    /// For another node id, or an offset beyond [`MAX_PORT_OFFSET`].
    pub fn of(node_id: u64, offset: u16) -> Self {
        assert!(offset <= MAX_PORT_OFFSET, "the offset is checked where it comes in");
        let (kv, peer, console) = match node_id {
            1 => (2379, 2380, 8443),
            2 => (22379, 22380, 18443),
            3 => (32379, 32380, 28443),
            other => panic!("a development cluster has nodes 1 to 3, not {other}"),
        };
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port + offset));
        Self {
            kv: at(kv),
            peer: at(peer),
            console: at(console),
        }
    }

    /// All of them, with what they are for.
    pub fn all(&self) -> [(&'static str, SocketAddr); 3] {
        [("KV", self.kv), ("peer", self.peer), ("console", self.console)]
    }
}

/// Local address that node `node_id` opens connections from.
pub fn source_address(node_id: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, node_id as u8)
}
