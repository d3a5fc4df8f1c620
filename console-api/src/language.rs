//! In which language a request is answered: negotiated from `Accept-Language` (RFC 9110, section 12.5.4; ranges are
//! matched as RFC 4647 lookup does), once per request.
//!
//! The choice is known to everything that runs for the request ([`current`]), so that no handler has to carry it to where a
//! text is made. It is deliberately no setting of a user: a program that names no language always reads the same words.

use std::fmt::Display;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quorate_machine::Param;
use quorate_machine::catalog::{Locale, Texts, say};

/// Ranges of one header that are looked at; the rest says nothing new.
const MAX_RANGES: usize = 32;
/// Weight of a range that names none, in thousandths.
const FULL_WEIGHT: u16 = 1000;

tokio::task_local! {
    static LOCALE: Locale;
}

/// Language of the request that this task answers; English outside of one.
pub(crate) fn current() -> Locale {
    LOCALE.try_with(|locale| *locale).unwrap_or(Locale::EnUs)
}

/// Runs `work` as for a request in this language: for streams, which outlive the negotiation.
pub(crate) fn within<T>(locale: Locale, work: impl FnOnce() -> T) -> T {
    LOCALE.sync_scope(locale, work)
}

/// A text of the catalogue in the request's language, with its parameters.
pub(crate) fn text(texts: Texts, params: &[(&str, &dyn Display)]) -> String {
    let params: Vec<Param> = params.iter().map(|(name, value)| Param::new(name, value)).collect();
    say(current(), texts, &params)
}

/// Middleware: chooses the language, and says in the answer which one it was.
pub(crate) async fn negotiate(request: Request, next: Next) -> Response {
    let locale = accepted(request.headers());
    let mut response = LOCALE.scope(locale, next.run(request)).await;
    let empty = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept-language"));
    if !empty {
        let tag = match locale {
            Locale::EnUs => "en-US",
            Locale::ZhCn => "zh-CN",
        };
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(tag));
    }
    response
}

/// The language that is wanted most; English when nothing that is there is wanted, or all of it equally.
fn accepted(headers: &HeaderMap) -> Locale {
    let values = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    let ranges: Vec<(&str, u16)> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .take(MAX_RANGES)
        .collect();
    let weight = |primary: &str| {
        let named = ranges
            .iter()
            .filter(|(tag, _)| is_of(tag, primary))
            .map(|(_, weight)| *weight);
        let any = ranges.iter().filter(|(tag, _)| *tag == "*").map(|(_, weight)| *weight);
        named.max().or(any.max()).unwrap_or(0)
    };
    let first = |primary: &str| {
        ranges
            .iter()
            .position(|(tag, _)| is_of(tag, primary))
            .unwrap_or(usize::MAX)
    };
    let (english, chinese) = (weight("en"), weight("zh"));
    // At the same weight, what was named first.
    if chinese > english || (chinese > 0 && chinese == english && first("zh") < first("en")) {
        Locale::ZhCn
    } else {
        Locale::EnUs
    }
}

/// True for `zh` and everything that begins with `zh-`.
fn is_of(tag: &str, primary: &str) -> bool {
    tag.split('-')
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case(primary))
}

/// One `tag;q=weight`, the weight in thousandths. What is no range is passed over.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let tag = parts.next().filter(|tag| !tag.is_empty())?;
    match parts.next() {
        None => Some((tag, FULL_WEIGHT)),
        Some(parameter) => {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("q")
                .then_some((tag, thousandths(value.trim())?))
        }
    }
}

/// `0`, `0.5`, `1.000`: at most three digits after the point, at most one in all.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit()) && fraction.len() <= 3;
    let fraction: u16 = if digits {
        format!("{fraction:0<3}").parse().ok()?
    } else {
        return None;
    };
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(FULL_WEIGHT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str) -> Locale {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_str(value).expect("a header"));
        accepted(&headers)
    }

    #[test]
    fn the_language_that_is_wanted_most() {
        for english in [
            "",
            "en",
            "fr, de;q=0.5",
            "*",
            "en-GB, zh",
            "zh;q=0.1, en;q=0.2",
            "zh;q=0",
            "zh;q=0, *",
            "zh;q=2",
            "zh;x=1",
            ";;,,=",
        ] {
            assert_eq!(check(english), Locale::EnUs, "{english}");
        }
        for chinese in [
            "zh",
            "zh-CN",
            "ZH-Hans-CN",
            "zh-CN,zh;q=0.9,en;q=0.8",
            "en;q=0.3, zh;q=0.301",
            "fr, zh;q=0.1",
            "en;q=0, *",
            "zh, en",
        ] {
            assert_eq!(check(chinese), Locale::ZhCn, "{chinese}");
        }
    }
}
