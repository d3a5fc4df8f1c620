//! A configuration as a tree of texts, written as YAML or as properties.

use super::{SdkProperties, quoted, word};

/// Texts by dotted path, in order; paths with the same beginning stand together.
#[derive(Default)]
pub(super) struct Tree {
    entries: Vec<(Vec<String>, String)>,
}

impl Tree {
    /// Adds a text; the path's parts are separated by dots and hold none themselves.
    pub(super) fn add(&mut self, path: &str, value: &str) {
        let path = path.split('.').map(str::to_owned).collect();
        self.entries.push((path, value.to_owned()));
    }

    /// How the KV endpoint is reached.
    pub(super) fn etcd(&mut self, properties: &SdkProperties) {
        self.add("etcd.address", &properties.endpoints.join(","));
        self.add("etcd.apiVersion", "v3");
        self.add("etcd.username", &properties.kv_user);
        self.add("etcd.password", &format!("${{{}}}", properties.kv_password_variable));
        self.add(
            "etcd.httpsEnable",
            if properties.https_enable { "true" } else { "false" },
        );
        self.add("etcd.caCert", &properties.ca_file);
        self.add("etcd.clientCert", &properties.cert_file);
        self.add("etcd.clientKey", &properties.key_file);
    }

    /// The servers of a kind without a connection pool.
    pub(super) fn servers(&mut self, at: &str, properties: &SdkProperties, separator: &str) {
        for node in &properties.nodes {
            let at = format!("{at}.{}", word(node.name));
            let mut add = |name: &str, value: &str| self.add(&format!("{at}.{name}"), value);
            add("hosts", &node.addresses.join(separator));
            add("password", "${SERVER_PASSWORD}");
            if let Some(mode) = &properties.mode {
                add("type", mode);
            }
            add("cloud", &node.cloud);
            add("region", &node.region);
            add("azs", &node.zones.join(","));
        }
    }

    /// As YAML. Every text but `true` and `false` is quoted: a JSON string is a YAML scalar, whatever it holds.
    pub(super) fn yaml(&self) -> String {
        let mut yaml = String::new();
        let mut open: &[String] = &[];
        for (path, value) in &self.entries {
            let (parents, name) = path.split_at(path.len() - 1);
            let kept = parents.iter().zip(open).take_while(|(new, old)| new == old).count();
            for (depth, parent) in parents.iter().enumerate().skip(kept) {
                yaml.push_str(&format!("{}{}:\n", "  ".repeat(depth), key(parent)));
            }
            open = parents;
            let shown = match value.as_str() {
                "true" | "false" => value.clone(),
                text => quoted(text),
            };
            yaml.push_str(&format!("{}{}: {shown}\n", "  ".repeat(parents.len()), name.join("")));
        }
        yaml
    }

    /// As properties (Java): backslashes are doubled, what is not ASCII or not visible is written `\\uXXXX`.
    pub(super) fn properties(&self) -> String {
        let line = |(path, value): &(Vec<String>, String)| format!("{}={}\n", path.join("."), escaped(value));
        self.entries.iter().map(line).collect()
    }
}

/// A key of YAML: quoted where it could be read as a number, a truth value or nothing.
fn key(name: &str) -> String {
    let other_meaning = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if plain && !other_meaning.contains(&name.to_ascii_lowercase().as_str()) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (position, c) in value.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            ' ' if position == 0 => out.push_str("\\ "),
            c if c == ' ' || c.is_ascii_graphic() => out.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Tree, escaped};

    #[test]
    fn the_same_tree_as_yaml_and_as_properties() {
        let mut tree = Tree::default();
        tree.add("a.b.c", "x \"y\"");
        tree.add("a.b.d", "true");
        tree.add("a.e", "可用区");
        tree.add("f", "");
        tree.add("g.no.h", "1");
        assert_eq!(
            tree.yaml(),
            "a:\n  b:\n    c: \"x \\\"y\\\"\"\n    d: true\n  e: \"可用区\"\nf: \"\"\ng:\n  \"no\":\n    h: \"1\"\n"
        );
        assert_eq!(
            tree.properties(),
            "a.b.c=x \"y\"\na.b.d=true\na.e=\\u53ef\\u7528\\u533a\nf=\ng.no.h=1\n"
        );
    }

    #[test]
    fn properties_escape_what_a_reader_would_take_for_something_else() {
        assert_eq!(escaped(" a\\b\n😀"), "\\ a\\\\b\\u000a\\ud83d\\ude00");
    }
}
