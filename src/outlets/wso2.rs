//! `GET <base path>/revokedjwt` as WSO2 API Manager serves it (carbon-apimgt, `RevokedjwtApiServiceImpl`; Jackson's
//! compact form).
//!
//! These clients decide the manners: Microgateway 3.2 takes *any* HTTP answer for success and never asks again, and
//! Choreo Connect gives up for ever on a 4xx. So while the list is not known the connection is closed without a byte,
//! which all of them retry, and nothing but bad credentials is ever answered with a 4xx.

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::blind::Reader;
use super::list::{Step, body};
use super::{CURSOR, SharedOutlets};
use crate::config::{Scope, Wso2Shape};
use crate::http::flow::Flow;
use crate::http::server::HangUp;
use crate::http::{Caller, Problem, negotiate};
use crate::ledger::Shape;

/// Closes the connection while the list is not known. It stands before authentication: even a 401 would be an answer. The
/// same goes for whatever would be answered by 503: there is no room, or the keys to tell who is asking are not there.
pub async fn hang_up_unless_loaded(State(outlets): State<SharedOutlets>, request: Request, next: Next) -> Response {
    if outlets.ledger.is_loaded() {
        let response = next.run(request).await;
        if !response.status().is_server_error() {
            return response;
        }
    }
    outlets.metrics.wso2_hung_up.inc();
    HangUp.into_response()
}

/// `GET <base path>/revokedjwt` in a shape. The query (`organizationId=ALL`, `query`) changes nothing.
pub async fn revoked_jwt(
    State(outlets): State<SharedOutlets>,
    caller: Caller,
    flow: Option<Extension<Flow>>,
    headers: HeaderMap,
    shape: Wso2Shape,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let Some(view) = outlets.ledger.view(0) else { return Ok(HangUp.into_response()) };
    let reader = match shape {
        Wso2Shape::Array => Reader::Array,
        Wso2Shape::Legacy => Reader::Legacy,
        Wso2Shape::Object => Reader::Object,
    };
    outlets.blind.reads(reader, &outlets.ledger.stats(), &outlets.metrics);
    let flow = flow.map(|Extension(flow)| flow).unwrap_or_default();
    let load = outlets.load(&caller, 0, &flow)?;
    let cursor = view.cursor.to_string();
    let steps = match shape {
        Wso2Shape::Array => vec![text("["), Step::List(Shape::Wso2Tokens), text("]")],
        Wso2Shape::Legacy => vec![text("["), Step::List(Shape::Wso2Legacy), text("]")],
        Wso2Shape::Object => vec![
            text(r#"{"revokedJWTList":["#),
            Step::List(Shape::Wso2Tokens),
            text(r#"],"revokedJWTSubjectEntityList":["#),
            Step::List(Shape::Wso2Subjects),
            text(r#"],"revokedJWTConsumerKeyList":["#),
            Step::List(Shape::Wso2Clients),
            text("]}"),
        ],
    };
    let coding = negotiate::coding(&headers);
    let mut response = Response::new(body(view, steps, coding, load, flow));
    let own = response.headers_mut();
    own.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    own.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(name) = coding.name() {
        own.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    if let Ok(cursor) = HeaderValue::try_from(cursor) {
        own.insert(CURSOR, cursor);
    }
    Ok(response)
}

fn text(text: &str) -> Step {
    Step::Text(text.to_owned())
}
