//! Who asked, and from where: what the audit record of a request says besides what the request did.

use std::net::IpAddr;
use std::sync::Arc;

/// The longest text of somebody else's (a header) that is kept, in characters.
const MAX_TEXT: usize = 200;

/// Who asked, as far as the hub knows. Nothing is known of what a broker brings: there the source says it all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Whose credentials it was; `None` where nobody has shown any.
    pub client: Option<Arc<str>>,
    /// Who vouches for the client: the issuer of the token that it has shown. `None` for a client of the configuration.
    pub issuer: Option<Arc<str>>,
    /// The address at the other end of the connection: of a proxy, where there is one.
    pub address: Option<IpAddr>,
    /// For whom a proxy says that it asks (`X-Forwarded-For`). Only as true as whoever is at `address`.
    pub forwarded_for: Option<Arc<str>>,
    /// What the caller calls its request (`X-Request-Id`), to find it again elsewhere.
    pub request_id: Option<Arc<str>>,
}

impl Actor {
    /// Whoever runs a command of this program on its machine, as the system calls them.
    pub fn local() -> Self {
        let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = format!("{}@{}", user.as_deref().unwrap_or("?"), host.as_deref().map_or("?", str::trim));
        Self { client: text(&name), ..Self::default() }
    }
}

/// A text of somebody else's as it is kept: bounded, and without what could disturb a terminal or a line-based log.
pub fn text(text: &str) -> Option<Arc<str>> {
    let replaced = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = text.trim().chars().take(MAX_TEXT).map(replaced).collect();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_bounded_and_shows_nothing_but_text() {
        assert_eq!(text("  "), None);
        assert_eq!(&*text(" a\u{1b}[2J\nb ").unwrap(), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(text(&"ä".repeat(5000)).unwrap().chars().count(), MAX_TEXT);
        assert!(Actor::local().client.unwrap().contains('@'));
    }
}
