//! Reserves the node's ports before anything is started, without accepting connections yet.

use std::net::SocketAddr;

use anyhow::Context;
use quorate_etcd_api::KvPort;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::Config;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The ports of a node.
pub struct Reserved {
    pub peer: ReservedPort,
    pub kv: KvPort,
    pub console: ReservedPort,
}

/// A bound port that refuses connections until it listens.
pub struct ReservedPort {
    socket: TcpSocket,
    address: SocketAddr,
    key: &'static str,
}

impl Reserved {
    /// Binds all ports, or says which one is in use.
    pub fn reserve(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            peer: ReservedPort::reserve(config.peer.listen, "peer.listen")?,
            kv: KvPort::reserve(config.kv.listen)
                .context("kv.listen: stop what listens there, or set another address in the configuration")?,
            console: ReservedPort::reserve(config.console.listen, "console.listen")?,
        })
    }
}

impl ReservedPort {
    fn reserve(address: SocketAddr, key: &'static str) -> anyhow::Result<Self> {
        let bind = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // A port in TIME_WAIT after a restart is free; one that listens is still refused.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let bound: std::io::Result<TcpSocket> = bind();
        let socket = bound.with_context(|| {
            format!(
                "cannot use {address} ({key}): stop what listens there, or set another address in the configuration"
            )
        })?;
        Ok(Self { socket, address, key })
    }

    /// Begins to accept connections.
    pub fn listen(self) -> anyhow::Result<TcpListener> {
        let Self { socket, address, key } = self;
        socket.listen(BACKLOG).with_context(|| {
            format!("cannot listen on {address} ({key}): stop what listens there, or set another address")
        })
    }
}
