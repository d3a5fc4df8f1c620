//! The routes against a real single-node cluster, without sockets: requests in, golden transcripts out.

mod access;
mod applications;
mod document;
mod monitors;
mod problems;
mod records;
mod serving;
mod support;
mod switches;
