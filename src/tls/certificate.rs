//! What is written in a certificate (X.509, RFC 5280).

use std::net::IpAddr;
use std::str::FromStr as _;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

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

/// Who a client is, as its certificate says. Whether it is good has been checked by the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject as RFC 4514 writes it, the most special part first.
    pub subject: String,
    /// The alternative names.
    pub names: Vec<AlternativeName>,
    /// When it is good.
    pub dates: Dates,
}

/// A name of a certificate besides its subject (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A host, in lower case.
    Dns(String),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
    /// A mailbox.
    Email(String),
    /// An address.
    Ip(IpAddr),
}

impl ClientCertificate {
    /// What a certificate says; `None` when it cannot be read.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let alternative: Option<(bool, SubjectAltName)> = certificate.tbs_certificate.get().ok()?;
        let names = alternative.into_iter().flat_map(|(_, names)| names.0).filter_map(AlternativeName::of);
        let subject = certificate.tbs_certificate.subject.to_string();
        Some(Self { subject, names: names.collect(), dates: Dates::read(&certificate) })
    }
}

impl AlternativeName {
    /// One of the kinds that tell clients apart.
    fn of(name: GeneralName) -> Option<Self> {
        Some(match name {
            GeneralName::DnsName(name) => Self::Dns(name.as_str().to_ascii_lowercase()),
            GeneralName::UniformResourceIdentifier(uri) => Self::Uri(uri.as_str().to_owned()),
            GeneralName::Rfc822Name(mailbox) => Self::Email(mailbox.as_str().to_owned()),
            GeneralName::IpAddress(bytes) => Self::Ip(match bytes.as_bytes() {
                &[a, b, c, d] => IpAddr::from([a, b, c, d]),
                bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
            }),
            _ => return None,
        })
    }
}

/// A subject in the one spelling that certificates are compared in (RFC 4514); `None` when it is none.
pub fn subject(text: &str) -> Option<String> {
    // Blanks behind a comma are what people write and what openssl prints unless it is asked not to.
    let (mut tight, mut escaped, mut begins) = (String::new(), false, false);
    for c in text.chars().filter(|c| !c.is_control()) {
        if begins && c == ' ' {
            continue;
        }
        begins = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        tight.push(c);
    }
    let name = Name::from_str(&tight).ok().filter(|name| !name.is_empty())?;
    Some(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_spelling() {
        for (text, one) in [
            ("CN=gateway", "CN=gateway"),
            ("cn=gateway,o=Example", "CN=gateway,O=Example"),
            ("CN=gateway, O=Example, C=DE", "CN=gateway,O=Example,C=DE"),
            (r"CN=a\, b, O=c\+d", r"CN=a\, b,O=c\+d"),
        ] {
            assert_eq!(subject(text).as_deref(), Some(one), "{text}");
        }
        for none in ["", "gateway", "NONSENSE=x", ","] {
            assert_eq!(subject(none), None, "{none}");
        }
    }

    #[test]
    fn dates_are_those_of_the_shortest() {
        let (a, b) = (Dates { from: 1, until: 9 }, Dates { from: 3, until: 12 });
        let both = a.both(b);
        assert_eq!(both, Dates { from: 3, until: 9 });
        assert_eq!(both.complaint(5), None);
        assert_eq!(both.complaint(9), None);
        assert_eq!(both.complaint(10).unwrap(), "expired at 1970-01-01T00:00:09Z");
        assert_eq!(both.complaint(2).unwrap(), "is good only from 1970-01-01T00:00:03Z on");
    }
}
