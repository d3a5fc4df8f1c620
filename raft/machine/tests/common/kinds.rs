//! A monitor of every kind for scenarios, and the options that change one.

use bytes::Bytes;
use quorate_machine::*;

fn sealed(text: &str) -> Option<Sealed> {
    (text != "none").then(|| Sealed {
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    })
}

fn list(text: &str) -> Vec<String> {
    let items = text.split(',').filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

fn place(region: &str, addresses: &str) -> SiteSpec {
    SiteSpec {
        cloud: "acme".to_owned(),
        region: region.to_owned(),
        zones: vec![format!("{region}-1"), format!("{region}-2")],
        addresses: list(addresses),
    }
}

fn redis_site(region: &str, address: &str) -> RedisSite {
    RedisSite {
        place: place(region, address),
        password: sealed("sealed"),
        ..RedisSite::default()
    }
}

fn elasticsearch_site(region: &str, addresses: &str) -> ElasticsearchSite {
    ElasticsearchSite {
        place: place(region, addresses),
        user: "watcher".to_owned(),
        password: sealed("sealed"),
        ..ElasticsearchSite::default()
    }
}

fn api_site(address: &str) -> ApiSite {
    ApiSite {
        address: address.to_owned(),
        path: "/".to_owned(),
        expected_status: 200,
        ..ApiSite::default()
    }
}

fn relational() -> RelationalSpec {
    match super::build::monitor_spec("relational").kind {
        Some(MonitorKind::Mysql(spec)) => spec,
        other => panic!("relational, not {other:?}"),
    }
}

/// A monitor's kind as the scenarios know it.
pub fn sample(name: &str) -> Option<MonitorKind> {
    Some(match name {
        "mysql" => MonitorKind::Mysql(relational()),
        "postgresql" => MonitorKind::Postgresql(relational()),
        "oracle" => MonitorKind::Oracle(relational()),
        "redis" => MonitorKind::Redis(RedisSpec {
            dc1: redis_site("east", "10.0.1.1:6379"),
            dc2: redis_site("west", "10.0.2.1:6379"),
            ..RedisSpec::default()
        }),
        "mongodb" => MonitorKind::Mongodb(MongodbSpec {
            user: "monitor".to_owned(),
            password: sealed("sealed"),
            monitoring_database: "admin".to_owned(),
            connecting_database: "orders".to_owned(),
            replica_set: String::new(),
            tls: None,
            dc1: place("east", "10.0.1.1:8635,10.0.1.2:8635"),
            dc2: place("west", "10.0.2.1:8635"),
        }),
        "elasticsearch" => MonitorKind::Elasticsearch(ElasticsearchSpec {
            dc1: elasticsearch_site("east", "10.0.1.1:9200,10.0.1.2:9200"),
            dc2: elasticsearch_site("west", "10.0.2.1:9200"),
            ..ElasticsearchSpec::default()
        }),
        "api" => MonitorKind::Api(ApiSpec {
            dc1: api_site("10.0.1.1:443"),
            dc2: api_site("10.0.2.1:443"),
            successes: 1,
            failures: 3,
        }),
        _ => return None,
    })
}

/// Changes a monitor's kind; `{n}` in a value stands for a line break, `{sp}` for a blank.
pub fn set(kind: &mut MonitorKind, name: &str, value: &str) {
    let value = value.replace("{n}", "\r\n").replace("{sp}", " ");
    let (dc, field) = match name.split_once('.') {
        Some(("dc1", field)) => (DataCenter::Dc1, field),
        Some(("dc2", field)) => (DataCenter::Dc2, field),
        _ => (DataCenter::Dc1, name),
    };
    match kind {
        MonitorKind::Mysql(spec) | MonitorKind::Postgresql(spec) | MonitorKind::Oracle(spec) => {
            set_relational(spec, field, &value)
        }
        MonitorKind::Redis(spec) => set_redis(spec, dc, field, &value),
        MonitorKind::Mongodb(spec) => set_mongodb(spec, dc, field, &value),
        MonitorKind::Elasticsearch(spec) => set_elasticsearch(spec, dc, field, &value),
        MonitorKind::Api(spec) => set_api(spec, dc, field, &value),
    }
}

fn routing(value: &str) -> i32 {
    let all = (0..5).filter_map(|number| Routing::try_from(number).ok());
    let found = all.into_iter().find(|routing| routing.name() == value);
    found.map_or(99, |routing| routing as i32)
}

fn set_tls(tls: &mut Option<TlsSpec>, field: &str, value: &str) {
    let spec = tls.get_or_insert_default();
    match field {
        "tls" => {
            spec.mode = ["off", "unverified", "verified"]
                .iter()
                .position(|mode| *mode == value)
                .map_or(9, |mode| mode as i32)
        }
        "ca" => spec.ca_pem = value.to_owned(),
        other => panic!("no option {other}"),
    }
}

fn set_place(place: &mut SiteSpec, field: &str, value: &str) -> bool {
    match field {
        "cloud" => place.cloud = value.to_owned(),
        "region" => place.region = value.to_owned(),
        "zones" => place.zones = list(value),
        "addresses" => place.addresses = list(value),
        "many" => {
            let count: u32 = value.parse().expect("a number");
            place.addresses = (0..count).map(|n| format!("10.9.{}.{}:1", n / 200, n % 200)).collect();
        }
        _ => return false,
    }
    true
}

fn set_relational(spec: &mut RelationalSpec, field: &str, value: &str) {
    match field {
        "dc1" => spec.dc1.address = value.to_owned(),
        "dc2" => spec.dc2.address = value.to_owned(),
        "replicas" => spec.dc1.replicas = list(value),
        "user" => spec.user = value.to_owned(),
        "region" => spec.dc1.region = value.to_owned(),
        "password" => spec.password = sealed(value),
        "database" => spec.monitoring_database = value.to_owned(),
        "sid" => spec.database_is_sid = value == "on",
        _ => set_tls(&mut spec.tls, field, value),
    }
}

fn set_redis(spec: &mut RedisSpec, dc: DataCenter, field: &str, value: &str) {
    match field {
        "mode" => {
            let found = RedisMode::ALL.into_iter().find(|mode| mode.name() == value);
            spec.mode = found.map_or(9, |mode| mode as i32);
            return;
        }
        "routing" => {
            spec.routing = routing(value);
            return;
        }
        "master" => {
            spec.master_name = value.to_owned();
            return;
        }
        _ => {}
    }
    let site = match dc {
        DataCenter::Dc1 => &mut spec.dc1,
        DataCenter::Dc2 => &mut spec.dc2,
    };
    match field {
        "passwordless" => site.passwordless = value == "on",
        "user" => site.user = value.to_owned(),
        "password" => site.password = sealed(value),
        "sentinel_user" => site.sentinel_user = value.to_owned(),
        "sentinel_password" => site.sentinel_password = sealed(value),
        _ if set_place(&mut site.place, field, value) => {}
        _ => set_tls(&mut site.tls, field, value),
    }
}

fn set_mongodb(spec: &mut MongodbSpec, dc: DataCenter, field: &str, value: &str) {
    let site = match dc {
        DataCenter::Dc1 => &mut spec.dc1,
        DataCenter::Dc2 => &mut spec.dc2,
    };
    match field {
        "user" => spec.user = value.to_owned(),
        "password" => spec.password = sealed(value),
        "database" => spec.monitoring_database = value.to_owned(),
        "set" => spec.replica_set = value.to_owned(),
        _ if set_place(site, field, value) => {}
        _ => set_tls(&mut spec.tls, field, value),
    }
}

fn set_elasticsearch(spec: &mut ElasticsearchSpec, dc: DataCenter, field: &str, value: &str) {
    if field == "routing" {
        spec.routing = routing(value);
        return;
    }
    let site = match dc {
        DataCenter::Dc1 => &mut spec.dc1,
        DataCenter::Dc2 => &mut spec.dc2,
    };
    match field {
        "scheme" => site.scheme = i32::from(value == "http"),
        "passwordless" => site.passwordless = value == "on",
        "user" => site.user = value.to_owned(),
        "password" => site.password = sealed(value),
        _ if set_place(&mut site.place, field, value) => {}
        _ => set_tls(&mut site.tls, field, value),
    }
}

fn set_api(spec: &mut ApiSpec, dc: DataCenter, field: &str, value: &str) {
    let number = || value.parse().expect("a number");
    match field {
        "successes" => {
            spec.successes = number();
            return;
        }
        "failures" => {
            spec.failures = number();
            return;
        }
        _ => {}
    }
    let site = match dc {
        DataCenter::Dc1 => &mut spec.dc1,
        DataCenter::Dc2 => &mut spec.dc2,
    };
    match field {
        "address" => site.address = value.to_owned(),
        "scheme" => site.scheme = i32::from(value == "http"),
        "path" => site.path = value.to_owned(),
        "method" => site.method = number() as i32,
        "status" => site.expected_status = number(),
        "body" => site.body_contains = value.to_owned(),
        "headers" => {
            let header = |n| ApiHeader {
                name: format!("x-{n}"),
                value: "v".to_owned(),
                ..ApiHeader::default()
            };
            site.headers = (0..number()).map(header).collect();
        }
        "header" | "secret" => {
            let (name, value) = value.split_once(':').expect("name:value");
            let secret = field == "secret";
            site.headers.retain(|header| header.name != name);
            site.headers.push(ApiHeader {
                name: name.to_owned(),
                value: if secret { String::new() } else { value.to_owned() },
                secret,
                sealed: if secret { sealed(value) } else { None },
            });
        }
        _ => set_tls(&mut site.tls, field, value),
    }
}
