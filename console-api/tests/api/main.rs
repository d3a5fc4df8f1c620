//! The routes against a real single-node cluster, without sockets: requests in, golden transcripts out.

mod access;
mod applications;
mod batches;
mod docs;
mod document;
mod instances;
mod kinds;
mod languages;
mod laxities;
mod lent;
mod lists;
mod monitors;
mod nodes;
mod problems;
mod records;
mod rules;
mod serving;
mod support;
mod switches;
