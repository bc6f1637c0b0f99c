//! What the OAuth 2.0 endpoints share: errors as RFC 6749 §5.2 has them, and how a client says who it is (§2.3).

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::auth::{Authenticator, Caller, Presented};
use super::body::{self, BodyBounds};
use super::problem::{Code, Problem};
use crate::formats::form::Form;
use crate::issuers::VerifyError;

/// An error on its way to an OAuth client.
#[derive(Debug)]
pub struct OAuthError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The member `error`.
    pub error: &'static str,
    /// The member `error_description`, for people. It must hold no token and no secret.
    pub description: String,
    challenges: Vec<HeaderValue>,
}

impl OAuthError {
    /// An error with status 400.
    pub fn new(error: &'static str, description: impl Into<String>) -> Self {
        let (status, challenges) = (StatusCode::BAD_REQUEST, Vec::new());
        Self { status, error, description: description.into(), challenges }
    }

    /// The request is not one that the endpoint understands.
    pub fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    /// The hub does not know, or could not do it; nothing has happened. The answer says when to come back.
    pub fn unavailable(description: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { status, ..Self::new("temporarily_unavailable", description) }
    }
}

impl From<Problem> for OAuthError {
    fn from(problem: Problem) -> Self {
        let status = problem.code().status();
        let (error, status) = match problem.code() {
            Code::Unauthorized => ("invalid_client", status),
            Code::MissingScope => ("insufficient_scope", status),
            Code::IssuerNotAllowed => ("unauthorized_client", StatusCode::BAD_REQUEST),
            Code::BodyTooLarge | Code::BodyTimeout => ("invalid_request", status),
            Code::Internal => ("server_error", status),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => ("temporarily_unavailable", status),
            _ => ("invalid_request", StatusCode::BAD_REQUEST),
        };
        let (description, challenges) = problem.into_parts();
        Self { status, error, description, challenges }
    }
}

impl From<VerifyError> for OAuthError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Unavailable => Self::unavailable(error.to_string()),
            error => Self::invalid_request(error.to_string()),
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        // RFC 6749 §5.2: printable ASCII without quotation marks and backslashes.
        let plain = |c: char| if matches!(c, ' '..='~') && c != '\\' { c } else { '?' };
        let description: String = self.description.replace('"', "'").chars().map(plain).collect();
        let document = json!({ "error": self.error, "error_description": description });
        let mut response = (self.status, Json(document)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            // 1 to 3 seconds, so that those who were refused together do not come back together.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(1 + rand::random::<u16>() % 3));
        }
        for challenge in self.challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        not_stored(response)
    }
}

/// Nothing of an OAuth answer is for caches (RFC 6749 §5.1, RFC 7662 §4).
pub fn not_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// The form in a request body.
pub async fn form(headers: &HeaderMap, body: axum::body::Body, bounds: BodyBounds) -> Result<Form, OAuthError> {
    if body::media_type(headers) != "application/x-www-form-urlencoded" {
        return Err(OAuthError::invalid_request("send a form (application/x-www-form-urlencoded)"));
    }
    let bytes = body::read(headers, body, bounds).await?;
    Form::read(&bytes).map_err(|error| OAuthError::invalid_request(error.to_string()))
}

/// The client that sends this form: by its Authorization header, by `client_id` and `client_secret` in the form, or by its
/// certificate, which a `client_id` in the form must fit to (RFC 8705 §2).
pub async fn client(authenticator: &Authenticator, presented: &Presented, form: &Form) -> Result<Caller, OAuthError> {
    let header = presented.authorization.as_ref();
    let Some(secret) = form.get("client_secret") else {
        let refused = match authenticator.authenticate(presented).await {
            Ok(caller) => {
                let named = form.get("client_id").filter(|_| header.is_none() && presented.certificate.is_some());
                if named.is_some() && caller.account().is_some() && named != caller.client_id.as_deref() {
                    let description = "the certificate is not that of this client_id";
                    return Err(OAuthError {
                        status: StatusCode::UNAUTHORIZED,
                        ..OAuthError::new("invalid_client", description)
                    });
                }
                return Ok(caller);
            }
            Err(problem) => problem,
        };
        // RFC 6749 §2.3.1 encodes both halves before RFC 7617 does; most clients leave that out.
        let decoded = header.filter(|_| refused.code() == Code::Unauthorized).and_then(form_encoded);
        return Ok(decoded.and_then(|(id, secret)| authenticator.password(&id, &secret).ok()).ok_or(refused)?);
    };
    if header.is_some() {
        return Err(OAuthError::invalid_request("use one way of authentication, not two (RFC 6749 §2.3)"));
    }
    let id = form.get("client_id").ok_or_else(|| OAuthError::invalid_request("client_id is missing"))?;
    Ok(authenticator.password(id, secret)?)
}

/// The two halves of a Basic header, form-decoded, if that makes a difference.
fn form_encoded(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest.trim()).ok())??;
    let pair = String::from_utf8(pair).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |text: &str| -> Option<String> {
        // A name alone is decoded to itself with nothing behind it.
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).ok()?;
        match &pairs[..] {
            [(name, value)] if value.is_empty() && !text.contains(['=', '&']) => Some(name.clone()),
            _ => None,
        }
    };
    Some((decode(id)?, decode(secret)?))
}
