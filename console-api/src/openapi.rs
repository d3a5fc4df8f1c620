//! The router and its OpenAPI document, from the same declarations.

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Json, Router};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use quorate_machine::catalog::edge;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder, RefOr, Required, SecurityRequirement,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::authenticate;
use crate::context::ApiContext;
use crate::language::{negotiate, text};
use crate::limits::MAX_BODY_BYTES;
use crate::problem::Problem;
use crate::routes::{
    applications, cluster, connection, deletion, export, history, instances, login, monitors, processes, records,
    registry, settings, sites, streams, switches, tokens, users, withhold,
};

/// Where everything here is mounted.
const PREFIX: &str = "/api/v1";

/// Headers of every answer: JSON is never a page, is never sniffed and never cached.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (header::CACHE_CONTROL, "no-store"),
];

/// All routes under `/api/v1`, with problems for unknown routes and methods. The node merges its own routes (health,
/// web console, and metrics [`behind_login`]) into it.
pub fn router(context: ApiContext) -> Router {
    let (public, _) = public_routes().split_for_parts();
    let (protected, _) = protected_routes().split_for_parts();
    let protected = protected.route_layer(middleware::from_fn_with_state(context.clone(), authenticate));
    Router::new()
        .nest(PREFIX, public.merge(protected))
        .merge(crate::swagger::routes())
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(negotiate))
        .layer(middleware::from_fn(security_headers))
        .with_state(context)
}

/// Routes of the node's own that need a session or an API token, as those of [`router`] do.
pub fn behind_login(context: &ApiContext, routes: Router) -> Router {
    routes
        .route_layer(middleware::from_fn_with_state(context.clone(), authenticate))
        .route_layer(middleware::from_fn(negotiate))
        .route_layer(middleware::from_fn(security_headers))
}

/// The OpenAPI document of [`router`].
pub fn document() -> OpenApi {
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .build();
    let mut info = Info::new("Quorate", env!("CARGO_PKG_VERSION"));
    info.description =
        Some("REST API of the Quorate appliance. Problems are RFC 9457 with a stable `code`.".to_owned());
    info.license = Some(License::new("Apache-2.0"));
    let base = OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new("bearer", Vec::<String>::new())]))
        .build();
    let all = OpenApiRouter::<ApiContext>::with_openapi(base).nest(PREFIX, public_routes().merge(protected_routes()));
    let mut document = all.into_openapi();
    describe_path_parameters(&mut document);
    document
}

/// What stands in braces in a path, and what it means.
const PATH_PARAMETERS: [(&str, &str); 8] = [
    ("instance", "id of the instance, or `default` for the bootstrapped one"),
    ("application", "id of the application"),
    ("monitor", "id of the monitor"),
    ("kind", "feature point, for example `mysql`"),
    ("user", "name of the user"),
    ("token", "id of the API token"),
    ("window", "id of the maintenance window"),
    ("node", "number of the node"),
];

fn describe_path_parameters(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let named = PATH_PARAMETERS
            .iter()
            .filter(|(name, _)| path.contains(&format!("{{{name}}}")));
        let parameters = named.map(|(name, meaning)| {
            let parameter = ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(*meaning))
                .schema(Some(Object::with_type(Type::String)));
            RefOr::T(parameter.build())
        });
        item.parameters = Some(parameters.collect::<Vec<_>>()).filter(|found| !found.is_empty());
    }
}

fn public_routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::default().routes(routes!(login::login))
}

fn protected_routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::default()
        .routes(routes!(login::logout))
        .routes(routes!(login::read_me))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::set_user_password))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(cluster::read_cluster))
        .routes(routes!(settings::read_quotas, settings::set_quotas))
        .routes(routes!(settings::read_keyspace_quota, settings::set_keyspace_quota))
        .routes(routes!(settings::list_kind_settings))
        .routes(routes!(settings::set_kind_settings))
        .routes(routes!(registry::list_modules))
        .routes(routes!(registry::list_namespaces))
        .routes(routes!(registry::list_instances, instances::create_instance))
        .routes(routes!(
            registry::read_instance,
            instances::update_instance,
            instances::delete_instance
        ))
        .routes(routes!(instances::set_kv_password))
        .routes(routes!(instances::read_client_certificate))
        .routes(routes!(registry::read_instance_connection))
        .routes(routes!(
            applications::list_applications,
            applications::create_application
        ))
        .routes(routes!(
            applications::read_application,
            applications::update_application,
            applications::delete_application
        ))
        .routes(routes!(switches::switch_application))
        .routes(routes!(processes::list_processes))
        .merge(monitor_routes())
        .routes(routes!(sites::read_sites))
        .routes(routes!(sites::set_site_settings))
        .routes(routes!(sites::set_node_maintenance))
        .routes(routes!(sites::read_site_switch, sites::set_site_switch))
        .routes(routes!(withhold::read_switching, withhold::set_switching))
        .routes(routes!(
            withhold::read_instance_switching,
            withhold::set_instance_switching
        ))
        .routes(routes!(withhold::list_windows, withhold::create_window))
        .routes(routes!(withhold::delete_window))
        .routes(routes!(records::list_events))
        .routes(routes!(export::export_events))
        .routes(routes!(streams::stream_events))
        .routes(routes!(records::list_audit))
        .routes(routes!(read_document))
}

fn monitor_routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::default()
        .routes(routes!(monitors::list_monitors, monitors::create_monitor))
        .routes(routes!(streams::stream_monitors))
        .routes(routes!(connection::test_connection))
        .routes(routes!(switches::switch_monitors))
        .routes(routes!(deletion::delete_monitors))
        .routes(routes!(
            monitors::read_monitor,
            monitors::update_monitor,
            monitors::delete_monitor
        ))
        .routes(routes!(monitors::set_connection_pool))
        .routes(routes!(monitors::read_sdk_configuration))
        .routes(routes!(history::read_history))
        .routes(routes!(switches::set_read_write))
        .routes(routes!(switches::acknowledge_monitor))
        .routes(routes!(switches::switch_monitor))
}

/// This document; `/api/docs` shows it.
#[utoipa::path(get, path = "/openapi.json", tag = "access",
    responses((status = 200, content_type = "application/json"), (status = "default", body = Problem)))]
async fn read_document() -> Json<OpenApi> {
    Json(document())
}

pub(crate) async fn unknown_route(uri: Uri) -> Problem {
    let detail = text(edge::UNKNOWN_ROUTE, &[("path", &uri.path())]);
    Problem::new(StatusCode::NOT_FOUND, "unknown-route", detail)
}

async fn unknown_method(request: Request) -> Problem {
    let params: [(&str, &dyn std::fmt::Display); 2] = [("path", &request.uri().path()), ("method", request.method())];
    let detail = text(edge::UNKNOWN_METHOD, &params);
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}
