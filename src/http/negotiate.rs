//! Content negotiation (RFC 9110 §12.5): which coding and which media type a client takes.

use axum::http::{HeaderMap, HeaderName, header};

use crate::ledger::Coding;

/// The best coding the client accepts: zstd is smaller and cheaper than gzip for random ids.
pub fn coding(headers: &HeaderMap) -> Coding {
    let accepted = weights(headers, &header::ACCEPT_ENCODING);
    let weight = |name: &str| {
        let named = accepted.iter().find(|(n, _)| n == name);
        named.or_else(|| accepted.iter().find(|(n, _)| n == "*")).map_or(0, |(_, q)| *q)
    };
    let best = [(Coding::Zstd, weight("zstd")), (Coding::Gzip, weight("gzip").max(weight_of_alias(&accepted)))]
        .into_iter()
        .filter(|(_, q)| *q > 0)
        // The first of equals: `max_by_key` would take the last.
        .reduce(|a, b| if b.1 > a.1 { b } else { a });
    match best {
        // A client that prefers the plain text to the best we have gets it.
        Some((_, q)) if accepted.iter().any(|(n, identity)| n == "identity" && *identity > q) => Coding::Identity,
        Some((coding, _)) => coding,
        None => Coding::Identity,
    }
}

/// `x-gzip` is the same as `gzip` (RFC 9110 §8.4.1.3).
fn weight_of_alias(accepted: &[(String, u16)]) -> u16 {
    accepted.iter().find(|(n, _)| n == "x-gzip").map_or(0, |(_, q)| *q)
}

/// Whether the client would rather have one revocation a line than one document.
pub fn wants_ndjson(headers: &HeaderMap) -> bool {
    let accepted = weights(headers, &header::ACCEPT);
    let weight = |names: &[&str]| {
        accepted.iter().filter(|(n, _)| names.contains(&n.as_str())).map(|(_, q)| *q).max().unwrap_or(0)
    };
    let lines = weight(&["application/x-ndjson", "application/ndjson", "application/jsonl"]);
    lines > 0 && lines >= weight(&["application/json"])
}

/// The members of a comma-separated header in lower case, with their weights in thousandths.
fn weights(headers: &HeaderMap, name: &HeaderName) -> Vec<(String, u16)> {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .filter_map(|member| {
            let mut parts = member.split(';').map(str::trim);
            let name = parts.next().filter(|n| !n.is_empty())?.to_ascii_lowercase();
            let q = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
            let q = q.map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0)).clamp(0.0, 1.0);
            Some((name, (q * 1000.0) as u16))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &'static str) -> Coding {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
        coding(&headers)
    }

    #[test]
    fn the_best_coding_the_client_accepts() {
        assert_eq!(coding(&HeaderMap::new()), Coding::Identity);
        assert_eq!(accept("gzip"), Coding::Gzip);
        assert_eq!(accept("x-gzip"), Coding::Gzip);
        assert_eq!(accept("gzip, deflate, br, zstd"), Coding::Zstd);
        assert_eq!(accept("zstd;q=0.5, gzip"), Coding::Gzip);
        assert_eq!(accept("*"), Coding::Zstd);
        assert_eq!(accept("zstd;q=0, *"), Coding::Gzip);
        assert_eq!(accept("gzip;q=0"), Coding::Identity);
        assert_eq!(accept("identity, gzip;q=0.5"), Coding::Identity);
        assert_eq!(accept("br, ;q=x"), Coding::Identity);
    }
}
