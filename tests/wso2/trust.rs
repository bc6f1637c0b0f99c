//! Whom the hub believes: certificates of a CA of the test's own, served by a real nginx.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::harness::*;
use crate::setup::*;

/// A CA, as PEM for those who trust it, and certificate and key of a server for `host`, signed by it.
pub fn authority(host: &str) -> (String, Vec<u8>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    (ca.pem(), format!("{}{}", server.pem(), key.serialize_pem()).into_bytes())
}

async fn only_the_configured_authority_and_the_right_name_are_trusted(place: &Place) {
    let list = json!([{"jwt_signature": J, "expiry_time": FAR * 1000}]).to_string();
    let (ca, server) = authority("127.0.0.1");
    let (other, _) = authority("127.0.0.1");
    let (elsewhere, wrong_name) = authority("apim.example");
    let page = ("www/internal/data/v1/revokedjwt", list.as_bytes());
    let good = Nginx::start(&[page, ("tls.pem", &server)]).await;
    let misnamed = Nginx::start(&[page, ("tls.pem", &wrong_name)]).await;
    for (nginx, trusted, believed) in [
        (&good, Some(&other), false),
        (&misnamed, Some(&elsewhere), false),
        (&good, None, false),
        (&good, Some(&ca), true),
    ] {
        let file = place.folder.path().join("ca.pem");
        std::fs::write(&file, trusted.unwrap_or(&String::new())).unwrap();
        let url = format!("https://127.0.0.1:{}/internal/data/v1", nginx.port);
        let mut source = json!({"name": "apim", "kind": "wso2_snapshot", "url": url});
        if trusted.is_some() {
            source["ca_file"] = json!(file);
        }
        let hub = hub_with(place, vec![source]).await;
        if believed {
            until_names(&hub, &[&format!("token {J}")]).await;
        } else {
            let failed = async || hub.metric("link_failures_total", "apim").await >= 2.0;
            until("it is refused, and tried again", async || failed().await.then_some(())).await;
            assert_eq!(names(&hub).await, [""; 0]);
            assert_eq!(hub.metric("link_up", "apim").await, 0.0);
        }
        hub.stop().await;
    }
}

on_sqlite!(only_the_configured_authority_and_the_right_name_are_trusted);
