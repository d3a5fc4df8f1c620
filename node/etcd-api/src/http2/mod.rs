//! HTTP/2 of the KV port (RFC 9113), as lean as gRPC allows.
//!
//! Serving puts and gets through hyper and tonic cost more than all of consensus: a task, several locks and some forty
//! allocations per call, and one read index per get. Here a connection is one task that owns everything of it. It reads what
//! there is, takes the frames apart, serves hot calls ([`crate::services::hot`]) itself, and writes all answers that are ready
//! at once. Every other call goes through the same services as those of HTTP/1.1, each in a task of its own ([`cold`]).
//!
//! What is deliberately not here: the client's side, pushed responses, priorities, CONNECT, and HTTP/1.1, which stays with
//! hyper.
//!
//! - [`frame`] reads and writes frames; [`hpack`], [`huffman`] and [`head`] read header blocks, [`encode`] writes them;
//! - [`stream`] is one stream, [`calls`] the calls under way;
//! - [`protocol`] is a connection without its socket: [`requests`] is what comes in, [`answers`] what goes out;
//! - [`connection`] puts it on a socket, with keep-alive and drain.

mod answers;
mod calls;
mod cold;
mod connection;
mod encode;
mod frame;
mod head;
mod hpack;
mod huffman;
mod protocol;
mod requests;
mod static_table;
mod stream;

pub(crate) use cold::InboundBody;
pub(crate) use connection::serve;
pub(crate) use frame::PREFACE;
pub(crate) use protocol::Protocol;
