//! The certificates in the files that the configuration names, and their dates.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Scene;
use super::report::{Check, aside};
use crate::cli::output::time;
use crate::clock::Clock;
use crate::config::Holds;
use crate::tls::certificate::Dates;
use crate::tls::server::Identity;

/// So many days before it expires a certificate should have been renewed.
const DAYS: i64 = 21;
const DAY: i64 = 86_400;

const RENEW: &str = "renew it; what renews it by itself seems not to run";

/// Looks at every file. Says nothing when there is none.
pub async fn check(scene: &Scene, check: &mut Check) {
    let now = Clock::system().now();
    let files = scene.config.files().into_iter().filter(|f| f.holds != Holds::Secret);
    let files: Vec<(String, PathBuf, Holds)> = files.map(|f| (f.key, f.path, f.holds)).collect();
    let tls = scene.config.tls.clone();
    if tls.files().is_some() {
        let loaded = aside(move || Identity::load(&tls).map(|_| ()).map_err(|error| error.to_string())).await;
        match loaded {
            Some(Ok(())) => check.ok("[tls]: the key is that of the certificate"),
            Some(Err(error)) => check.failed(error, "the hub does not start with it, nor take it up when it runs"),
            None => check.failed("[tls]: the files cannot be read", "look at them by hand"),
        }
    }
    for (key, path, holds) in files {
        let shown = path.display().to_string();
        match aside(move || read(&path)).await.unwrap_or_else(|| Err("cannot be read".into())) {
            Ok(all) => judge(&format!("{key}: {shown}"), &all, holds, now, check),
            Err(error) => check.failed(
                format!("{key}: {shown} {error}"),
                "it has to hold certificates in PEM form (-----BEGIN CERTIFICATE-----), and the hub has to be able to read it",
            ),
        }
    }
}

fn read(path: &Path) -> Result<Vec<Dates>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut all = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        all.push(Dates::of(&certificate).ok_or("holds something that is no certificate")?);
    }
    if all.is_empty() { Err("holds no certificate".into()) } else { Ok(all) }
}

/// A chain that is shown is as good as the worst of it; authorities that are trusted as good as the best.
fn judge(what: &str, all: &[Dates], holds: Holds, now: i64, check: &mut Check) {
    let total = all.len();
    let good: Vec<&Dates> = all.iter().filter(|dates| dates.complaint(now).is_none()).collect();
    let bad = all.iter().find_map(|dates| dates.complaint(now));
    let ends = |dates: &Dates| dates.until;
    match (bad, holds) {
        (Some(complaint), Holds::Certificate) => {
            check.failed(format!("{what}: a certificate {complaint}"), "renew it: nobody can connect");
        }
        (Some(complaint), _) if good.is_empty() => check.failed(
            format!("{what}: none of its {total} certificates is good now; one {complaint}"),
            "put the authority's present certificate there: no connection that trusts it can be made",
        ),
        (Some(complaint), _) => check.warning(
            format!("{what}: one of its {total} certificates {complaint}"),
            "take it out, and see that the others are what is needed",
        ),
        (None, Holds::Certificate) => soon(what, good.into_iter().map(ends).min(), now, check),
        // While one of them lasts the others may be on their way out.
        (None, _) => soon(what, good.into_iter().map(ends).max(), now, check),
    }
}

/// Says until when something is good.
pub fn soon(what: &str, until: Option<i64>, now: i64, check: &mut Check) {
    let until = until.unwrap_or(i64::MAX);
    let days = until.saturating_sub(now) / DAY;
    let seen = format!("{what} is good until {} ({days} days)", time(until));
    if days < DAYS { check.warning(seen, RENEW) } else { check.ok(seen) }
}

#[cfg(test)]
mod tests {
    use super::super::report::Severity::{self, Failed, Ok, Warning};
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn judged(untils: &[i64], holds: Holds) -> Severity {
        let all: Vec<Dates> =
            untils.iter().map(|days| Dates { from: NOW - 100 * DAY, until: NOW + days * DAY }).collect();
        Check::of(|check| judge("x", &all, holds, NOW, check))[0].severity
    }

    #[test]
    fn a_chain_ends_with_its_first_and_trust_with_its_last() {
        for (untils, chain, authorities) in [
            (&[90][..], Ok, Ok),
            (&[20], Warning, Warning),
            (&[-1], Failed, Failed),
            (&[90, 20], Warning, Ok),
            (&[90, -1], Failed, Warning),
        ] {
            assert_eq!(judged(untils, Holds::Certificate), chain, "{untils:?}");
            assert_eq!(judged(untils, Holds::Authorities), authorities, "{untils:?}");
        }
        let early = [Dates { from: NOW + 1, until: i64::MAX }];
        assert_eq!(Check::of(|check| judge("x", &early, Holds::Certificate, NOW, check))[0].severity, Failed);
    }
}
