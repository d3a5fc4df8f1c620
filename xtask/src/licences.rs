//! Licences and banned crates, as `deny.toml` lists them.
//!
//! cargo-deny reads the same file and checks advisories besides; it is run where it is installed, because its advisory
//! database needs the network and builds here need none.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo_env;
use crate::steps::{find_program, root, run};

/// Fails with every package whose licence is not allowed or whose name is banned.
pub fn check() -> Result<()> {
    let rules: toml::Value = toml::from_str(&fs::read_to_string(root().join("deny.toml"))?).context("deny.toml")?;
    let allowed = strings(&rules["licenses"]["allow"]);
    let metadata = cargo_env::metadata()?;
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default();
        if !package["source"].is_null() && !permitted(licence, &allowed) {
            problems.push(format!("{name}: licence \"{licence}\" is not allowed"));
        }
    }
    for ban in rules["bans"]["deny"].as_array().into_iter().flatten() {
        let Some(banned) = ban.get("name").and_then(|name| name.as_str()) else {
            continue;
        };
        let wrappers = ban.get("wrappers").map(strings).unwrap_or_default();
        problems.extend(
            users_of(banned, &metadata)
                .into_iter()
                .filter(|user| !wrappers.contains(user))
                .map(|user| format!("{banned} is banned, but {user} depends on it")),
        );
    }
    if !problems.is_empty() {
        bail!("deny.toml is violated:\n  {}", problems.join("\n  "));
    }
    if find_program("cargo-deny").is_some() {
        run(cargo_env::cargo()?.args(["deny", "check"]))?;
    } else {
        println!("    licences and bans hold; advisories: install cargo-deny to check them too");
    }
    Ok(())
}

fn strings(value: &toml::Value) -> BTreeSet<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// An SPDX expression is permitted if one of its alternatives consists of allowed licences only.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let flat = expression.replace('/', " OR ");
    any_of(&flat, allowed)
}

fn any_of(expression: &str, allowed: &BTreeSet<String>) -> bool {
    split_top(expression, " OR ").iter().any(|part| all_of(part, allowed))
}

fn all_of(expression: &str, allowed: &BTreeSet<String>) -> bool {
    split_top(expression, " AND ").iter().all(|part| {
        let part = part.trim();
        match part.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => any_of(inner, allowed),
            None => allowed.contains(part.trim_end_matches('+').trim()),
        }
    })
}

/// Splits at `separator` outside of parentheses.
fn split_top<'a>(expression: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && expression[index..].starts_with(separator) => {
                parts.push(&expression[start..index]);
                start = index + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[start..]);
    parts
}

/// Packages that are part of the build on this platform and depend on `banned`.
fn users_of(banned: &str, metadata: &Value) -> Vec<String> {
    let name = |id: &str| {
        id.rsplit_once('#')
            .map_or(id, |(_, rest)| rest.split('@').next().unwrap_or(rest))
            .to_owned()
    };
    let mut users = Vec::new();
    let text = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--locked",
        ])
        .output();
    let built: BTreeSet<String> = text
        .map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .filter_map(|line| line.split(' ').next().map(str::to_owned))
                .collect()
        })
        .unwrap_or_default();
    if !built.contains(banned) {
        return users;
    }
    for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        let depends = node["deps"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|dependency| dependency["pkg"].as_str().is_some_and(|id| name(id) == banned));
        if let (true, Some(id)) = (depends, node["id"].as_str()) {
            let user = name(id);
            if built.contains(&user) {
                users.push(user);
            }
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::permitted;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        let allowed = ["MIT", "Apache-2.0", "ISC", "MPL-2.0"].map(str::to_owned).into();
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("ISC AND (Apache-2.0 OR GPL-3.0)", true),
            ("MIT/Apache-2.0", true),
            ("MPL-2.0+", true),
            ("", false),
        ] {
            assert_eq!(permitted(expression, &allowed), expected, "{expression}");
        }
    }
}
