//! What a node's answers mean: the one table from status and body to findings, and the few fields that are read.

use hyper::StatusCode;
use quorate_machine::FindingClass;
use serde::Deserialize;
use serde_json::Value;

use super::http::Reply;
use crate::{failure::Failure, observation::Stage};

/// What `GET /` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Banner {
    /// Product and version, as `Elasticsearch 8.19.4`.
    pub(super) version: String,
    pub(super) cluster: String,
}

/// State of a cluster that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) yellow: bool,
    pub(super) nodes: u64,
    pub(super) unassigned_shards: u64,
}

/// Finding behind a status that is not 200. `stage` is what was asked.
pub(super) fn refusal(reply: &Reply, stage: Stage) -> Failure {
    let (stage, class) = match reply.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (Stage::Login, FindingClass::Auth),
        // Circuit breakers and full queues: the node lives and is overloaded.
        StatusCode::TOO_MANY_REQUESTS => (stage, FindingClass::TooManyConnections),
        // No master, or the node's own start.
        StatusCode::SERVICE_UNAVAILABLE if stage == Stage::Role => (stage, FindingClass::WrongAnswer),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => (stage, FindingClass::ServerStarting),
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => (stage, FindingClass::Timeout),
        _ => (stage, FindingClass::WrongAnswer),
    };
    let words = reason(&reply.body);
    let text = match words.is_empty() {
        true => format!("HTTP {}", reply.status),
        false => format!("HTTP {}: {words}", reply.status.as_u16()),
    };
    Failure::new(stage, class, &text)
}

/// The engine's own words in an error's body: `error.reason`, `error.type` or `error` itself, else the beginning of the text.
fn reason(body: &[u8]) -> String {
    let text = || String::from_utf8_lossy(body).trim().to_owned();
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return text();
    };
    let error = &value["error"];
    let kind = error["type"].as_str();
    match (kind, error["reason"].as_str()) {
        (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
        (Some(kind), None) => kind.to_owned(),
        (None, _) => error.as_str().map_or_else(text, str::to_owned),
    }
}

/// Reads `GET /`.
pub(super) fn banner(reply: &Reply) -> Result<Banner, Failure> {
    #[derive(Deserialize)]
    struct Root {
        #[serde(default)]
        cluster_name: String,
        version: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        number: String,
        /// Only forks name it.
        distribution: Option<String>,
    }
    if reply.status != StatusCode::OK {
        return Err(refusal(reply, Stage::Query));
    }
    let root: Root = serde_json::from_slice(&reply.body).map_err(|_| {
        let text = "what answers is neither Elasticsearch nor OpenSearch";
        Failure::new(Stage::Query, FindingClass::WrongAnswer, text)
    })?;
    let product = match root.version.distribution.as_deref() {
        Some("opensearch") => "OpenSearch",
        _ => "Elasticsearch",
    };
    Ok(Banner {
        version: format!("{product} {}", root.version.number),
        cluster: root.cluster_name,
    })
}

/// Whether the node does not serve `GET /`: builds without that module, and gateways that keep it from callers.
pub(super) fn has_no_banner(reply: &Reply) -> bool {
    matches!(reply.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

/// Reads `/_nodes/_local`, which tells the version too.
pub(super) fn node_banner(reply: &Reply) -> Result<Banner, Failure> {
    if reply.status != StatusCode::OK {
        return Err(refusal(reply, Stage::Query));
    }
    let value: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let nodes = value["nodes"].as_object();
    let version = nodes.and_then(|nodes| nodes.values().find_map(|node| node["version"].as_str()));
    let version = version.ok_or_else(|| {
        let text = "what answers is neither Elasticsearch nor OpenSearch";
        Failure::new(Stage::Query, FindingClass::WrongAnswer, text)
    })?;
    Ok(Banner {
        version: format!("Elasticsearch {version}"),
        cluster: value["cluster_name"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Reads `/_cluster/health`: yellow is healthy (a replica is missing, no data is); red and no master are not.
pub(super) fn health(reply: &Reply) -> Result<Health, Failure> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        cluster_name: String,
        status: String,
        #[serde(default)]
        number_of_nodes: u64,
        #[serde(default)]
        unassigned_shards: u64,
    }
    if reply.status != StatusCode::OK {
        return Err(refusal(reply, Stage::Role));
    }
    let wrong = |text: &str| Failure::new(Stage::Role, FindingClass::WrongAnswer, text);
    let body: Body =
        serde_json::from_slice(&reply.body).map_err(|error| wrong(&format!("a health without a status: {error}")))?;
    let Body {
        cluster_name,
        status,
        number_of_nodes: nodes,
        unassigned_shards,
    } = body;
    match status.as_str() {
        "green" | "yellow" => Ok(Health {
            yellow: status == "yellow",
            nodes,
            unassigned_shards,
        }),
        "red" => Err(wrong(&format!(
            "cluster {cluster_name} is red: {unassigned_shards} unassigned shards on {nodes} nodes"
        ))),
        other => Err(wrong(&format!("cluster {cluster_name} has the unknown status {other}"))),
    }
}

/// Reads the global blocks of `/_cluster/state/blocks`: the description of one that keeps writes out, if there is one.
pub(super) fn write_block(reply: &Reply) -> Result<Option<String>, Failure> {
    if reply.status != StatusCode::OK {
        return Err(refusal(reply, Stage::Role));
    }
    let wrong = |error: serde_json::Error| Failure::new(Stage::Role, FindingClass::WrongAnswer, &error.to_string());
    let value: Value = serde_json::from_slice(&reply.body).map_err(wrong)?;
    let blocks = value["blocks"]["global"].as_object().into_iter().flatten();
    let writes = |block: &Value| {
        let levels = block["levels"].as_array();
        levels.is_some_and(|levels| levels.iter().any(|level| level == "write"))
    };
    let found = blocks.map(|(_, block)| block).find(|block| writes(block));
    Ok(found.map(|block| block["description"].as_str().unwrap_or("blocks writes").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn every_status_has_its_row() {
        use FindingClass::*;
        for (status, asked, stage, class) in [
            (401, Stage::Query, Stage::Login, Auth),
            (403, Stage::Role, Stage::Login, Auth),
            (429, Stage::Role, Stage::Role, TooManyConnections),
            (503, Stage::Query, Stage::Query, ServerStarting),
            (503, Stage::Role, Stage::Role, WrongAnswer),
            (502, Stage::Query, Stage::Query, ServerStarting),
            (504, Stage::Query, Stage::Query, Timeout),
            (404, Stage::Query, Stage::Query, WrongAnswer),
            (302, Stage::Query, Stage::Query, WrongAnswer),
            (500, Stage::Role, Stage::Role, WrongAnswer),
        ] {
            let found = refusal(&reply(status, ""), asked);
            assert_eq!((found.stage, found.class), (stage, class), "{status}");
        }
    }

    #[test]
    fn the_engines_own_words_are_kept() {
        let body = r#"{"error":{"root_cause":[],"type":"master_not_discovered_exception","reason":null},"status":503}"#;
        let found = refusal(&reply(503, body), Stage::Role);
        assert_eq!(found.text, "HTTP 503: master_not_discovered_exception");
        let body = r#"{"error":{"type":"security_exception","reason":"unable to authenticate user [m]"},"status":401}"#;
        let found = refusal(&reply(401, body), Stage::Query);
        assert_eq!(
            found.text,
            "HTTP 401: security_exception: unable to authenticate user [m]"
        );
        assert_eq!(
            refusal(&reply(401, "Unauthorized"), Stage::Query).text,
            "HTTP 401: Unauthorized"
        );
        assert_eq!(refusal(&reply(404, ""), Stage::Query).text, "HTTP 404 Not Found");
    }

    #[test]
    fn products_are_told_apart() {
        let elastic =
            r#"{"name":"n","cluster_name":"c","version":{"number":"8.19.4"},"tagline":"You Know, for Search"}"#;
        assert_eq!(banner(&reply(200, elastic)).unwrap().version, "Elasticsearch 8.19.4");
        let open = r#"{"cluster_name":"c","version":{"distribution":"opensearch","number":"2.19.1"}}"#;
        assert_eq!(banner(&reply(200, open)).unwrap().version, "OpenSearch 2.19.1");
        for other in ["", "<html>", "{}", r#"{"version":"1"}"#] {
            assert_eq!(banner(&reply(200, other)).unwrap_err().class, FindingClass::WrongAnswer);
        }
    }

    #[test]
    fn a_node_without_a_banner_tells_its_version_elsewhere() {
        assert!(has_no_banner(&reply(405, "")) && has_no_banner(&reply(404, "")) && !has_no_banner(&reply(401, "")));
        let nodes = r#"{"cluster_name":"c","nodes":{"x1":{"name":"n","version":"8.19.4"}}}"#;
        assert_eq!(node_banner(&reply(200, nodes)).unwrap().version, "Elasticsearch 8.19.4");
        for other in ["{}", "", r#"{"nodes":{}}"#] {
            assert_eq!(
                node_banner(&reply(200, other)).unwrap_err().class,
                FindingClass::WrongAnswer
            );
        }
        assert_eq!(node_banner(&reply(401, "")).unwrap_err().class, FindingClass::Auth);
    }

    #[test]
    fn only_red_is_ill() {
        let of = |status: &str| {
            health(&reply(
                200,
                &format!(r#"{{"cluster_name":"c","status":"{status}","number_of_nodes":3,"unassigned_shards":2}}"#),
            ))
        };
        assert!(!of("green").unwrap().yellow);
        assert!(of("yellow").unwrap().yellow);
        let red = of("red").unwrap_err();
        assert_eq!(
            (red.stage, red.class, red.text.as_str()),
            (
                Stage::Role,
                FindingClass::WrongAnswer,
                "cluster c is red: 2 unassigned shards on 3 nodes"
            )
        );
        assert_eq!(of("blue").unwrap_err().class, FindingClass::WrongAnswer);
        assert_eq!(health(&reply(200, "[]")).unwrap_err().class, FindingClass::WrongAnswer);
    }

    #[test]
    fn a_global_block_on_writes_is_read_only() {
        let of = |body: &str| write_block(&reply(200, body)).unwrap();
        assert_eq!(of("{}"), None);
        let read_only = r#"{"blocks":{"global":{"6":{"description":"cluster read-only (api)","retryable":false,"levels":["write","metadata_write"]}}}}"#;
        assert_eq!(of(read_only).as_deref(), Some("cluster read-only (api)"));
        let metadata = r#"{"blocks":{"global":{"1":{"description":"x","levels":["metadata_read"]}}}}"#;
        assert_eq!(of(metadata), None);
    }
}
