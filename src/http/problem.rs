//! Errors as problem documents (RFC 9457), with stable codes. This is the one list of them.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

macro_rules! codes {
    ($($(#[doc = $title:literal])+ $code:ident = $status:ident $name:literal;)+) => {
        /// The stable name of what went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[doc = $title])+ $code,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$code),+];

            /// The name in the member `code`.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$code => $name),+ }
            }

            /// The status it comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Code::$code => StatusCode::$status),+ }
            }

            /// One sentence that fits every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Code::$code => concat!($($title),+).trim()),+ }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    InvalidJson = BAD_REQUEST "invalid_json";
    /// The request is not one that this endpoint understands.
    InvalidRequest = BAD_REQUEST "invalid_request";
    /// The CloudEvent lacks an attribute, is of another version, or has no data.
    InvalidCloudEvent = BAD_REQUEST "invalid_cloudevent";
    /// The cursor is not one that a hub has ever given.
    InvalidCursor = BAD_REQUEST "invalid_cursor";
    /// Credentials are missing or wrong.
    Unauthorized = UNAUTHORIZED "unauthorized";
    /// The credentials are good but lack a scope.
    MissingScope = FORBIDDEN "missing_scope";
    /// The credentials are bound to other issuers.
    IssuerNotAllowed = FORBIDDEN "issuer_not_allowed";
    /// There is nothing here.
    NotFound = NOT_FOUND "not_found";
    /// The path exists but not with this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed";
    /// The body did not arrive in time.
    BodyTimeout = REQUEST_TIMEOUT "body_timeout";
    /// The cursor belongs to another incarnation of the log: load the snapshot again.
    CursorReset = GONE "cursor_reset";
    /// The body is larger than accepted.
    BodyTooLarge = PAYLOAD_TOO_LARGE "body_too_large";
    /// The body has more revocations than are accepted at once.
    TooManyItems = PAYLOAD_TOO_LARGE "too_many_items";
    /// The body is of a type that is not accepted here.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type";
    /// An item has an unknown member, or one of the wrong type.
    InvalidItem = UNPROCESSABLE_ENTITY "invalid_item";
    /// An item does not name exactly one target, or has a member that does not go with it.
    InvalidTarget = UNPROCESSABLE_ENTITY "invalid_target";
    /// A text is empty, too long, or has control characters.
    InvalidText = UNPROCESSABLE_ENTITY "invalid_text";
    /// A time is negative, too small, or given twice.
    InvalidTime = UNPROCESSABLE_ENTITY "invalid_time";
    /// A time can only be meant in milliseconds.
    LooksLikeMilliseconds = UNPROCESSABLE_ENTITY "looks_like_milliseconds";
    /// A raw token is not one, or not in its only valid spelling.
    MalformedToken = UNPROCESSABLE_ENTITY "malformed_token";
    /// A parked message still cannot be read, or is still refused; it stays parked.
    StillUnreadable = UNPROCESSABLE_ENTITY "still_unreadable";
    /// Something in the hub is broken.
    Internal = INTERNAL_SERVER_ERROR "internal";
    /// The control plane behind the proxy cannot be reached, or its answer is not one to pass on.
    BadGateway = BAD_GATEWAY "bad_gateway";
    /// The control plane behind the proxy did not answer in time.
    GatewayTimeout = GATEWAY_TIMEOUT "gateway_timeout";
    /// The hub has not loaded its list yet, so it does not know.
    NotLoaded = SERVICE_UNAVAILABLE "not_loaded";
    /// The keys of a token's issuer cannot be read, so nobody can say whether the token is good.
    KeysUnavailable = SERVICE_UNAVAILABLE "keys_unavailable";
    /// The store does not answer, so nothing could be committed.
    StoreUnavailable = SERVICE_UNAVAILABLE "store_unavailable";
    /// More is waiting than can be committed in time.
    Busy = SERVICE_UNAVAILABLE "busy";
    /// As much of this is going on as there is room for.
    Overloaded = SERVICE_UNAVAILABLE "overloaded";
    /// The hub is stopping.
    Stopping = SERVICE_UNAVAILABLE "stopping";
}

/// A problem document on its way to a client.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    index: Option<usize>,
    challenges: Vec<HeaderValue>,
    /// With 503: `Retry-After` is a random number of seconds up to this one.
    retry_within: u64,
}

impl Problem {
    /// A problem with its particulars. `detail` is for people and must hold no token and no secret.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), index: None, challenges: Vec::new(), retry_within: 3 }
    }

    /// Says which item of the request it is about, from 0.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// With 503: asks to come back after 1 s or later, at the latest after this time.
    #[must_use]
    pub fn retry_within(mut self, limit: Duration) -> Self {
        self.retry_within = limit.as_secs().max(1);
        self
    }

    /// Says how to authenticate (RFC 9110 §11.6.1).
    #[must_use]
    pub fn challenge(mut self, challenges: &[HeaderValue]) -> Self {
        self.challenges = challenges.to_vec();
        self
    }

    /// Which problem it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What it says to people, and how to authenticate, for those who say it in another form.
    pub fn into_parts(self) -> (String, Vec<HeaderValue>) {
        (self.detail, self.challenges)
    }

    /// The hub has not loaded its list yet.
    pub fn not_loaded() -> Self {
        Self::new(Code::NotLoaded, "the list of revocations is not loaded yet; ask again")
    }
}

/// A query that cannot be read. A misspelt parameter must not be taken for none.
impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        Self::new(Code::InvalidRequest, error.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut document = json!({
            "type": format!("urn:revocation-hub:problem:{}", self.code.name()),
            "title": self.code.title(),
            "status": status.as_u16(),
            "detail": self.detail,
            "code": self.code.name(),
        });
        if let Some(index) = self.index {
            document["index"] = index.into();
        }
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // At random, so that those who were refused together do not come back together.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(rand::random_range(1..=self.retry_within)));
        }
        for challenge in self.challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_readme_under_its_status() {
        let readme = include_str!("../../README.md");
        for code in Code::ALL {
            let row =
                readme.lines().find(|line| line.starts_with("| ") && line.contains(&format!("`{}`", code.name())));
            let row = row.unwrap_or_else(|| panic!("{} is not in README.md", code.name()));
            assert!(
                row.contains(code.status().as_str()),
                "{} stands at another status than {}",
                code.name(),
                code.status()
            );
        }
    }
}
