//! Swagger UI at `/api/docs`: a page that reads and tries the API, all of it inside of the binary.
//!
//! What is served here is static and the same for everybody; the OpenAPI document itself needs a session, which the page
//! asks for. Nothing is loaded from elsewhere, and the page's policy would not let it.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, Uri, header};

use crate::openapi::unknown_route;

/// Where the page is.
const PAGE: &str = "/api/docs";
/// Scripts, styles and calls from this origin alone. Swagger UI sets styles on elements and shows images that it carries.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// A file of the page.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    compressed: bool,
    bytes: &'static [u8],
}

const INDEX: Asset = Asset {
    name: "",
    media_type: "text/html; charset=utf-8",
    compressed: false,
    bytes: include_bytes!("../swagger/index.html"),
};

const ASSETS: [Asset; 3] = [
    Asset {
        name: "docs.js",
        media_type: "text/javascript; charset=utf-8",
        compressed: false,
        bytes: include_bytes!("../swagger/docs.js"),
    },
    Asset {
        name: "swagger-ui-bundle.js",
        media_type: "text/javascript; charset=utf-8",
        compressed: true,
        bytes: include_bytes!("../swagger/swagger-ui-bundle.js.gz"),
    },
    Asset {
        name: "swagger-ui.css",
        media_type: "text/css; charset=utf-8",
        compressed: true,
        bytes: include_bytes!("../swagger/swagger-ui.css.gz"),
    },
];

impl IntoResponse for &'static Asset {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::OK, self.bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        if self.compressed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The page and its files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(PAGE, get(async || &INDEX))
        .route(&format!("{PAGE}/{{file}}"), get(file))
}

async fn file(Path(name): Path<String>, uri: Uri) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.into_response(),
        None => unknown_route(uri).await.into_response(),
    }
}
