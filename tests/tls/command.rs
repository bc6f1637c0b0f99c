//! The commands that talk to a hub, over TLS with an authority of one's own.

use std::process::Command;

use revocation_hub::config::{ClientCertificates, Scope};

use crate::authority::*;
use crate::clients::{asking, named, start, subject};
use crate::harness::*;

on_sqlite!(commands_believe_the_authority_they_are_given_and_show_their_certificate, a_container_asks_itself);

async fn ask(arguments: Vec<String>) -> (i32, String) {
    let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_revocation-hub")).args(&arguments).output();
    let output = within("the command ends", command).await.unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

async fn commands_believe_the_authority_they_are_given_and_show_their_certificate(place: &Place) {
    let authority = Authority::new();
    let mut config =
        asking(place, &authority, vec![named("ops", &[Scope::Read, Scope::Publish, Scope::Lift], subject("CN=ops"))]);
    config.tls.client_certificates = ClientCertificates::Required;
    let shown = authority.client("ops", vec![]);
    let hub = start(config, &authority, Some(&shown)).await;
    let (certificate, key) = shown.write(place, "ops");
    let ca = file(place, "ca.pem", &authority.pem());
    let [certificate, key, ca] = [&certificate, &key, &ca].map(|path| path.to_str().unwrap().to_owned());
    let with = |text: &str, connection: &[&str]| {
        let words = text.split(' ').map(str::to_owned);
        words.chain(["--url".into(), hub.url().into()]).chain(connection.iter().map(|s| (*s).to_owned())).collect()
    };
    let all = ["--ca-file", &ca, "--cert-file", &certificate, "--key-file", &key];
    assert_eq!(ask(with("revoke --jti a --ttl 1h", &all)).await.0, 0);
    assert_eq!(ask(with("check --jti a", &all)).await.0, 1);
    let (code, said) = ask(with("list", &all)).await;
    assert!(code == 0 && said.contains("ops"), "{said}");
    let (code, said) = ask(with("watch --since earliest --until-jti a", &all)).await;
    assert!(code == 0 && said.contains("revoked"), "{said}");
    assert_eq!(ask(with("healthcheck", &all)).await, (0, "ready\n".into()));
    for (connection, expected, says) in [
        (&all[2..], 69, "--ca-file names whom to believe"),
        (&all[..2], 69, ""),
        (&["--ca-file", "/no/such/file"][..], 64, "cannot read /no/such/file"),
        (&["--ca-file", &key][..], 64, "holds no certificate"),
        (&["--ca-file", &ca, "--cert-file", &key, "--key-file", &key][..], 64, "are no certificate and its key"),
        (&["--cert-file", &certificate][..], 2, "--key-file"),
    ] {
        let (code, said) = ask(with("list", connection)).await;
        assert!(code == expected && said.contains(says), "{connection:?} {code}: {said}");
    }
    hub.stop().await;
}

async fn a_container_asks_itself(place: &Place) {
    // Its certificate names the host that gateways know.
    let authority = Authority::new();
    let pair = authority.sign(rcgen::CertificateParams::new(vec!["hub.example.com".to_owned()]).unwrap());
    let mut hub = Process::launch(place, &settings(place, &pair), &[]);
    hub.until_listening().await;
    let port = hub.address().rsplit(':').next().unwrap().to_owned();
    let check = |host: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_revocation-hub"));
        // It has a secret in its environment and does not send it to whoever answers.
        command.args(["healthcheck", "--url", &format!("https://{host}:{port}")]).args(more);
        command.env("REVOCATION_HUB_BEARER", "secret").output().unwrap().status.code().unwrap()
    };
    until("it is ready", async || (check("127.0.0.1", &[]) == 0).then_some(())).await;
    assert_eq!(check("localhost", &[]), 0);
    // Whoever names an authority wants to know.
    let ca = file(place, "ca.pem", &authority.pem());
    assert_eq!(check("127.0.0.1", &["--ca-file", ca.to_str().unwrap()]), 1);
}

fn settings(place: &Place, pair: &Pair) -> String {
    let (certificate, key) = pair.write(place, "server");
    format!("[tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n")
}
