//! `[[sources]]` and `[[outlets]]`: the other systems that the hub listens to and speaks to.
//!
//! The tables are flat, so that an error can name the setting; [`SourceKind::settings`] and [`OutletKind::settings`] say
//! which settings go with which kind.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::duration;
use super::secret::{DatabaseUrl, Secret};
use crate::formats::set::OPTIONAL_EVENTS;
use crate::formats::subject::Named;
pub use crate::formats::wso2::translate::Untyped;
use crate::tls::client::Outward;

/// A URL that can hold a password; `{}` and `{:?}` print `***` in its place.
pub type ServerUrl = DatabaseUrl;

macro_rules! kinds {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $help:literal])+ $variant:ident = $text:literal: [$($setting:literal),* $(,)?];)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
        pub enum $name {
            $($(#[doc = $help])+ #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// The name in the configuration.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The settings of this kind, besides those that every kind has.
            pub const fn settings(self) -> &'static [&'static str] {
                match self { $($name::$variant => &[$($setting),*]),+ }
            }
        }
    };
}

kinds! {
    /// What a source is.
    SourceKind {
        /// A consumer of an AMQP 0-9-1 broker (RabbitMQ, WSO2).
        Amqp = "amqp": ["url", "username", "password", "ca_file", "certificate_file", "key_file", "exchange", "routing_keys", "queue", "prefetch", "untyped"];
        /// A receiver of an AMQP 1.0 broker (Artemis, Qpid, Azure Service Bus, RabbitMQ).
        Amqp1 = "amqp1": ["url", "username", "password", "ca_file", "certificate_file", "key_file", "destination", "subscription", "client_id", "prefetch", "untyped"];
        /// A subscriber of a STOMP 1.2 broker (ActiveMQ).
        Stomp = "stomp": ["url", "username", "password", "ca_file", "certificate_file", "key_file", "destination", "subscription", "client_id", "prefetch", "untyped"];
        /// WSO2's `POST …/notify`.
        Wso2Notify = "wso2_notify": ["base_path", "untyped"];
        /// The list of revoked tokens of a WSO2 API Manager, pulled.
        Wso2Snapshot = "wso2_snapshot": ["url", "username", "password", "ca_file", "certificate_file", "key_file", "interval", "timeout", "untyped"];
        /// The etcd v2 keys interface, as the STS of WSO2 writes it and Microgateway reads it.
        Etcd = "etcd": ["directory", "untyped"];
        /// ActiveMQ's `POST /api/message/…`.
        ActivemqRest = "activemq_rest": ["destination", "untyped"];
        /// `POST /revoke` (RFC 7009).
        Rfc7009 = "rfc7009": ["path"];
        /// Security Event Tokens by push (RFC 8935), with the events of SSF, CAEP and RISC.
        SsfPush = "ssf_push": ["path", "transmitter", "audiences", "subject_claim", "events", "clients"];
        /// Security Event Tokens by poll (RFC 8936): the hub asks.
        SsfPoll = "ssf_poll": ["url", "bearer", "ca_file", "certificate_file", "key_file", "transmitter", "audiences", "subject_claim", "events"];
        /// OpenID Connect Back-Channel Logout 1.0.
        BackchannelLogout = "backchannel_logout": ["path", "audiences", "tokens_have_sid"];
        /// Global Token Revocation (draft-parecki-oauth-global-token-revocation).
        GlobalTokenRevocation = "global_token_revocation": ["path", "transmitter", "audiences", "subject_claim"];
        /// The token-invalidation operation of an Azure API Management set-up.
        ApimInvalidate = "apim_invalidate": ["audiences", "cors_origins"];
    }
}

kinds! {
    /// What an outlet is.
    OutletKind {
        /// A publisher to an AMQP 0-9-1 broker (RabbitMQ, WSO2).
        Amqp = "amqp": ["url", "username", "password", "ca_file", "certificate_file", "key_file", "exchange", "routing_keys"];
        /// A sender to an AMQP 1.0 broker (Artemis, Qpid, Azure Service Bus, RabbitMQ).
        Amqp1 = "amqp1": ["url", "username", "password", "ca_file", "certificate_file", "key_file", "destination"];
        /// A sender to a STOMP 1.2 broker (ActiveMQ).
        Stomp = "stomp": ["url", "username", "password", "ca_file", "certificate_file", "key_file", "destination"];
        /// An operation of an Azure API Management (or any) gateway that is called for each revocation.
        Apim = "apim": ["url", "bearer", "username", "password", "ca_file", "certificate_file", "key_file"];
    }
}

/// A way in, besides the native interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, in logs and as the `source` of its revocations.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// The only issuers it may speak about; all when absent.
    #[serde(default)]
    pub issuers: Option<Vec<String>>,
    /// The issuer of tokens that it names without one.
    #[serde(default)]
    pub default_issuer: Option<String>,
    /// How long its tokens live at the most; else `default_max_token_lifetime`.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub max_token_lifetime: Option<Duration>,
    /// Keep the text of its opaque tokens; else `keep_opaque`.
    #[serde(default)]
    pub keep_opaque: Option<bool>,
    /// Whether it may revoke more than one token at a time.
    #[serde(default = "yes")]
    pub rules: bool,
    /// What a key is that says nothing of its kind.
    #[serde(default)]
    pub untyped: Untyped,
    /// Where it is: one address, or several to be tried in turn.
    #[serde(default, deserialize_with = "one_or_many")]
    pub url: Vec<ServerUrl>,
    /// Who we are there, when the URL does not say so.
    #[serde(default)]
    pub username: Option<String>,
    /// The password; after loading it is here wherever it came from.
    #[serde(default)]
    pub password: Secret,
    /// The file the password was read from.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A certificate (PEM) to show.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// AMQP 0-9-1: the exchange to bind to.
    #[serde(default)]
    pub exchange: Option<String>,
    /// AMQP 0-9-1: the keys to bind with.
    #[serde(default)]
    pub routing_keys: Option<Vec<String>>,
    /// AMQP 0-9-1: a durable queue, shared by all replicas; without it each has a private one.
    #[serde(default)]
    pub queue: Option<String>,
    /// Messages that may be on their way without acknowledgement.
    #[serde(default)]
    pub prefetch: Option<u16>,
    /// The queue, topic or address.
    #[serde(default)]
    pub destination: Option<String>,
    /// The name of a durable subscription.
    #[serde(default)]
    pub subscription: Option<String>,
    /// Who we are to a broker that keeps durable subscriptions by client.
    #[serde(default)]
    pub client_id: Option<String>,
    /// How often a list is pulled.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub interval: Option<Duration>,
    /// How long the other side may be silent.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub timeout: Option<Duration>,
    /// What stands before the last part of the path.
    #[serde(default)]
    pub base_path: Option<String>,
    /// The directory of keys.
    #[serde(default)]
    pub directory: Option<String>,
    /// Where it is served.
    #[serde(default)]
    pub path: Option<String>,
    /// The `iss` that its tokens have, when it is not one of those that it may speak about.
    #[serde(default)]
    pub transmitter: Option<String>,
    /// The `aud` that its tokens have: who we are to their issuer.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Whether access tokens carry the `sid` of their session.
    #[serde(default)]
    pub tokens_have_sid: Option<bool>,
    /// Which formats of subject identifiers stand for the claim `sub` (RFC 9493), besides those that name it.
    #[serde(default)]
    pub subject_claim: Option<Vec<String>>,
    /// Events that are taken besides the usual ones, by the last part of their URI.
    #[serde(default)]
    pub events: Vec<String>,
    /// The clients that may call it; when empty whoever sends what is well signed.
    #[serde(default)]
    pub clients: Vec<String>,
    /// The origins whose pages may call it (Fetch Standard, CORS protocol).
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// A bearer token to show there; after loading it is here wherever it came from.
    #[serde(default)]
    pub bearer: Secret,
    /// The file the bearer token was read from.
    #[serde(default)]
    pub bearer_file: Option<PathBuf>,
}

/// A way out to another system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outlet {
    /// Its name, in logs and in the store, where its cursor is.
    pub name: String,
    /// What it is.
    pub kind: OutletKind,
    /// The form of its messages.
    #[serde(default)]
    pub format: Format,
    /// Where it starts when it is new.
    #[serde(default)]
    pub start: Start,
    /// Sources whose revocations it leaves out, because they came from where it would send them.
    #[serde(default)]
    pub except_sources: Vec<String>,
    /// Where it is: one address, or several to be tried in turn.
    #[serde(default, deserialize_with = "one_or_many")]
    pub url: Vec<ServerUrl>,
    /// Who we are there, when the URL does not say so.
    #[serde(default)]
    pub username: Option<String>,
    /// The password; after loading it is here wherever it came from.
    #[serde(default)]
    pub password: Secret,
    /// The file the password was read from.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A certificate (PEM) to show.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// AMQP 0-9-1: the exchange to publish to.
    #[serde(default)]
    pub exchange: Option<String>,
    /// AMQP 0-9-1: every message is published with each of these keys.
    #[serde(default)]
    pub routing_keys: Option<Vec<String>>,
    /// The queue, topic or address.
    #[serde(default)]
    pub destination: Option<String>,
    /// A bearer token to show there; after loading it is here wherever it came from.
    #[serde(default)]
    pub bearer: Secret,
    /// The file the bearer token was read from.
    #[serde(default)]
    pub bearer_file: Option<PathBuf>,
}

/// The form of an outlet's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// WSO2's `{"event":{"payloadData":…}}`: API Manager 4 gateways, Choreo Connect, Microgateway 3.2.10.
    #[default]
    Json,
    /// A map message as the WSO2 broker's clients write it (`amqp/map`): Microgateway 3, API Manager 3 gateways.
    Map,
    /// The older map message (`jms/map-message`).
    LegacyMap,
    /// The native wire form, lifts too.
    Native,
}

/// Where a new outlet starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With everything that is in force.
    #[default]
    Earliest,
    /// With what is revoked from then on.
    Now,
}

const fn yes() -> bool {
    true
}

/// One text or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServerUrl>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<ServerUrl>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a URL in quotes, or a list of them")
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![ServerUrl::new(text)])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut urls = Vec::new();
            while let Some(url) = list.next_element()? {
                urls.push(url);
            }
            Ok(urls)
        }
    }
    deserializer.deserialize_any(Visitor)
}

impl Source {
    /// The settings that were given, besides those that every kind has.
    fn given(&self) -> Vec<&'static str> {
        let password = !self.password.is_empty() || self.password_file.is_some();
        [
            ("url", !self.url.is_empty()),
            ("username", self.username.is_some()),
            ("password", password),
            ("ca_file", self.ca_file.is_some()),
            ("certificate_file", self.certificate_file.is_some()),
            ("key_file", self.key_file.is_some()),
            ("exchange", self.exchange.is_some()),
            ("routing_keys", self.routing_keys.is_some()),
            ("queue", self.queue.is_some()),
            ("prefetch", self.prefetch.is_some()),
            ("destination", self.destination.is_some()),
            ("subscription", self.subscription.is_some()),
            ("client_id", self.client_id.is_some()),
            ("interval", self.interval.is_some()),
            ("timeout", self.timeout.is_some()),
            ("base_path", self.base_path.is_some()),
            ("directory", self.directory.is_some()),
            ("untyped", self.untyped != Untyped::default()),
            ("path", self.path.is_some()),
            ("transmitter", self.transmitter.is_some()),
            ("audiences", !self.audiences.is_empty()),
            ("tokens_have_sid", self.tokens_have_sid.is_some()),
            ("subject_claim", self.subject_claim.is_some()),
            ("events", !self.events.is_empty()),
            ("clients", !self.clients.is_empty()),
            ("cors_origins", !self.cors_origins.is_empty()),
            ("bearer", !self.bearer.is_empty() || self.bearer_file.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// The files of its connection.
    pub fn tls(&self) -> Outward {
        Outward {
            ca_file: self.ca_file.clone(),
            certificate_file: self.certificate_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    /// What is wrong with it, as setting and message.
    pub(super) fn complaint(&self) -> Option<(String, String)> {
        let kind = self.kind.name();
        let foreign = self.given().into_iter().find(|s| !self.kind.settings().contains(s));
        if let Some(setting) = foreign {
            return Some((setting.into(), not_of(kind, self.kind.settings())));
        }
        let needs_url = self.kind.settings().contains(&"url");
        if let Some(complaint) = complain_of_urls(needs_url, &self.url, self.schemes()) {
            return Some(("url".into(), complaint));
        }
        if let Some(complaint) = complain_of_files(&self.tls()) {
            return Some(complaint);
        }
        if self.issuers.as_ref().is_some_and(|all| all.is_empty() || all.iter().any(String::is_empty)) {
            return Some(("issuers".into(), "names no issuer; leave the setting out to allow all".into()));
        }
        if let (Some(default), Some(issuers)) = (&self.default_issuer, &self.issuers)
            && !issuers.contains(default)
        {
            return Some(("default_issuer".into(), format!("\"{default}\" is not among `issuers`")));
        }
        let durations =
            [("max_token_lifetime", self.max_token_lifetime), ("interval", self.interval), ("timeout", self.timeout)];
        if let Some((setting, _)) = durations.into_iter().find(|(_, d)| d.is_some_and(|d| d.is_zero())) {
            return Some((setting.into(), "0 is not accepted; use a duration such as \"60s\"".into()));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
        if let Some(path) = self.serves()
            && (!path.starts_with('/') || path.contains("//") || path.ends_with('/') || !path.bytes().all(plain))
        {
            let setting = ["base_path", "directory", "destination", "path"];
            let setting = setting.into_iter().find(|s| self.kind.settings().contains(s)).unwrap_or("name");
            let message =
                format!("would make the path \"{path}\"; use letters, digits, - . _ ~ between single slashes");
            return Some((setting.into(), message));
        }
        if let Some(unknown) = self.subject_claim.iter().flatten().find(|name| Named::from_name(name).is_none()) {
            let known: Vec<_> = Named::ALL.iter().map(|named| named.name()).collect();
            let message = format!("\"{unknown}\" is not a format that could stand for `sub`; use {}", known.join(", "));
            return Some(("subject_claim".into(), message));
        }
        if let Some(unknown) = self.events.iter().find(|name| !OPTIONAL_EVENTS.contains(&name.as_str())) {
            let message = format!(
                "\"{unknown}\" is not an event that can be turned on; the others are always taken, or never. Use {}",
                OPTIONAL_EVENTS.join(", ")
            );
            return Some(("events".into(), message));
        }
        if self.kind == SourceKind::BackchannelLogout && self.audiences.iter().all(String::is_empty) {
            // Else a logout that an issuer means for one of its other clients would end sessions here.
            return Some(("audiences".into(), "is missing; give the client_id that the issuer knows us by".into()));
        }
        if self.prefetch == Some(0) {
            return Some(("prefetch".into(), "0 would mean without limit; use at least 1".into()));
        }
        if self.routing_keys.as_ref().is_some_and(Vec::is_empty) {
            return Some(("routing_keys".into(), "is empty; leave it out for the defaults".into()));
        }
        None
    }

    /// The path that a source which serves takes; each can be taken once.
    pub fn serves(&self) -> Option<String> {
        let given = |setting: &Option<String>, default: &str| setting.clone().unwrap_or_else(|| default.to_owned());
        match self.kind {
            SourceKind::Wso2Notify => Some(format!("{}/notify", given(&self.base_path, "/internal/data/v1"))),
            SourceKind::ActivemqRest => Some(format!("/api/message/{}", given(&self.destination, "tokenRevocation"))),
            // Under /v2/keys and /v3/keys alike.
            SourceKind::Etcd => Some(format!("/v2/keys/{}", given(&self.directory, "jti"))),
            SourceKind::Rfc7009 => Some(given(&self.path, "/revoke")),
            SourceKind::SsfPush => Some(given(&self.path, "/ssf/events")),
            SourceKind::BackchannelLogout => Some(given(&self.path, "/backchannel-logout")),
            SourceKind::GlobalTokenRevocation => Some(given(&self.path, "/global-token-revocation")),
            // The second one is /shared/security/v1/invalidate.
            SourceKind::ApimInvalidate => Some("/shared/security/invalidate".into()),
            SourceKind::Amqp
            | SourceKind::Amqp1
            | SourceKind::Stomp
            | SourceKind::Wso2Snapshot
            | SourceKind::SsfPoll => None,
        }
    }

    fn schemes(&self) -> &'static [&'static str] {
        match self.kind {
            SourceKind::Amqp | SourceKind::Amqp1 => &["amqp", "amqps"],
            SourceKind::Stomp => &["stomp", "stomp+ssl"],
            _ => &["http", "https"],
        }
    }
}

impl Outlet {
    fn given(&self) -> Vec<&'static str> {
        [
            ("exchange", self.exchange.is_some()),
            ("routing_keys", self.routing_keys.is_some()),
            ("destination", self.destination.is_some()),
            ("bearer", !self.bearer.is_empty() || self.bearer_file.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// The files of its connection.
    pub fn tls(&self) -> Outward {
        Outward {
            ca_file: self.ca_file.clone(),
            certificate_file: self.certificate_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    /// What is wrong with it, as setting and message.
    pub(super) fn complaint(&self) -> Option<(String, String)> {
        if let Some(setting) = self.given().into_iter().find(|s| !self.kind.settings().contains(s)) {
            return Some((setting.into(), not_of(self.kind.name(), self.kind.settings())));
        }
        let schemes: &[&str] = match self.kind {
            OutletKind::Amqp | OutletKind::Amqp1 => &["amqp", "amqps"],
            OutletKind::Stomp => &["stomp", "stomp+ssl"],
            OutletKind::Apim => &["http", "https"],
        };
        if let Some(complaint) = complain_of_urls(true, &self.url, schemes) {
            return Some(("url".into(), complaint));
        }
        if let Some(complaint) = complain_of_files(&self.tls()) {
            return Some(complaint);
        }
        if self.routing_keys.as_ref().is_some_and(Vec::is_empty) {
            return Some(("routing_keys".into(), "is empty; leave it out for the defaults".into()));
        }
        None
    }
}

fn not_of(kind: &str, settings: &[&str]) -> String {
    format!("does not go with kind \"{kind}\", which has {}", settings.join(", "))
}

fn complain_of_files(tls: &Outward) -> Option<(String, String)> {
    match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => Some(("key_file".into(), "is missing; it holds the private key of certificate_file".into())),
        (None, Some(_)) => Some(("certificate_file".into(), "is missing; it holds the certificate of key_file".into())),
        _ => None,
    }
}

fn complain_of_urls(needed: bool, urls: &[ServerUrl], schemes: &[&str]) -> Option<String> {
    if needed && urls.is_empty() {
        return Some(format!("is missing; give one such as {}://host", schemes[0]));
    }
    let known = |url: &ServerUrl| {
        url.expose().split_once("://").is_some_and(|(s, rest)| schemes.contains(&s) && !rest.is_empty())
    };
    // What cannot be read may be a password in the wrong place, so it is not repeated.
    (!urls.iter().all(known)).then(|| {
        let schemes: Vec<String> = schemes.iter().map(|s| format!("{s}://")).collect();
        format!("has to begin with {}", schemes.join(" or "))
    })
}
