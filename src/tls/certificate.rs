//! What is written in a certificate (X.509, RFC 5280).

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// From when to when certificates are good, NumericDate seconds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// Not before.
    pub from: i64,
    /// Not after.
    pub until: i64,
}

impl Default for Dates {
    fn default() -> Self {
        Self { from: i64::MIN, until: i64::MAX }
    }
}

impl Dates {
    /// Those of a certificate; `None` when it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        Some(Self::read(&Certificate::from_der(certificate).ok()?))
    }

    pub(super) fn read(certificate: &Certificate) -> Self {
        let validity = &certificate.tbs_certificate.validity;
        let seconds =
            |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        Self { from: seconds(validity.not_before), until: seconds(validity.not_after) }
    }

    /// When both are good.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }

    /// What is wrong at a moment: "expired at …", "is good only from … on".
    pub fn complaint(&self, now: i64) -> Option<String> {
        let text = |seconds: i64| {
            let since = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
        };
        if now > self.until {
            Some(format!("expired at {}", text(self.until)))
        } else if now < self.from {
            Some(format!("is good only from {} on", text(self.from)))
        } else {
            None
        }
    }
}
