//! Transactions and their replies; the rest of the requests is in `types`.

use bytes::Bytes;

use crate::types::*;

/// How a comparison relates what is found to its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    /// Equal.
    Equal = 0,
    /// Found is greater.
    Greater = 1,
    /// Found is less.
    Less = 2,
    /// Not equal.
    NotEqual = 3,
}

/// What a comparison looks at, with the operand.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum CompareTarget {
    /// Number of changes since creation; 0 for a missing key.
    #[prost(int64, tag = "4")]
    Version(i64),
    /// Revision of creation; 0 for a missing key.
    #[prost(int64, tag = "5")]
    Create(i64),
    /// Revision of the last change; 0 for a missing key.
    #[prost(int64, tag = "6")]
    Mod(i64),
    /// Value. Always false for a missing key.
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
    /// Lease id; 0 for none or a missing key.
    #[prost(int64, tag = "8")]
    Lease(i64),
}

/// A condition on a key, or on every key of a range.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Compare {
    /// A [`CompareResult`].
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    /// First key, or the only one.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// End of the range as in [`RangeRequest`].
    #[prost(bytes = "bytes", tag = "3")]
    pub range_end: Bytes,
    /// What to look at; without it, the version and operand 0, as in etcd.
    #[prost(oneof = "CompareTarget", tags = "4, 5, 6, 7, 8")]
    pub target: Option<CompareTarget>,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum RequestOpKind {
    /// Reads.
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    /// Puts.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// Deletes.
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
    /// Runs a transaction inside, as part of the same revision.
    #[prost(message, tag = "4")]
    Txn(TxnRequest),
}

/// Wrapper that the encoding needs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RequestOp {
    /// The operation; refused if absent.
    #[prost(oneof = "RequestOpKind", tags = "1, 2, 3, 4")]
    pub kind: Option<RequestOpKind>,
}

/// Operations that run if all conditions hold, and others that run if not.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnRequest {
    /// Conditions, on the state before the transaction.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Operations if all conditions hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// Operations if not.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// Result of one operation of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum ResponseOpKind {
    /// Of a read.
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    /// Of a put.
    #[prost(message, tag = "2")]
    Put(PutResponse),
    /// Of a deletion.
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeResponse),
    /// Of a transaction inside.
    #[prost(message, tag = "4")]
    Txn(TxnResponse),
}

/// Wrapper that the encoding needs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResponseOp {
    /// The result; always present.
    #[prost(oneof = "ResponseOpKind", tags = "1, 2, 3, 4")]
    pub kind: Option<ResponseOpKind>,
}

/// Reply to a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnResponse {
    /// Whether all conditions held.
    #[prost(bool, tag = "1")]
    pub succeeded: bool,
    /// One result for each operation that ran, in order.
    #[prost(message, repeated, tag = "2")]
    pub responses: Vec<ResponseOp>,
}
