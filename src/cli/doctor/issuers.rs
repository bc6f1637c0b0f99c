//! The key sets of `[[issuers]]`.

use super::report::Check;
use crate::config::Issuer;
use crate::issuers::inspect;

/// Reads the key set as the hub does.
pub async fn check(issuer: &Issuer, check: &mut Check) {
    let keys = match inspect::key_set(issuer).await {
        Ok(keys) => keys,
        Err(error) => {
            return check.failed(
                format!("no keys: {error:#}"),
                "no token of this issuer can be believed: see that the address is right and reachable from here, through \
                 proxies (HTTPS_PROXY) and firewalls, that ca_file fits, and that `algorithms` has what its keys are for",
            );
        }
    };
    let named: Vec<String> = keys
        .iter()
        .map(|key| format!("{} ({})", key.kid.as_deref().unwrap_or("without kid"), key.algorithms.join(", ")))
        .collect();
    check.ok(format!("{} usable keys: {}", keys.len(), named.join("; ")));
    // Only when somebody has chosen: by default all of them are allowed, and nobody has keys for all.
    let chosen = issuer.algorithms.len() < inspect::algorithms().len();
    let idle: Vec<&str> = inspect::names(&issuer.algorithms)
        .into_iter()
        .filter(|name| !keys.iter().any(|key| key.algorithms.contains(name)))
        .collect();
    if chosen && !idle.is_empty() {
        check.warning(
            format!("`algorithms` allows {}, for which it has no key", idle.join(", ")),
            "take out what is not used, or see that the issuer really publishes those keys here",
        );
    }
    let urls = [&issuer.discovery_url, &issuer.jwks_url];
    let place = urls
        .into_iter()
        .flatten()
        .next()
        .or((issuer.jwks_file.is_none() && issuer.pem_file.is_none()).then_some(&issuer.issuer));
    if place.is_some_and(|url| url.starts_with("http://")) {
        check.warning(
            "its keys come over http: whoever is on the way can put others in their place",
            "use https, with ca_file for an authority of your own",
        );
    }
}
