//! Reading request bodies within bounds.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::{Code, Problem};

/// How much and how long a body may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyBounds {
    /// Bytes.
    pub max_bytes: usize,
    /// From the end of the header to the end of the body.
    pub timeout: Duration,
}

/// The whole body, or the problem with it.
pub async fn read(headers: &HeaderMap, body: Body, bounds: BodyBounds) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {} bytes (limits.max_body_bytes)", bounds.max_bytes);
        Problem::new(Code::BodyTooLarge, detail)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bounds.max_bytes as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(bounds.timeout, Limited::new(body, bounds.max_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::InvalidRequest, "the body ended before its end")),
        Err(_) => {
            let detail = format!("the body did not arrive within {:?} (limits.body_timeout)", bounds.timeout);
            Err(Problem::new(Code::BodyTimeout, detail))
        }
    }
}

/// The media type without parameters, in lower case; empty when there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
