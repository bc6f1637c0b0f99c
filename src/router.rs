//! All routes, in one place.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, options, post, put};

use crate::config::{SourceKind, Wso2};
use crate::http::admission::{self, Admission, Door, HangsUp};
use crate::http::flow::Flow;
use crate::http::webhook::{self, Webhooks};
use crate::http::{Authenticator, Caller, Code, Problem, auth};
use crate::metrics::Metrics;
use crate::outlets::etcd::Directory;
use crate::outlets::{self, SharedOutlets, audit, check, events, introspect, operate, page, snapshot, wso2};
use crate::proxy::{self, BASE, PassedOn, Proxy};
use crate::sources::native::Origins;
use crate::sources::start::Served;
use crate::sources::{
    self, SharedSources, activemq_rest, apim_invalidate, backchannel_logout, etcd, global_token_revocation, native,
    parked, rfc7009, ssf_push, wso2_notify,
};

/// The paths of the native interface and of operating, as in the OpenAPI document.
pub const PATHS: &[(&str, &[&str])] = &[
    ("/v1/revocations", &["get", "options", "post"]),
    ("/v1/revocations/{id}", &["get", "delete"]),
    ("/v1/check", &["get", "post"]),
    ("/v1/events", &["get"]),
    ("/introspect", &["post"]),
    ("/v1/sources", &["get"]),
    ("/v1/outlets", &["get"]),
    ("/v1/status", &["get"]),
    ("/v1/audit", &["get"]),
    ("/v1/parked", &["get"]),
    ("/v1/parked/{number}", &["get", "delete"]),
    ("/v1/parked/{number}/replay", &["post"]),
    ("/livez", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
    ("/openapi.json", &["get"]),
    ("/", &["get"]),
    ("/page.css", &["get"]),
    ("/page.js", &["get"]),
];

/// The paths of sources that serve and of the proxy as they are by default, as in the OpenAPI document.
pub const SERVED: &[(&str, &[&str])] = &[
    ("/internal/data/v1/notify", &["post"]),
    ("/internal/data/v1/{path}", &["get"]),
    ("/api/message/tokenRevocation", &["post"]),
    ("/v2/keys/jti/", &["get"]),
    ("/v2/keys/jti/{key}", &["delete", "get", "put"]),
    ("/ssf/events", &["post"]),
    ("/global-token-revocation", &["post"]),
    ("/revoke", &["post"]),
    ("/backchannel-logout", &["post"]),
    ("/shared/security/invalidate", &["options", "post"]),
    ("/shared/security/v1/invalidate", &["options", "post"]),
];

/// What the interface is made of.
pub struct Parts {
    /// Knows who calls.
    pub authenticator: Arc<Authenticator>,
    /// Knows who signs.
    pub webhooks: Arc<Webhooks>,
    /// Who may deliver CloudEvents.
    pub origins: Origins,
    /// The ways in.
    pub sources: SharedSources,
    /// The ways out.
    pub outlets: SharedOutlets,
    /// Who did what.
    pub audit: audit::Records,
    /// The control plane behind.
    pub proxy: Option<Arc<Proxy>>,
    /// Whether there is a listener for administration.
    pub administered_elsewhere: bool,
}

/// The whole interface of a hub.
pub fn router(parts: Parts, wso2_paths: &[Wso2]) -> Router {
    let Parts { authenticator, webhooks, origins, sources, outlets, audit, proxy, administered_elsewhere } = parts;
    let door = Door { admission: outlets.admission.clone(), hangs_up: hangs_up(wso2_paths, &sources) };
    let reading = Router::new()
        .route("/v1/revocations", get(snapshot::list))
        .route("/v1/revocations/{id}", get(snapshot::one))
        .route("/v1/check", get(check::by_claims).post(check::by_token))
        .route("/v1/events", get(events::events))
        .route("/v1/outlets", get(outlets::report::list))
        .route("/v1/status", get(page::status))
        .with_state(outlets.clone());
    let writing = Router::new()
        .route("/v1/revocations", native::publish())
        .route("/v1/revocations/{id}", native::unpublish())
        .route("/v1/sources", get(sources::report::list))
        .with_state(sources.clone());
    let administration =
        if administered_elsewhere { elsewhere() } else { administration(&sources, &outlets, &audit, &authenticator) };
    let introspection = introspect::Introspection { outlets: outlets.clone(), authenticator: authenticator.clone() };
    let introspection = Router::new().route("/introspect", post(introspect::introspect)).with_state(introspection);
    let mut foreign = Router::new();
    for entry in wso2_paths {
        let shape = entry.shape;
        let handler =
            move |state: State<SharedOutlets>, caller: Caller, flow: Option<Extension<Flow>>, headers: HeaderMap| {
                wso2::revoked_jwt(state, caller, flow, headers, shape)
            };
        foreign = foreign.route(&revoked_jwt(entry), get(handler));
    }
    let mut others = Router::new();
    if let Some(proxy) = proxy {
        // The hub's own paths are spelled out, which is stronger than a wildcard.
        let passed_on = Router::new().route(&format!("{BASE}/{{*path}}"), get(proxy::pass_on)).with_state(proxy);
        others = passed_on.route_layer(from_fn_with_state(authenticator.clone(), auth::authenticate));
    }
    let served = served(&sources, &outlets, &authenticator);
    // Asked before anything is delivered, and often by a sender that shows no credentials yet.
    let consent = Router::new().route("/v1/revocations", options(native::consent)).with_state(origins);
    let native = reading
        .merge(writing)
        .route_layer(from_fn_with_state(authenticator.clone(), auth::authenticate))
        .route_layer(from_fn_with_state(webhooks, webhook::sign_in));
    let foreign = foreign
        .route_layer(from_fn_with_state(authenticator, auth::authenticate))
        .route_layer(from_fn_with_state(outlets.clone(), wso2::hang_up_unless_loaded))
        .with_state(outlets.clone());

    let operating = Router::new()
        .route("/livez", get(operate::livez))
        .route("/readyz", get(operate::readyz))
        .route("/openapi.json", get(operate::openapi))
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .with_state(outlets.clone());

    let all = native
        .merge(administration)
        .merge(introspection)
        .merge(consent)
        .merge(foreign)
        .merge(served)
        .merge(others)
        .merge(operating);
    finish(all, door, outlets.metrics.clone())
}

/// The interface for those who look after the hub, on a listener of its own. Its budgets are its own.
pub fn admin_router(
    authenticator: &Arc<Authenticator>,
    sources: &SharedSources,
    outlets: &SharedOutlets,
    audit: &audit::Records,
    admission: Arc<Admission>,
) -> Router {
    let seen = Router::new()
        .route("/v1/outlets", get(outlets::report::list))
        .route("/v1/status", get(page::status))
        .with_state(outlets.clone())
        .merge(Router::new().route("/v1/sources", get(sources::report::list)).with_state(sources.clone()))
        .route_layer(from_fn_with_state(authenticator.clone(), auth::authenticate));
    let operating = Router::new()
        .route("/livez", get(operate::livez))
        .route("/readyz", get(operate::readyz))
        .route("/openapi.json", get(operate::openapi))
        .with_state(outlets.clone());
    let all = seen.merge(operating).merge(administration(sources, outlets, audit, authenticator));
    let door = Door { admission, hangs_up: Arc::new(|_, _| false) };
    finish(all, door, outlets.metrics.clone())
}

/// What is served on the listener for administration only, when there is one: what the scope `admin` opens, and metrics.
fn administration(
    sources: &SharedSources,
    outlets: &SharedOutlets,
    audit: &audit::Records,
    authenticator: &Arc<Authenticator>,
) -> Router {
    let parked = Router::new()
        .route("/v1/parked", get(parked::list))
        .route("/v1/parked/{number}", get(parked::one).delete(parked::drop))
        .route("/v1/parked/{number}/replay", post(parked::replay))
        .with_state(sources.clone())
        .merge(Router::new().route("/v1/audit", get(audit::list)).with_state(audit.clone()))
        .route_layer(from_fn_with_state(authenticator.clone(), auth::authenticate));
    parked.merge(Router::new().route("/metrics", get(operate::metrics)).with_state(outlets.clone()))
}

/// The same paths on the other addresses then.
fn elsewhere() -> Router {
    let paths = ["/metrics", "/v1/audit", "/v1/parked", "/v1/parked/{number}", "/v1/parked/{number}/replay"];
    let nothing = async || Problem::new(Code::NotFound, "this is served on the addresses of admin.listen only");
    paths.into_iter().fold(Router::new(), |all, path| all.route(path, any(nothing)))
}

/// What stands in front of every route.
fn finish(all: Router, door: Door, metrics: Arc<Metrics>) -> Router {
    all.method_not_allowed_fallback(|| async {
        Problem::new(Code::MethodNotAllowed, "this path does not have this method; see the header Allow")
    })
    .fallback(|| async { Problem::new(Code::NotFound, "there is nothing here; see /openapi.json") })
    .layer(from_fn_with_state(door, admission::admit))
    .layer(from_fn_with_state(metrics, count))
    .layer(from_fn(version))
}

fn revoked_jwt(entry: &Wso2) -> String {
    format!("{}/revokedjwt", entry.base_path.trim_end_matches('/'))
}

/// The routes of etcd's directory under a path: two spellings of the directory, and its keys.
fn etcd_routes(path: &str) -> [[String; 3]; 2] {
    let name = path.trim_start_matches("/v2/keys/");
    ["v2", "v3"].map(|version| {
        let directory = format!("/{version}/keys/{name}");
        [directory.clone(), format!("{directory}/"), format!("{directory}/{{*key}}")]
    })
}

/// Those who read on these routes take any answer for success.
fn hangs_up(wso2_paths: &[Wso2], sources: &SharedSources) -> HangsUp {
    let etcd = sources.running.iter().filter(|running| running.source.kind == SourceKind::Etcd);
    let etcd = etcd.filter_map(|running| running.source.serves()).flat_map(|path| etcd_routes(&path).concat());
    let routes: HashSet<String> = wso2_paths.iter().map(revoked_jwt).chain(etcd).collect();
    Arc::new(move |route: &str, method: &Method| {
        matches!(*method, Method::GET | Method::HEAD) && routes.contains(route)
    })
}

/// The paths of the configured sources that serve.
fn served(sources: &SharedSources, outlets: &SharedOutlets, authenticator: &Arc<Authenticator>) -> Router {
    let signed_in = || from_fn_with_state(authenticator.clone(), auth::authenticate);
    let mut all = Router::new();
    for running in &sources.running {
        let state = Served { sources: sources.clone(), running: running.clone(), authenticator: authenticator.clone() };
        let source = &running.source;
        let Some(path) = source.serves() else { continue };
        match source.kind {
            SourceKind::Wso2Notify => {
                let notify = Router::new().route(&path, post(wso2_notify::notify)).with_state(state);
                all = all.merge(notify.route_layer(signed_in()));
            }
            SourceKind::ActivemqRest => {
                let send = Router::new().route(&path, post(activemq_rest::send)).with_state(state);
                all = all.merge(send.route_layer(signed_in()));
            }
            SourceKind::Etcd => {
                let name = path.trim_start_matches("/v2/keys/").to_owned();
                let clock = running.inbox.clock.clone();
                let directory = Directory { outlets: outlets.clone(), name: name.as_str().into(), clock };
                for [dir, slashed, key] in etcd_routes(&path) {
                    let reading = Router::new()
                        .route(&dir, get(outlets::etcd::list))
                        .route(&slashed, get(outlets::etcd::list))
                        .route(&key, get(outlets::etcd::one))
                        .route_layer(signed_in())
                        .route_layer(from_fn_with_state(outlets.clone(), wso2::hang_up_unless_loaded))
                        .with_state(directory.clone());
                    let writing =
                        Router::new().route(&key, put(etcd::put).delete(etcd::delete)).with_state(state.clone());
                    all = all.merge(reading).merge(writing.route_layer(signed_in()));
                }
            }
            SourceKind::Rfc7009 => all = all.merge(rfc7009::routes(state)),
            SourceKind::SsfPush => all = all.merge(ssf_push::routes(state)),
            SourceKind::BackchannelLogout => all = all.merge(backchannel_logout::routes(state)),
            SourceKind::ApimInvalidate => all = all.merge(apim_invalidate::routes(state)),
            SourceKind::GlobalTokenRevocation => all = all.merge(global_token_revocation::routes(state)),
            // These serve nothing.
            SourceKind::Amqp
            | SourceKind::Amqp1
            | SourceKind::Stomp
            | SourceKind::Wso2Snapshot
            | SourceKind::SsfPoll => {}
        }
    }
    all
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
    if response.status().is_client_error() && plain && response.extensions().get::<PassedOn>().is_none() {
        return Problem::new(Code::InvalidRequest, "the request could not be read").into_response();
    }
    response
}
