//! By which way a request came: the address, and what the headers say of it, for the audit record.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::actor::{Actor, text};

/// The address at the other end of the connection, among the extensions of a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// A request's way, without a client.
#[derive(Clone, Debug, Default)]
pub struct Via(Arc<Actor>);

impl Via {
    /// The way of this request.
    pub fn of(parts: &Parts) -> Self {
        let header = |name: &str| parts.headers.get(name).and_then(|value| text(value.to_str().ok()?));
        Self(Arc::new(Actor {
            client: None,
            issuer: None,
            // One spelling for one address, whichever kind of socket it came to.
            address: parts.extensions.get::<Peer>().map(|peer| peer.0.to_canonical()),
            forwarded_for: header("x-forwarded-for"),
            request_id: header("x-request-id"),
        }))
    }

    /// Who asks, when nobody has shown credentials.
    pub fn unknown(self) -> Arc<Actor> {
        self.0
    }

    /// Who asks, with their credentials.
    pub fn client(self, name: Arc<str>, issuer: Option<Arc<str>>) -> Arc<Actor> {
        let mut actor = Arc::unwrap_or_clone(self.0);
        (actor.client, actor.issuer) = (Some(name), issuer);
        Arc::new(actor)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Via {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}
