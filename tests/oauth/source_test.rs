//! `revocation-hub source test` for what is signed: a sample of every kind arrives, and whoever has no key is told how to
//! make one, in words that work as they stand.

use std::path::Path;
use std::process::{Command, Output};

use revocation_hub::clock::Clock;
use revocation_hub::config::{Client, Config, Issuer};
use serde_json::json;

use crate::harness::*;
use crate::issuer::{client, source};

const ISSUER: &str = "https://source-test.invalid";
const TOKENS: [&str; 3] = ["ssf_push", "backchannel_logout", "apim_invalidate"];

/// Runs a command in a folder: its exit code, and what it said on either side.
fn run(command: &mut Command, folder: &Path) -> (i32, String, String) {
    let output: Output = tokio::task::block_in_place(|| command.current_dir(folder).output().unwrap());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn sh(folder: &Path, line: &str) {
    let (code, _, error) = run(Command::new("sh").args(["-ec", line]), folder);
    assert_eq!(code, 0, "{line}: {error}");
}

fn source_test(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_revocation-hub");
    run(Command::new(program).args(["source", "test"]).args(arguments), folder)
}

/// The sample arrived and was taken back.
#[track_caller]
fn arrived((code, out, error): &(i32, String, String)) {
    assert_eq!((*code, error.as_str()), (0, ""), "{out}");
    for word in ["sent     POST /", "answer   20", "arrived  ", "lifted   "] {
        assert!(out.contains(word), "{out}");
    }
}

/// Nothing of any sample is left.
async fn nothing_is_left(hub: &Api) {
    until("the lift is known", async || hub.snapshot().await.map.is_empty().then_some(())).await;
}

/// Who reads, with the password in a file of this folder.
fn reader(folder: &Path) -> (Client, [&'static str; 4]) {
    std::fs::write(folder.join("password"), "secret\n").unwrap();
    (client("reader", &["read", "lift"]), ["--user", "reader", "--password-file", "password"])
}

fn believing(place: &Place, key: &str, kinds: &[&str]) -> Config {
    let issuer: Issuer =
        serde_json::from_value(json!({"issuer": ISSUER, "pem_file": place.folder.path().join(key)})).unwrap();
    let one = |kind: &&str| source(json!({"name": kind, "kind": kind, "audiences": ["source-test"]}));
    Config { issuers: vec![issuer], sources: kinds.iter().map(one).collect(), ..place.config() }
}

async fn who_has_no_key_is_told_how_to_make_one_and_that_works(place: &Place) {
    let folder = place.folder.path();
    for kind in TOKENS {
        let (code, _, told) = source_test(folder, &[kind]);
        assert_eq!(code, 2, "{told}");
        let of = |start: &str| -> Vec<String> {
            let lines = told.lines().map(str::trim).filter(|line| line.starts_with(start));
            lines.map(str::to_owned).collect()
        };
        for line in of("openssl ") {
            sh(folder, &line);
        }
        // The settings that it shows, with the path made absolute, because this process is elsewhere.
        let settings = told.split("  [[issuers]]").nth(1).unwrap().split("If a source").next().unwrap();
        let public = folder.join("source-test-public.pem");
        let settings = format!("[[issuers]]{settings}").replace("source-test-public.pem", public.to_str().unwrap());
        std::fs::write(folder.join("told.toml"), settings).unwrap();
        let told = Config::load_from(Some(&folder.join("told.toml")), [], Default::default()).unwrap();
        let config = Config { issuers: told.issuers, sources: told.sources, ..place.config() };
        let hub = TestHub::start(config, Clock::system()).await;
        let lines = of("revocation-hub source test ");
        let arguments: Vec<&str> = lines[0].split(' ').skip(3).chain(["--url", hub.url()]).collect();
        let result = source_test(folder, &arguments);
        arrived(&result);
        // A token that works is not shown.
        assert!(result.1.contains("signed with ES256") && !result.1.contains("eyJ"), "{}", result.1);
        nothing_is_left(&hub).await;
        hub.stop().await;
        for name in ["source-test.pem", "source-test-public.pem"] {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
    }
}

async fn who_has_no_webhook_secret_is_told_how_to_make_one_and_that_works(place: &Place) {
    let folder = place.folder.path();
    let (code, _, told) = source_test(folder, &["webhook"]);
    assert_eq!(code, 2, "{told}");
    let settings = told.split("  [[clients]]").nth(1).unwrap().split("Then").next().unwrap();
    let secret = folder.join("source-test-secret");
    let settings = format!("[[clients]]{settings}").replace("source-test-secret", secret.to_str().unwrap());
    std::fs::write(folder.join("told.toml"), settings).unwrap();
    let (reader, signed_in) = reader(folder);
    for (at, way) in told.split("Or with a key pair").enumerate() {
        for line in way.lines().map(str::trim).filter(|line| line.contains("openssl ") && !line.contains("--")) {
            sh(folder, line);
        }
        let told = Config::load_from(Some(&folder.join("told.toml")), [], Default::default()).unwrap();
        let clients = told.clients.into_iter().chain([reader.clone()]).collect();
        let hub = TestHub::start(Config { clients, ..place.config() }, Clock::system()).await;
        let line = way.lines().map(str::trim).find(|line| line.starts_with("revocation-hub source test ")).unwrap();
        let arguments: Vec<&str> = line.split(' ').skip(3).chain(["--url", hub.url()]).chain(signed_in).collect();
        let result = source_test(folder, &arguments);
        arrived(&result);
        assert!(result.1.contains(["signed in v1 of", "signed in v1a of"][at]), "{}", result.1);
        hub.stop().await;
    }
}

async fn webhooks_are_signed_in_the_ways_of_github_and_stripe_too(place: &Place) {
    let folder = place.folder.path();
    let (reader, signed_in) = reader(folder);
    let secret = "a secret for everybody";
    std::fs::write(folder.join("secret"), secret).unwrap();
    std::fs::write(folder.join("other"), "another secret of some length").unwrap();
    for style in ["github", "stripe"] {
        let webhook = json!({"name": "sts", "scopes": ["publish"], "webhook": {"style": style, "secret": secret}});
        let clients = vec![serde_json::from_value(webhook).unwrap(), reader.clone()];
        let hub = TestHub::start(Config { clients, ..place.config() }, Clock::system()).await;
        let test = |file: &str| {
            let options = ["webhook", "--webhook-style", style, "--webhook-secret-file", file, "--url", hub.url()];
            source_test(folder, &[&options[..], &signed_in].concat())
        };
        arrived(&test("secret"));
        let (code, out, error) = test("other");
        assert!(code == 1 && !out.contains("answer") && error.contains("no signature fits"), "{code}: {out}{error}");
        assert!(!error.contains("--bearer-file"), "{error}");
        hub.stop().await;
    }
}

async fn keys_of_every_kind_and_spelling_sign(place: &Place) {
    let folder = place.folder.path();
    let pair = |options: &str, name: &str| {
        sh(folder, &format!("openssl genpkey {options} -out {name}.pem 2>/dev/null"));
        sh(folder, &format!("openssl pkey -in {name}.pem -pubout -out {name}-public.pem"));
    };
    pair("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "rsa");
    pair("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "p256");
    pair("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "p384");
    pair("-algorithm ed25519", "ed");
    // The same keys in their older forms.
    sh(folder, "openssl pkey -in rsa.pem -traditional -out rsa1.pem && openssl ec -in p256.pem -out p256-sec1.pem");
    for (key, public, algorithm) in [
        ("rsa", "rsa", "RS256"),
        ("rsa1", "rsa", "RS256"),
        ("p256", "p256", "ES256"),
        ("p256-sec1", "p256", "ES256"),
        ("p384", "p384", "ES384"),
        ("ed", "ed", "EdDSA"),
    ] {
        let config = believing(place, &format!("{public}-public.pem"), &["apim_invalidate"]);
        let hub = TestHub::start(config, Clock::system()).await;
        let file = format!("{key}.pem");
        let options = ["apim_invalidate", "--signing-key", &file, "--audience", "source-test", "--url", hub.url()];
        let result = source_test(folder, &options);
        arrived(&result);
        assert!(result.1.contains(&format!("signed with {algorithm}")), "{key}: {}", result.1);
        nothing_is_left(&hub).await;
        hub.stop().await;
    }
}

async fn private_jwks_sign_under_their_name(place: &Place) {
    let folder = place.folder.path();
    // RFC 7517 appendix A.2 and RFC 8037 appendix A.1: public knowledge, good for nothing else.
    let keys: [serde_json::Value; 3] = [
        json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}),
        json!({"kty": "RSA", "kid": "2011-04-29", "alg": "PS256",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB",
            "d": "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6NqXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q",
            "p": "83i-7IvMGXoMXCskv73TKr8637FiO7Z27zv8oj6pbWUQyLPQBQxtPVnwD20R-60eTDmD2ujnMt5PoqMrm8RfmNhVWDtjjMmCMjOpSXicFHj7XOuVIYQyqVWlWEh6dN36GVZYk93N8Bc9vY41xy8B9RzzOGVQzXvNEvn7O0nVbfs",
            "q": "3dfOR9cuYq-0S-mkFLzgItgMEfFzB2q3hWehMuG0oCuqnb3vobLyumqjVZQO1dIrdwgTnCdpYzBcOfW5r370AFXjiWft_NGEiovonizhKpo9VVS78TzFgxkIdrecRezsZ-1kYd_s1qDbxtkDEgfAITAG9LUnADun4vIcb6yelxk",
            "dp": "G4sPXkc6Ya9y8oJW9_ILj4xuppu0lzi_H7VTkS8xj5SdX3coE0oimYwxIi2emTAue0UOa5dpgFGyBJ4c8tQ2VF402XRugKDTP8akYhFo5tAA77Qe_NmtuYZc3C3m3I24G2GvR5sSDxUyAN2zq8Lfn9EUms6rY3Ob8YeiKkTiBj0",
            "dq": "s9lAH9fggBsoFR8Oac2R_E2gw282rT2kGOAhvIllETE1efrA6huUUvMfBcMpn8lqeW6vzznYY5SSQF7pMdC_agI3nG8Ibp1BUb0JUiraRNqUfLhcQb_d9GF4Dh7e74WbRsobRonujTYN1xCaP6TO61jvWrX-L18txXw494Q_cgk",
            "qi": "GyM_p6JrXySiz1toFgKbWV-JdI3jQ4ypu9rbMWx3rQJBfmt0FoYzgUIZEVFEcOqwemRN81zoDAaa-Bk0KWNGDjJHZDdDmFhW3AN7lI-puxk_mHZGJ11rxyR8O55XLSe3SPmRfKwZI6yU24ZxvQKFYItdldUKGzO6Ia6zTKhAVRU"}),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}),
    ];
    let mut public = keys.clone();
    for key in &mut public {
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            key.as_object_mut().unwrap().remove(member);
        }
    }
    std::fs::write(folder.join("jwks.json"), json!({"keys": public}).to_string()).unwrap();
    let mut config = believing(place, "", &["ssf_push"]);
    let issuer = json!({"issuer": ISSUER, "jwks_file": folder.join("jwks.json"), "unknown_key_interval": "1ms"});
    config.issuers = vec![serde_json::from_value(issuer).unwrap()];
    let hub = TestHub::start(config, Clock::system()).await;
    let test = |more: &[&str]| {
        let options = ["ssf_push", "--signing-key", "key.json", "--audience", "source-test", "--url", hub.url()];
        source_test(folder, &[&options[..], more].concat())
    };
    for (key, algorithm) in keys.iter().zip(["ES256", "PS256", "EdDSA"]) {
        std::fs::write(folder.join("key.json"), key.to_string()).unwrap();
        let result = test(&[]);
        arrived(&result);
        assert!(result.1.contains(&format!("signed with {algorithm}")), "{}", result.1);
        // Under another name it is another key.
        let (code, _, error) = test(&["--key-id", "other"]);
        assert!(code == 1 && error.contains("not in the key set") && error.contains("invalid_key"), "{code}: {error}");
    }
    nothing_is_left(&hub).await;
    hub.stop().await;
}

/// The answer is shown in the words of the hub, whatever form they have on that path.
async fn what_is_refused_says_why(place: &Place) {
    let folder = place.folder.path();
    sh(folder, "openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out public.pem");
    let hub = TestHub::start(believing(place, "public.pem", &TOKENS), Clock::system()).await;
    for (kind, audience, issuer, words) in [
        ("ssf_push", "else", ISSUER, "the token is for another audience (400 invalid_audience)"),
        (
            "ssf_push",
            "source-test",
            "https://evil.invalid",
            "the issuer of the token is not accepted here (400 invalid_issuer)",
        ),
        ("backchannel_logout", "else", ISSUER, "the token is for another audience (400 invalid_request)"),
        ("apim_invalidate", "else", ISSUER, "Unauthorized. Access token is missing or invalid. (401)"),
    ] {
        let options = ["--signing-key", "key.pem", "--audience", audience, "--issuer", issuer, "--url", hub.url()];
        let (code, out, error) = source_test(folder, &[&[kind][..], &options].concat());
        assert!(code == 1 && error.contains(words) && !out.contains("answer"), "{kind} {code}: {out}{error}");
        assert!(error.contains(&format!("source test {kind}` without one")), "{error}");
    }
    // Keys that cannot be read are a matter of the setting.
    let options = ["ssf_push", "--signing-key", "public.pem", "--url", hub.url()];
    let (code, _, error) = source_test(folder, &options);
    assert!(code == 64 && error.contains("is not a private key"), "{code}: {error}");
    assert!(hub.snapshot().await.map.is_empty());
    hub.stop().await;
}

on_sqlite!(
    who_has_no_key_is_told_how_to_make_one_and_that_works,
    who_has_no_webhook_secret_is_told_how_to_make_one_and_that_works,
    webhooks_are_signed_in_the_ways_of_github_and_stripe_too,
    keys_of_every_kind_and_spelling_sign,
    private_jwks_sign_under_their_name,
    what_is_refused_says_why,
);
