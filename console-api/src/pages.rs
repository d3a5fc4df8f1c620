//! Pages of lists that have a stable order: a page begins after the last entry of the one before, whatever was created or
//! deleted in between.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quorate_machine::catalog::edge;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::dto::Page;
use crate::language::text;
use crate::limits::{DEFAULT_PAGE_RECORDS, MAX_CURSOR_BYTES, MAX_PAGE_RECORDS};
use crate::problem::Problem;

/// Parameters of a list without filters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    /// Entries in the page, 1 to 500; 100 when left out.
    #[serde(default)]
    pub(crate) limit: Option<usize>,
    /// Answer from this node's state as it stands, without asking the quorum; it may be behind.
    #[serde(default)]
    pub(crate) serializable: bool,
}

impl ListQuery {
    /// The window that is asked for, of the list of this name.
    pub(crate) fn window(&self, list: &'static str) -> Result<Window, Problem> {
        Window::parse(list, self.cursor.as_deref(), self.limit)
    }
}

/// Where a page begins and how long it is.
pub(crate) struct Window {
    list: &'static str,
    /// Only entries whose key is greater.
    after: String,
    limit: usize,
}

impl Window {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// 422 for a cursor that was not handed out for this list, or a limit outside of 1 to [`MAX_PAGE_RECORDS`].
    pub(crate) fn parse(list: &'static str, cursor: Option<&str>, limit: Option<usize>) -> Result<Self, Problem> {
        let after = match cursor {
            None => String::new(),
            Some(cursor) => decode(list, cursor)
                .ok_or_else(|| Problem::field("?cursor", "bad-parameter", text(edge::BAD_CURSOR, &[])))?,
        };
        let limit = check_limit(limit)?;
        Ok(Self { list, after, limit })
    }

    /// Cuts the page out of entries that come in the order of their keys, as strings.
    pub(crate) fn page<R, V>(
        &self,
        entries: impl Iterator<Item = R>,
        key: impl Fn(&R) -> String,
        view: impl Fn(R) -> V,
    ) -> Page<V> {
        let mut found: Vec<(String, R)> = entries
            .map(|entry| (key(&entry), entry))
            .filter(|(key, _)| *key > self.after)
            .take(self.limit + 1)
            .collect();
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let next_cursor = found.last().filter(|_| more).map(|(key, _)| encode(self.list, key));
        Page {
            items: found.into_iter().map(|(_, entry)| view(entry)).collect(),
            next_cursor,
        }
    }
}

/// The length of a page.
pub(crate) fn check_limit(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(DEFAULT_PAGE_RECORDS);
    if !(1..=MAX_PAGE_RECORDS).contains(&limit) {
        let detail = text(edge::PAGE_LIMIT, &[("maximum", &MAX_PAGE_RECORDS)]);
        return Err(Problem::field("?limit", "out-of-range", detail));
    }
    Ok(limit)
}

/// The list's name goes with the key: the cursor of one list is none of another.
fn encode(list: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}\n{key}"))
}

fn decode(list: &str, cursor: &str) -> Option<String> {
    if cursor.len() > MAX_CURSOR_BYTES {
        return None;
    }
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (of, key) = decoded.split_once('\n')?;
    (of == list && !key.is_empty()).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hang_together_while_entries_come_and_go() {
        let mut names: Vec<String> = (0..7).map(|n| format!("n{n}")).collect();
        let mut cursor = None;
        let mut seen = Vec::new();
        loop {
            let window = Window::parse("names", cursor.as_deref(), Some(2)).expect("a window");
            let page = window.page(names.iter().cloned(), Clone::clone, |name| name);
            seen.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
            // What the cursor stands on may go, and what was passed may come back.
            names.retain(|name| Some(name) != seen.last());
            names.insert(0, "a".to_owned());
        }
        assert_eq!(seen, ["n0", "n1", "n2", "n3", "n4", "n5", "n6"]);
        let foreign = encode("others", "n1");
        assert!(Window::parse("names", Some(&foreign), None).is_err());
        assert!(Window::parse("names", Some("%"), None).is_err());
    }
}
