//! What the header fields of a request say, checked (RFC 9113, 8.3, and the gRPC protocol), and remembered: a client that
//! calls again sends the same bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::hpack::{Decoder, Field, InvalidBlock};

/// Header fields of one request, in bytes as HTTP/2 counts them.
pub(crate) const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Blocks of one connection whose meaning is remembered.
const REMEMBERED_BLOCKS: usize = 16;

/// Fields of HTTP/1.1 that HTTP/2 forbids.
const CONNECTION_FIELDS: [&[u8]; 5] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
];

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// It breaks the rules of HTTP: the stream is reset.
    Malformed,
    /// More than [`MAX_HEADER_BYTES`].
    TooLarge,
}

/// The head of a request.
#[derive(Debug, Default)]
pub(crate) struct RequestHead {
    pub(crate) method: Bytes,
    scheme: Bytes,
    authority: Bytes,
    pub(crate) path: Bytes,
    fields: Vec<Field>,
    /// A gRPC request whose messages are not compressed.
    pub(crate) plain_grpc: bool,
    /// What identifies the caller: the field `token`, else `authorization`.
    pub(crate) token: Option<Bytes>,
    /// `hasleader`: rather an error than waiting for a leader.
    pub(crate) requires_leader: bool,
    /// How long the caller waits.
    pub(crate) timeout: Option<Duration>,
    pub(crate) content_length: Option<u64>,
}

impl RequestHead {
    fn of(fields: Vec<Field>) -> Result<RequestHead, BadHead> {
        let mut head = RequestHead::default();
        let (mut grpc, mut plain, mut authorization) = (false, true, None);
        for field in fields {
            if field.name.starts_with(b":") {
                head.pseudo_field(field)?;
                continue;
            }
            if !valid_field(&field) {
                return Err(BadHead::Malformed);
            }
            let value = &field.value;
            match field.name.as_ref() {
                b"content-type" => grpc = matches!(value.as_ref(), b"application/grpc" | b"application/grpc+proto"),
                b"grpc-encoding" => plain = value.as_ref() == b"identity",
                b"grpc-timeout" => head.timeout = grpc_timeout(value),
                b"token" => head.token = Some(value.clone()),
                b"authorization" => authorization = Some(value.clone()),
                b"hasleader" => head.requires_leader = value.as_ref() == b"true",
                b"content-length" => head.content_length = Some(decimal(value).ok_or(BadHead::Malformed)?),
                _ => {}
            }
            head.fields.push(field);
        }
        head.token = head.token.or(authorization);
        head.plain_grpc = grpc && plain && head.method.as_ref() == b"POST";
        if head.method.is_empty() || head.scheme.is_empty() || head.path.is_empty() {
            return Err(BadHead::Malformed);
        }
        Ok(head)
    }

    /// Takes one of the fields that stand for HTTP/1.1's first line: before all others, each once.
    fn pseudo_field(&mut self, field: Field) -> Result<(), BadHead> {
        let place = match field.name.as_ref() {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            _ => return Err(BadHead::Malformed),
        };
        if !place.is_empty() || field.value.is_empty() || !self.fields.is_empty() {
            return Err(BadHead::Malformed);
        }
        *place = field.value;
        Ok(())
    }

    /// The request as the services take it.
    pub(crate) fn to_request<B>(&self, body: B) -> Result<Request<B>, BadHead> {
        let malformed = |_| BadHead::Malformed;
        let mut uri = Uri::builder().path_and_query(self.path.as_ref());
        if !self.authority.is_empty() {
            uri = uri.scheme(self.scheme.as_ref()).authority(self.authority.as_ref());
        }
        let mut request = Request::new(body);
        *request.uri_mut() = uri.build().map_err(|_| BadHead::Malformed)?;
        *request.method_mut() = Method::from_bytes(&self.method).map_err(|_| BadHead::Malformed)?;
        *request.version_mut() = http::Version::HTTP_2;
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for field in &self.fields {
            let name = HeaderName::from_bytes(&field.name).map_err(|_| BadHead::Malformed)?;
            let value = HeaderValue::from_maybe_shared(field.value.clone()).map_err(malformed)?;
            headers.append(name, value);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn valid_field(field: &Field) -> bool {
    let name = |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && *byte != b':';
    let value = |byte: &u8| !matches!(byte, 0 | b'\r' | b'\n');
    let allowed = match field.name.as_ref() {
        b"te" => field.value.as_ref() == b"trailers",
        other => !CONNECTION_FIELDS.contains(&other),
    };
    allowed && !field.name.is_empty() && field.name.iter().all(name) && field.value.iter().all(value)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then_some(digits)?
        .parse()
        .ok()
}

/// `grpc-timeout`: up to eight digits and a unit. What is none is ignored, as the field is only a courtesy.
fn grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let count = decimal(digits).filter(|_| digits.len() <= 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Reads the header blocks of one connection. `T` is what its user makes of a head and wants back with it.
pub(crate) struct Heads<T> {
    decoder: Decoder,
    /// What blocks meant since the decoder's table last changed.
    remembered: Vec<(Box<[u8]>, Arc<T>)>,
}

impl<T> Heads<T> {
    pub(crate) fn new() -> Heads<T> {
        Heads {
            decoder: Decoder::new(),
            remembered: Vec::new(),
        }
    }

    /// Reads the block that begins a request.
    pub(crate) fn request(
        &mut self,
        block: &[u8],
        make: impl FnOnce(RequestHead) -> T,
    ) -> Result<Result<Arc<T>, BadHead>, InvalidBlock> {
        let known = self.remembered.iter().find(|(known, _)| **known == *block);
        if let Some((_, head)) = known {
            return Ok(Ok(Arc::clone(head)));
        }
        let (mut fields, mut size_bytes) = (Vec::with_capacity(16), 0);
        let changed = self.decoder.decode(block, |field| {
            // A short block can name a long field many times.
            size_bytes += field.size_bytes();
            if size_bytes <= MAX_HEADER_BYTES {
                fields.push(field);
            }
        })?;
        if changed {
            self.remembered.clear();
        }
        if size_bytes > MAX_HEADER_BYTES {
            return Ok(Err(BadHead::TooLarge));
        }
        Ok(RequestHead::of(fields).map(|head| {
            let head = Arc::new(make(head));
            // What changed the table the first time adds to it the next time.
            if !changed {
                if self.remembered.len() == REMEMBERED_BLOCKS {
                    self.remembered.remove(0);
                }
                self.remembered.push((block.into(), Arc::clone(&head)));
            }
            head
        }))
    }

    /// Reads a block whose fields do not matter: trailers of a request, or a request that is refused.
    pub(crate) fn skip(&mut self, block: &[u8]) -> Result<(), InvalidBlock> {
        if self.decoder.decode(block, |_| {})? {
            self.remembered.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, value: &'static str) -> Field {
        Field {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    fn call(more: &[(&'static str, &'static str)]) -> Result<RequestHead, BadHead> {
        let first = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/etcdserverpb.KV/Put"),
            (":authority", "127.0.0.1:2379"),
        ];
        let fields = first.iter().chain(more).map(|(name, value)| field(name, value));
        RequestHead::of(fields.collect())
    }

    #[test]
    fn a_call_says_who_asks_and_how_long_it_waits() {
        let head = call(&[
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "4999876u"),
            ("authorization", "Bearer a"),
            ("token", "t"),
            ("hasleader", "true"),
        ]);
        let head = head.expect("valid");
        assert!(head.plain_grpc && head.requires_leader);
        assert_eq!(head.token.as_deref(), Some(&b"t"[..]), "before authorization");
        assert_eq!(head.timeout, Some(Duration::from_micros(4_999_876)));
        let request = head.to_request(()).expect("a request");
        assert_eq!(request.uri(), "http://127.0.0.1:2379/etcdserverpb.KV/Put");
        assert_eq!(request.headers().len(), 6);
        let compressed = call(&[("content-type", "application/grpc"), ("grpc-encoding", "gzip")]);
        assert!(!compressed.expect("valid").plain_grpc);
    }

    #[test]
    fn heads_that_break_the_rules_are_refused() {
        for more in [
            ("connection", "close"),
            ("te", "gzip"),
            ("Upper", "case"),
            ("", "nameless"),
            ("a", "line\r\nbreak"),
            ("content-length", "+1"),
            (":status", "200"),
            (":path", "/again"),
        ] {
            assert_eq!(call(&[more]).map(|_| ()), Err(BadHead::Malformed), "{more:?}");
        }
        let late = call(&[("a", "b"), (":path", "/late")]);
        assert_eq!(late.map(|_| ()), Err(BadHead::Malformed));
        assert_eq!(
            RequestHead::of(vec![field(":method", "GET")]).map(|_| ()),
            Err(BadHead::Malformed)
        );
    }

    #[test]
    fn a_long_field_named_often_is_too_large() {
        let mut heads = Heads::new();
        let long = [&[0x40, 1, b'a', 127, 0x81, 0x0f][..], &[b'v'; 2048]].concat();
        heads.skip(&long).expect("valid");
        let mut request = |often: usize| {
            let block = [b"\x83\x86\x84\x01\x01h", &*vec![0xbe; often]].concat();
            let head = heads.request(&block, |_| ()).expect("valid");
            head.map(|_| ())
        };
        assert_eq!(request(4), Ok(()));
        assert_eq!(request(20_000), Err(BadHead::TooLarge));
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5n", Some(Duration::from_nanos(5))),
            ("123456789S", None),
            ("S", None),
            ("-1S", None),
            ("1x", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn blocks_are_remembered_until_the_table_changes() {
        let mut heads = Heads::new();
        let mut made = 0;
        // POST, http, path and authority as literals that are not indexed.
        let block = b"\x83\x86\x04\x02/p\x01\x01h";
        for _ in 0..3 {
            let head = heads.request(block, |head| {
                made += 1;
                head.path
            });
            assert_eq!(head.expect("valid").expect("complete").as_ref(), "/p");
        }
        heads.skip(b"\x40\x01a\x01b").expect("valid");
        let head = heads.request(block, |_| {
            made += 1;
            Bytes::new()
        });
        assert_eq!((head.expect("valid").is_ok(), made), (true, 2));
    }
}
