//! Instances: created, edited, deleted; passwords and certificates; who may (A5).

use serde_json::json;

use crate::support::{App, Transcript};

const ROOT_PASSWORD_OF_KV: &str = "kv-root-secret";

#[tokio::test(flavor = "multi_thread")]
async fn life_of_an_instance() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    let new = json!({
        "name": "shop", "description": "web shop",
        "kv_root_password": ROOT_PASSWORD_OF_KV, "kv_sdk_password": "kv-mas-secret",
    });
    let created = app.root("POST", "/instances", &new.to_string()).await;
    let id = created.text("/id");
    let path = format!("/instances/{id}");
    transcript.step("create", &created);
    transcript.step("name taken", &app.root("POST", "/instances", &new.to_string()).await);
    for (what, field, value) in [
        ("short password", "kv_sdk_password", json!("short")),
        ("long password", "kv_root_password", json!("x".repeat(73))),
        ("no name", "name", json!("")),
        ("the first's name", "name", json!("default")),
        ("unknown namespace", "namespace", json!("nowhere")),
        ("unknown field", "colour", json!("red")),
    ] {
        let mut bad = new.clone();
        bad[field] = value;
        transcript.step(what, &app.root("POST", "/instances", &bad.to_string()).await);
    }
    let view = app.root("GET", &path, "").await;
    assert_eq!(view.text("/status"), "creating", "{}", view.body);
    assert!(!view.body.to_string().contains("secret"), "{}", view.body);
    let connection = app.root("GET", &format!("{path}/connection"), "").await;
    let first = app.root("GET", "/instances/default/connection", "").await;
    assert_ne!(connection.body["endpoints"], first.body["endpoints"]);

    let renamed = json!({"name": "store", "description": ""}).to_string();
    transcript.step("rename, stale", &app.edit("PUT", &path, 7, &renamed).await);
    transcript.step("rename", &app.edit("PUT", &path, 1, &renamed).await);
    let password = json!({"user": "mas", "password": "another-secret"}).to_string();
    transcript.step(
        "password",
        &app.root("PUT", &format!("{path}/kv-password"), &password).await,
    );
    let stranger = json!({"user": "eve", "password": "another-secret"}).to_string();
    transcript.step(
        "no such user",
        &app.root("PUT", &format!("{path}/kv-password"), &stranger).await,
    );
    let certificate = app.root("GET", &format!("{path}/client-certificate"), "").await;
    assert_eq!(certificate.body["ca.crt"], json!(format!("authority of {id}")));

    let application = json!({"name": "orders"}).to_string();
    let made = app.root("POST", &format!("{path}/applications"), &application).await;
    let application = made.text("/id");
    transcript.step("application", &made);
    transcript.step(
        "application of another instance",
        &app.root("GET", &format!("/instances/default/applications/{application}"), "")
            .await,
    );
    let confirm = |name: &str| json!({"name": name}).to_string();
    transcript.step(
        "delete, other name",
        &app.edit("DELETE", &path, 2, &confirm("shop")).await,
    );
    transcript.step(
        "delete the first",
        &app.edit("DELETE", "/instances/default", 1, &confirm("default")).await,
    );
    transcript.step("delete", &app.edit("DELETE", &path, 2, &confirm("store")).await);
    transcript.step("gone", &app.root("GET", &path, "").await);
    insta::assert_snapshot!(transcript.finish());
    let audit = app.root("GET", "/audit", "").await.body.to_string();
    assert!(
        audit.contains("create-instance") && !audit.contains("secret"),
        "{audit}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_for_administrators() {
    let app = App::start().await;
    let user = json!({"name": "olga", "password": "olga-password", "role": "operator"}).to_string();
    app.root("POST", "/users", &user).await;
    let olga = app.login("olga", "olga-password").await;
    let new = json!({"name": "shop", "kv_root_password": "12345678", "kv_sdk_password": "12345678"}).to_string();
    let password = json!({"user": "mas", "password": "12345678"}).to_string();
    for (method, path, body) in [
        ("POST", "/instances", new.as_str()),
        ("PUT", "/instances/default/kv-password", password.as_str()),
        ("GET", "/instances/default/client-certificate", ""),
    ] {
        let answer = app.call(method, &format!("/api/v1{path}"), &olga, &[], body).await;
        assert_eq!(answer.line(), "403 permission-denied", "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_is_not_given_the_cluster() {
    let app = App::start().await;
    let user = json!({"name": "ada", "password": "ada-password", "role": "admin"}).to_string();
    app.root("POST", "/users", &user).await;
    let ada = app.login("ada", "ada-password").await;
    let token = json!({"name": "deploy", "role": "root", "expires_in_seconds": 3600}).to_string();
    let token = app.root("POST", "/tokens", &token).await.text("/token");
    let new = json!({"name": "shop", "kv_root_password": "12345678", "kv_sdk_password": "12345678"}).to_string();
    let shop = app.root("POST", "/instances", &new).await.text("/id");
    let (first_password, first_certificate) = (
        "/instances/default/kv-password",
        "/instances/default/client-certificate",
    );
    let shop_password = format!("/instances/{shop}/kv-password");
    let body = |user: &str| json!({"user": user, "password": "another-one"}).to_string();
    let (root, mas, denied) = (body("root"), body("mas"), "403 permission-denied");
    for (who, method, path, body, line) in [
        (&ada, "PUT", first_password, &root, denied),
        (&ada, "PUT", first_password, &mas, "204 -"),
        (&ada, "PUT", shop_password.as_str(), &root, "204 -"),
        (&app.root, "PUT", first_password, &root, "204 -"),
        (&token, "PUT", first_password, &mas, denied),
        (&token, "GET", first_certificate, &String::new(), denied),
        (&ada, "GET", first_certificate, &String::new(), "200 -"),
    ] {
        let answer = app.call(method, &format!("/api/v1{path}"), who, &[], body).await;
        assert_eq!(answer.line(), line, "{method} {path} {body}");
    }
    let newest = app.root("GET", "/audit?limit=1", "").await;
    let newest = &newest.body["items"][0];
    assert_eq!(newest["code"], "issue-client-certificate", "{newest}");
    assert_eq!(newest["actor"], "user:ada", "{newest}");
    let audit = app.root("GET", "/audit?code=kv", "").await.body.to_string();
    assert!(audit.contains("\"mas\"") && audit.contains("\"root\""), "{audit}");
}
