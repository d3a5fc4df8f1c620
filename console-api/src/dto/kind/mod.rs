//! The part of a monitor that its kind decides (C20–C26), as JSON: one section per kind, named like the kind.
//!
//! A section is body and answer alike; secrets go in and never come out, `…_set` says that there is one. A further kind is a
//! field of [`KindSections`], of the macro below it and of the two matches.

mod api;
mod elasticsearch;
mod mongodb;
mod redis;
mod relational;
mod shared;

pub(crate) use api::ApiBody;
pub(crate) use elasticsearch::ElasticsearchBody;
pub(crate) use mongodb::MongodbBody;
pub(crate) use redis::RedisBody;
pub(crate) use relational::RelationalBody;
pub(in crate::dto) use shared::check_password;

use quorate_machine::catalog::edge;
use quorate_machine::{MonitorKind, Sealed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::context::TypedSecret;
use crate::language::text;
use crate::problem::Problem;

/// The sections of a monitor: exactly one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KindSections {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mysql: Option<RelationalBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) postgresql: Option<RelationalBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oracle: Option<RelationalBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis: Option<RedisBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mongodb: Option<MongodbBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) elasticsearch: Option<ElasticsearchBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api: Option<ApiBody>,
}

/// Declares a body with a section per kind. (serde cannot flatten into a structure that refuses unknown fields.)
macro_rules! with_kind_sections {
    ($(#[$meta:meta])* struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        pub(crate) struct $name {
            $($fields)*
            /// MySQL, MariaDB (C20).
            #[serde(default)]
            mysql: Option<$crate::dto::kind::RelationalBody>,
            /// PostgreSQL (C21).
            #[serde(default)]
            postgresql: Option<$crate::dto::kind::RelationalBody>,
            /// Oracle (C22).
            #[serde(default)]
            oracle: Option<$crate::dto::kind::RelationalBody>,
            /// Redis (C23).
            #[serde(default)]
            redis: Option<$crate::dto::kind::RedisBody>,
            /// MongoDB (C24).
            #[serde(default)]
            mongodb: Option<$crate::dto::kind::MongodbBody>,
            /// Elasticsearch, OpenSearch (C25).
            #[serde(default)]
            elasticsearch: Option<$crate::dto::kind::ElasticsearchBody>,
            /// HTTP API (C26).
            #[serde(default)]
            api: Option<$crate::dto::kind::ApiBody>,
        }

        impl $name {
            /// Takes the sections out.
            pub(crate) fn sections(&mut self) -> $crate::dto::kind::KindSections {
                $crate::dto::kind::KindSections {
                    mysql: self.mysql.take(),
                    postgresql: self.postgresql.take(),
                    oracle: self.oracle.take(),
                    redis: self.redis.take(),
                    mongodb: self.mongodb.take(),
                    elasticsearch: self.elasticsearch.take(),
                    api: self.api.take(),
                }
            }
        }
    };
}
pub(crate) use with_kind_sections;

/// A kind as it came, with its secrets still in clear beside it.
pub(crate) struct ParsedKind {
    pub(crate) kind: MonitorKind,
    secrets: Vec<Secret>,
}

/// A secret in clear with the place where it stands in the body.
pub(in crate::dto) struct Secret {
    pub(in crate::dto) typed: TypedSecret,
    pub(in crate::dto) pointer: String,
}

impl Secret {
    pub(in crate::dto) fn new(field: String, pointer: String, value: String) -> Self {
        Self {
            typed: TypedSecret { field, value },
            pointer,
        }
    }
}

impl ParsedKind {
    /// The kind with every secret sealed by `seal` (field, plain).
    ///
    /// # Errors
    /// 422 for a secret where none can be, for example the password of a passwordless side.
    pub(crate) fn sealed(mut self, seal: impl Fn(&str, &[u8]) -> Sealed) -> Result<MonitorKind, Problem> {
        for secret in &self.secrets {
            let (field, value) = (&secret.typed.field, &secret.typed.value);
            if !self.kind.set_secret(field, seal(field, value.as_bytes())) {
                return Err(Problem::field(
                    &secret.pointer,
                    "unsupported",
                    text(edge::NO_SECRET_HERE, &[]),
                ));
            }
        }
        Ok(self.kind)
    }

    /// The secrets in clear, for a connection test.
    pub(crate) fn typed(&self) -> Vec<TypedSecret> {
        self.secrets.iter().map(|secret| secret.typed.clone()).collect()
    }
}

impl KindSections {
    /// How many sections are there.
    pub(crate) fn count(&self) -> usize {
        let given = [
            self.mysql.is_some(),
            self.postgresql.is_some(),
            self.oracle.is_some(),
            self.redis.is_some(),
            self.mongodb.is_some(),
            self.elasticsearch.is_some(),
            self.api.is_some(),
        ];
        given.into_iter().filter(|given| *given).count()
    }

    /// The one section.
    ///
    /// # Errors
    /// 422 if there is none or more than one, and for what cannot be a specification at all.
    pub(crate) fn parse(self) -> Result<ParsedKind, Problem> {
        if self.count() != 1 {
            let detail = text(edge::ONE_KIND, &[]);
            return Err(Problem::field("/kind", "missing-field", detail));
        }
        let mut secrets = Vec::new();
        let kind = if let Some(body) = self.mysql {
            MonitorKind::Mysql(body.into_spec("/mysql", &mut secrets)?)
        } else if let Some(body) = self.postgresql {
            MonitorKind::Postgresql(body.into_spec("/postgresql", &mut secrets)?)
        } else if let Some(body) = self.oracle {
            MonitorKind::Oracle(body.into_spec("/oracle", &mut secrets)?)
        } else if let Some(body) = self.redis {
            MonitorKind::Redis(body.into_spec("/redis", &mut secrets)?)
        } else if let Some(body) = self.mongodb {
            MonitorKind::Mongodb(body.into_spec("/mongodb", &mut secrets)?)
        } else if let Some(body) = self.elasticsearch {
            MonitorKind::Elasticsearch(body.into_spec("/elasticsearch", &mut secrets)?)
        } else if let Some(body) = self.api {
            MonitorKind::Api(body.into_spec("/api", &mut secrets)?)
        } else {
            unreachable!("one section was counted")
        };
        Ok(ParsedKind { kind, secrets })
    }

    /// The section of a monitor, without its secrets.
    pub(crate) fn of(kind: &MonitorKind) -> Self {
        let mut sections = Self::default();
        match kind {
            MonitorKind::Mysql(spec) => sections.mysql = Some(spec.into()),
            MonitorKind::Postgresql(spec) => sections.postgresql = Some(spec.into()),
            MonitorKind::Oracle(spec) => sections.oracle = Some(spec.into()),
            MonitorKind::Redis(spec) => sections.redis = Some(spec.into()),
            MonitorKind::Mongodb(spec) => sections.mongodb = Some(spec.into()),
            MonitorKind::Elasticsearch(spec) => sections.elasticsearch = Some(spec.into()),
            MonitorKind::Api(spec) => sections.api = Some(spec.into()),
        }
        sections
    }
}
