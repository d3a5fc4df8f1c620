//! `--auth-token`: `simple`, or `jwt` with its keys, as etcd takes them.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_etcd_api::JwtKeys;

use super::config::go_duration;

/// How long a token lives where `ttl` does not say, as in etcd.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// Largest key file that is read, bytes.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;
const OPTIONS: [&str; 4] = ["pub-key", "priv-key", "sign-method", "ttl"];

/// Reads the setting and the files that it names; `None` for tokens of the members' own.
pub fn parse(text: &str) -> Result<Option<JwtKeys>, String> {
    let mut parts = text.split(',');
    match parts.next() {
        Some("" | "simple") => return Ok(None),
        Some("jwt") => {}
        _ => return Err("take \"simple\" or \"jwt,pub-key=FILE,priv-key=FILE,sign-method=METHOD,ttl=10m\"".to_owned()),
    }
    let mut options = BTreeMap::new();
    for part in parts {
        let (name, value) = part
            .split_once('=')
            .filter(|(name, _)| OPTIONS.contains(name))
            .ok_or_else(|| format!("{part:?} is none of pub-key=, priv-key=, sign-method=, ttl="))?;
        if options.insert(name, value).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let method = options.get("sign-method").ok_or("sign-method= is missing")?;
    let lifetime = match options.get("ttl") {
        None => DEFAULT_LIFETIME,
        Some(text) => go_duration(text)
            .filter(|lifetime| *lifetime >= Duration::from_secs(1))
            .ok_or_else(|| format!("ttl={text} is no duration of a second or more, such as 10m"))?,
    };
    let file = |name: &str| options.get(name).map(|path| read(name, path)).transpose();
    let (public, private) = (file("pub-key")?, file("priv-key")?);
    let keys = JwtKeys::new(method, public.as_deref(), private.as_deref(), lifetime);
    keys.map(Some).map_err(|error| error.to_string())
}

fn read(name: &str, path: &str) -> Result<Vec<u8>, String> {
    let failed = |problem: String| format!("{name}={path}: {problem}");
    let length = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if length > MAX_KEY_FILE_BYTES {
        return Err(failed(format!("is larger than {MAX_KEY_FILE_BYTES} bytes")));
    }
    std::fs::read(path).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_tokens_need_nothing_and_nonsense_is_named() {
        assert!(matches!(parse("simple"), Ok(None)));
        assert!(matches!(parse(""), Ok(None)));
        for (text, sign) in [
            ("opaque", "take \"simple\" or"),
            ("jwt", "sign-method= is missing"),
            ("jwt,colour=red", "is none of"),
            ("jwt,sign-method=HS256,sign-method=HS512", "given twice"),
            ("jwt,sign-method=HS256,ttl=soon", "no duration"),
            ("jwt,sign-method=HS256,ttl=1ms", "no duration"),
            ("jwt,sign-method=HS256", "has one secret"),
            (
                "jwt,sign-method=RS256,pub-key=/nowhere/key.pem",
                "pub-key=/nowhere/key.pem: ",
            ),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(sign), "{text}: {problem}");
        }
    }

    #[test]
    fn a_secret_from_a_file_makes_keys() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "s".repeat(64)).expect("written");
        let text = format!("jwt,sign-method=HS512,priv-key={},ttl=10m", file.path().display());
        assert!(parse(&text).expect("keys").is_some());
    }
}
