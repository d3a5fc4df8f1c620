//! Extractors that answer with problems instead of plain text, and that point at the field that is wrong.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use quorate_machine::catalog::{Locale, edge, field_text};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::language::{current, text};
use crate::limits::{BODY_DEADLINE_SECONDS, MAX_BODY_BYTES};
use crate::problem::Problem;
use crate::strict::Strict;

/// A JSON body of type `T`. Unknown fields, wrong types and values out of range are 422 with a pointer, broken JSON is 400,
/// another media type 415, more than `MAX_BYTES` 413, what takes more than `SECONDS` 408.
pub(crate) struct Body<T, const MAX_BYTES: usize = MAX_BODY_BYTES, const SECONDS: u64 = BODY_DEADLINE_SECONDS>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const MAX_BYTES: usize, const SECONDS: u64> FromRequest<S>
    for Body<T, MAX_BYTES, SECONDS>
{
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        DefaultBodyLimit::max(MAX_BYTES).apply(&mut request);
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                text(edge::UNSUPPORTED_MEDIA_TYPE, &[]),
            ));
        }
        let body = tokio::time::timeout(Duration::from_secs(SECONDS), Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| slow_body(SECONDS))?.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                return body_too_large(MAX_BYTES);
            }
            Problem::new(
                StatusCode::BAD_REQUEST,
                "bad-body",
                text(edge::BAD_BODY, &[("reason", &rejection.body_text())]),
            )
        })?;
        parse(&body).map(Self)
    }
}

/// 413 that names the limit.
pub(crate) fn body_too_large(maximum_bytes: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        text(edge::BODY_TOO_LARGE, &[("maximum", &maximum_bytes)]),
    )
}

fn slow_body(seconds: u64) -> Problem {
    let detail = text(edge::BODY_TIMED_OUT, &[("seconds", &seconds)]);
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timed-out", detail)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// Parses JSON into `T` and turns serde's complaint into a problem with a pointer.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(Strict(&mut json)).map_err(|error| {
        let pointer = pointer_of(error.path().iter());
        explain(body, error.inner(), &pointer)
    })?;
    json.end().map_err(|error| explain(body, &error, ""))?;
    Ok(value)
}

fn explain(body: &[u8], error: &serde_json::Error, pointer: &str) -> Problem {
    let complaint = error.to_string();
    // A number in place of a word is a syntax error for serde_json; the body decides.
    let valid = error.is_data() || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if !valid {
        let detail = text(edge::BAD_JSON, &[("reason", &complaint)]);
        return Problem::new(StatusCode::BAD_REQUEST, "bad-json", detail);
    }
    let detail = complaint.split(" at line ").next().unwrap_or(&complaint).to_owned();
    let code = classify(&detail);
    let shown = match current() {
        Locale::EnUs => detail.clone(),
        locale => field_text(locale, code).to_owned(),
    };
    Problem::field(&locate(pointer, &detail), code, shown)
}

/// Stable code of a complaint of serde.
fn classify(detail: &str) -> &'static str {
    let known = [
        ("unknown field", "unknown-field"),
        ("missing field", "missing-field"),
        ("duplicate field", "duplicate-field"),
        ("unknown variant", "unknown-value"),
        ("invalid value", "out-of-range"),
        ("invalid length", "out-of-range"),
    ];
    let found = known.iter().find(|(start, _)| detail.starts_with(start));
    found.map_or("wrong-type", |(_, code)| *code)
}

/// A missing field is reported for its parent: its own name is added here.
fn locate(pointer: &str, detail: &str) -> String {
    match detail
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
    {
        Some(name) => format!("{pointer}/{}", escape(name)),
        None => pointer.to_owned(),
    }
}

fn pointer_of<'a>(segments: impl Iterator<Item = &'a Segment>) -> String {
    let mut pointer = String::new();
    for segment in segments {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// RFC 6901: `~` and `/` are escaped.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Query parameters of type `T`; unknown and malformed ones are 422 with the parameter's name.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| {
                // "Failed to deserialize query string: NAME: REASON"; an unknown parameter is named by the reason.
                let text = rejection.body_text();
                let (_, rest) = text.split_once("query string: ").unwrap_or(("", &text));
                let (name, reason) = rest.split_once(": ").unwrap_or(("", rest));
                let unknown = reason
                    .strip_prefix("unknown field `")
                    .and_then(|rest| rest.split('`').next());
                let code = if unknown.is_some() {
                    "unknown-parameter"
                } else {
                    "bad-parameter"
                };
                let shown = match current() {
                    Locale::EnUs => reason,
                    locale => field_text(locale, code),
                };
                Problem::field(&format!("?{}", unknown.unwrap_or(name)), code, shown)
            })
    }
}

/// Parameters of the path; what is not UTF-8 is 400.
pub(crate) struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|rejection: PathRejection| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "bad-path",
                text(edge::BAD_PATH, &[("reason", &rejection.body_text())]),
            )
        })
    }
}

/// The generation that an edit saw, from `If-Match: "7"`. Missing is 428, malformed 400.
pub(crate) struct IfMatch(pub u64);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if-match-required",
                text(edge::IF_MATCH_REQUIRED, &[]),
            ));
        };
        let etag = value.to_str().unwrap_or_default().trim();
        let digits = etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"'));
        match digits.and_then(|digits| digits.parse::<u64>().ok()) {
            Some(generation) if generation > 0 => Ok(Self(generation)),
            _ => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "bad-if-match",
                text(edge::BAD_IF_MATCH, &[]),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::parse;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "inner")]
        _inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "a/b")]
        _count: u8,
    }

    fn check(body: &str) -> String {
        let problem = parse::<Outer>(body.as_bytes()).expect_err("must be refused");
        let field = problem.errors.first();
        let field = field.map(|f| format!("{} {}", f.pointer, f.code)).unwrap_or_default();
        format!("{} {} {field}", problem.status, problem.code)
    }

    #[test]
    fn complaints_name_the_field() {
        assert_eq!(
            check(r#"{"inner":[{"a/b":1,"c":2}]}"#),
            "422 invalid-spec /inner/0/c unknown-field"
        );
        assert_eq!(
            check(r#"{"inner":[{}]}"#),
            "422 invalid-spec /inner/0/a~1b missing-field"
        );
        assert_eq!(
            check(r#"{"inner":[{"a/b":"x"}]}"#),
            "422 invalid-spec /inner/0/a~1b wrong-type"
        );
        assert_eq!(
            check(r#"{"inner":[{"a/b":300}]}"#),
            "422 invalid-spec /inner/0/a~1b out-of-range"
        );
        assert_eq!(check(r#"{"inner":[]"#), "400 bad-json ");
        assert_eq!(check(r#"{"inner":[]} x"#), "400 bad-json ");
    }
}
