//! All routes, in one place.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::config::Wso2;
use crate::http::{Authenticator, Caller, Code, Problem, auth};
use crate::metrics::Metrics;
use crate::outlets::{SharedOutlets, check, events, operate, snapshot, wso2};
use crate::sources::{SharedSources, native};

/// The paths of the native interface and of operating, as in the OpenAPI document.
pub const PATHS: &[(&str, &[&str])] = &[
    ("/v1/revocations", &["get", "post"]),
    ("/v1/revocations/{id}", &["get", "delete"]),
    ("/v1/check", &["get", "post"]),
    ("/v1/events", &["get"]),
    ("/livez", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
    ("/openapi.json", &["get"]),
    ("/", &["get"]),
];

/// The whole interface of a hub.
pub fn router(
    authenticator: Arc<Authenticator>,
    sources: SharedSources,
    outlets: SharedOutlets,
    wso2_paths: &[Wso2],
) -> Router {
    let metrics = outlets.metrics.clone();
    let reading = Router::new()
        .route("/v1/revocations", get(snapshot::list))
        .route("/v1/revocations/{id}", get(snapshot::one))
        .route("/v1/check", get(check::by_claims).post(check::by_token))
        .route("/v1/events", get(events::events))
        .with_state(outlets.clone());
    let writing = Router::new()
        .route("/v1/revocations", native::publish())
        .route("/v1/revocations/{id}", native::unpublish())
        .with_state(sources);
    let native = reading.merge(writing).route_layer(from_fn_with_state(authenticator.clone(), auth::authenticate));

    let mut foreign = Router::new();
    for entry in wso2_paths {
        let shape = entry.shape;
        let handler = move |state: State<SharedOutlets>, caller: Caller, headers: HeaderMap| {
            wso2::revoked_jwt(state, caller, headers, shape)
        };
        let path = format!("{}/revokedjwt", entry.base_path.trim_end_matches('/'));
        foreign = foreign.route(&path, get(handler));
    }
    let foreign = foreign
        .route_layer(from_fn_with_state(authenticator, auth::authenticate))
        .route_layer(from_fn_with_state(outlets.clone(), wso2::hang_up_unless_loaded))
        .with_state(outlets.clone());

    let operating = Router::new()
        .route("/livez", get(operate::livez))
        .route("/readyz", get(operate::readyz))
        .route("/metrics", get(operate::metrics))
        .route("/openapi.json", get(operate::openapi))
        .route("/", get(operate::index))
        .with_state(outlets);

    native
        .merge(foreign)
        .merge(operating)
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::MethodNotAllowed, "this path does not have this method; see the header Allow")
        })
        .fallback(|| async { Problem::new(Code::NotFound, "there is nothing here; see /openapi.json") })
        .layer(from_fn_with_state(metrics, count))
        .layer(from_fn(version))
}

/// Counts requests by route, never by path: paths hold ids.
async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other".to_owned(), |p| p.as_str().to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "DELETE" | "PUT" | "OPTIONS" | "PATCH") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    metrics.requests.with_label_values(&[&*route, &*method, response.status().as_str()]).inc();
    response
}

/// Rejections of axum's own extractors are plain text; clients are promised problem documents.
async fn version(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let plain = response.headers().get("content-type").is_none_or(|v| v.as_bytes().starts_with(b"text/plain"));
    if response.status().is_client_error() && plain {
        return Problem::new(Code::InvalidRequest, "the request could not be read").into_response();
    }
    response
}
