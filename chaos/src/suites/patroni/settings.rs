//! Patroni's configuration of one node.

use std::path::Path;

/// Where a node is.
pub(super) struct Place<'a> {
    pub name: &'a str,
    /// Everything of the node lies below.
    pub directory: &'a Path,
    /// PostgreSQL's programs.
    pub programs: &'a Path,
    pub postgres: u16,
    pub rest: u16,
    /// Client addresses of the KV's members.
    pub kv: &'a [String],
}

/// Password of the administrator `postgres`, for a server that lives for minutes on loopback.
pub(super) const PASSWORD: &str = "patroni-suite";

/// The file's text. Shortest times that Patroni allows: a time to live of 20 s is its minimum.
pub(super) fn text(place: &Place<'_>) -> String {
    let Place {
        name, postgres, rest, ..
    } = place;
    let (directory, programs) = (place.directory.display(), place.programs.display());
    let hosts = place.kv.join(",");
    format!(
        r#"scope: suite
name: {name}
restapi:
  listen: 127.0.0.1:{rest}
  connect_address: 127.0.0.1:{rest}
etcd3:
  hosts: {hosts}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 8
    maximum_lag_on_failover: 1048576
    postgresql:
      use_pg_rewind: true
      parameters:
        wal_keep_size: 64MB
        max_connections: 20
        shared_buffers: 16MB
        fsync: "off"
  initdb:
    - encoding: UTF8
    - locale: C
    - data-checksums
postgresql:
  listen: 127.0.0.1:{postgres}
  connect_address: 127.0.0.1:{postgres}
  data_dir: {directory}/data
  bin_dir: {programs}
  pgpass: {directory}/pgpass
  authentication:
    superuser: {{username: postgres, password: {PASSWORD}}}
    replication: {{username: replicator, password: {PASSWORD}}}
    rewind: {{username: rewinder, password: {PASSWORD}}}
  parameters:
    unix_socket_directories: {directory}
  pg_hba:
    - local all all scram-sha-256
    - host all all 127.0.0.1/32 scram-sha-256
    - host replication replicator 127.0.0.1/32 scram-sha-256
"#
    )
}
