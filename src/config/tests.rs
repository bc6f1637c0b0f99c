//! What the configuration as a whole promises.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// Loads a file with this text under these variables.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load_with(text, variables, Overrides::default())
}

fn load_with(text: &str, variables: &[(&str, &str)], overrides: Overrides) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.toml");
    std::fs::write(&file, text).unwrap();
    let variables: Vec<_> = variables.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect();
    Config::load_from(Some(&file), variables, overrides)
}

fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
    let message = load(text, variables).unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

fn client(name: &str, rest: &str) -> String {
    format!("[[clients]]\nname = \"{name}\"\nscopes = [\"read\"]\n{rest}\n")
}

#[test]
fn the_default_file_says_what_the_defaults_are() {
    assert_eq!(load(DEFAULT_TOML, &[]).unwrap(), Config::default());
    assert_eq!(load("", &[]).unwrap(), Config::default());
    assert_eq!(Config::load_from(None, [], Overrides::default()).unwrap(), Config::default());
    Config::default().validate().unwrap();
}

#[test]
fn the_default_file_writes_out_every_setting() {
    // A struct's Debug form names every field; each must be in the manual.
    let text = format!("{:?}", Config::default());
    let fields = text.match_indices(": ").filter_map(|(at, _)| text[..at].rsplit([' ', '{', '(']).next());
    for field in fields.filter(|f| f.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !f.is_empty()) {
        assert!(DEFAULT_TOML.contains(field), "default.toml does not mention {field}");
    }
}

#[test]
fn the_examples_of_the_default_file_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "x1\n").unwrap();
    std::fs::write(dir.path().join("other"), "x2\n").unwrap();
    let at = |name| format!("\"{}/{name}\"", dir.path().display());
    // An example begins with the head of its table and goes on to the end of the comment.
    let mut inside = false;
    let examples = DEFAULT_TOML.lines().filter_map(|line| {
        inside = line.starts_with("# [[") || (inside && line.starts_with('#'));
        inside.then(|| line.trim_start_matches('#').to_owned() + "\n")
    });
    let text = examples
        .collect::<String>()
        .replace("\"/run/secrets/keycloak-token\"", &at("secret"))
        .replace("\"/run/secrets/gateway-password\"", &at("secret"))
        .replace("\"/run/secrets/broker-password\"", &at("other"));
    let config = load(&text, &[]).unwrap();
    assert_eq!((config.clients.len(), config.sources.len(), config.outlets.len()), (2, 1, 1));
    assert_eq!(config.clients[0].max_token_lifetime, Some(Duration::from_secs(43200)));
}

#[test]
fn an_unknown_setting_is_named_with_its_place() {
    let message = refusal("[limits]\nmax_itmes = 3", &[]);
    assert!(message.contains("hub.toml: limits.max_itmes: there is no such setting"), "{message}");
    assert!(message.contains("max_items"), "{message}");
    let message = refusal("", &[("REVOCATION_HUB_STORE__MAX_CONECTIONS", "3")]);
    assert!(
        message.starts_with("environment variable REVOCATION_HUB_STORE__MAX_CONECTIONS: there is no such setting"),
        "{message}"
    );
    let message = refusal("", &[("REVOCATION_HUB_DATABASEURL", "x")]);
    assert!(message.contains("REVOCATION_HUB_DATABASEURL"), "{message}");
    let message = refusal(&client("a", "basic = { username = \"a\", pasword = \"b\" }"), &[]);
    assert!(message.contains("clients[0].basic.pasword"), "{message}");
    let message = refusal("[[wso2]]\nbase_path = \"/a\"\nshape = \"aray\"", &[]);
    assert!(message.contains("wso2[0].shape: \"aray\" is not accepted; use one of `array`"), "{message}");
}

#[test]
fn the_environment_is_stronger_than_the_file_and_flags_are_stronger_still() {
    let file = "clock_skew = \"1s\"\nbookmark_interval = 7\nlisten = \"127.0.0.1:1\"\n[store]\ntimeout = \"9s\"\n";
    let env = [
        ("REVOCATION_HUB_CLOCK_SKEW", "90"),
        ("REVOCATION_HUB_STORE__MAX_CONNECTIONS", "16"),
        ("REVOCATION_HUB_STORE__LISTEN_NOTIFY", "false"),
        ("REVOCATION_HUB_LISTEN", "127.0.0.1:2, [::1]:3"),
        ("REVOCATION_HUB_LOG__FORMAT", "text"),
        ("REVOCATION_HUB_DATABASE_URL", "sqlite://12345.db"),
        ("HOME", "/nowhere"),
    ];
    let config = load(file, &env).unwrap();
    assert_eq!(config.clock_skew, Duration::from_secs(90));
    assert_eq!(config.bookmark_interval, Duration::from_secs(7));
    assert_eq!(config.store.max_connections, 16);
    assert!(!config.store.listen_notify);
    assert_eq!(config.store.timeout, Duration::from_secs(9));
    assert_eq!(config.listen, ["127.0.0.1:2", "[::1]:3"].map(|a| a.parse::<SocketAddr>().unwrap()));
    assert_eq!(config.log.format, LogFormat::Text);
    let flags = Overrides {
        listen: vec!["127.0.0.1:9".parse().unwrap()],
        database_url: Some(DatabaseUrl::new("sqlite://flag.db")),
        log_format: Some(LogFormat::Json),
    };
    let config = load_with(file, &env, flags).unwrap();
    assert_eq!(config.listen, ["127.0.0.1:9".parse().unwrap()]);
    assert_eq!(config.database_url.expose(), "sqlite://flag.db");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn lists_and_tables_come_from_the_environment_too() {
    let env = [
        ("REVOCATION_HUB_CLIENTS", r#"[{name="gw", scopes=["read","lift"], bearer={token="00123"}}]"#),
        ("REVOCATION_HUB_WSO2", r#"[{base_path="/x", shape="legacy"}]"#),
        ("REVOCATION_HUB_LISTEN", r#"["[::1]:5", "0.0.0.0:6"]"#),
    ];
    let config = load("", &env).unwrap();
    assert_eq!(config.clients[0].scopes, [Scope::Read, Scope::Lift]);
    assert_eq!(config.clients[0].bearer.as_ref().unwrap().token.expose(), "00123");
    assert_eq!(config.wso2, [Wso2 { base_path: "/x".into(), shape: Wso2Shape::Legacy }]);
    assert_eq!(config.listen.len(), 2);
    let config = load("", &[("REVOCATION_HUB_LISTEN", "[::1]:5")]).unwrap();
    assert_eq!(config.listen, ["[::1]:5".parse().unwrap()]);
}

#[test]
fn a_value_of_the_wrong_kind_is_shown_with_what_is_accepted() {
    let message = refusal("migrate_on_start = \"yes\"", &[]);
    assert!(message.contains("migrate_on_start: found string \"yes\", expected a boolean"), "{message}");
    let message = refusal("clock_skew = \"soon\"", &[]);
    assert!(message.contains("clock_skew: \"soon\" is not a duration"), "{message}");
    let message = refusal("", &[("REVOCATION_HUB_LISTEN", "localhost:8080")]);
    assert!(message.contains("REVOCATION_HUB_LISTEN: \"localhost:8080\" is not an IP address"), "{message}");
    let message = refusal("[limits]\nmax_items = -1", &[]);
    assert!(message.contains("limits.max_items") && message.contains("-1"), "{message}");
    let message = refusal("[log]\nlevel = \"loud\"", &[]);
    assert!(message.contains("log.level: \"loud\" is not a level"), "{message}");
}

#[test]
fn no_error_and_no_debug_output_repeats_a_secret() {
    let broken = [
        ("password = hunter2", ""),
        ("database_url = 'postgres://u:hunter2@h/d", ""),
        ("database_url = ['hunter2']", ""),
        ("[[clients]]\nname = \"a\"\nscopes = []\nbearer = \"hunter2\"", ""),
        ("[[clients]]\nname = \"a\"\nscopes = []\nbearer = { token = ['hunter2'] }", ""),
        ("", "[{name=a, bearer={token=\"hunter2\"}"),
        ("", "hunter2"),
        ("[[clients]]\nname = \"a\"\nscopes = [\"read\"]\nbearer = { token = \"hunter2 \" }", ""),
    ];
    for (text, clients) in broken {
        let env: &[(&str, &str)] = if clients.is_empty() { &[] } else { &[("REVOCATION_HUB_CLIENTS", clients)] };
        let message = refusal(text, env);
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = refusal(&client("a", "bearer = { token = 7131 }"), &[]);
    assert!(message.contains("clients[0].bearer.token") && !message.contains("7131"), "{message}");
    let text =
        format!("database_url = \"postgres://u:hunter2@h/d\"\n{}", client("a", "bearer = { token = \"hunter2\" }"));
    let shown = format!("{:?}", load(&text, &[]).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_secret_comes_from_a_file_or_from_the_setting_but_not_from_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "s3cret\n").unwrap();
    let file = path.display();
    let basic =
        load(&client("a", &format!("basic = {{ username = \"u\", password_file = \"{file}\" }}")), &[]).unwrap();
    assert_eq!(basic.clients[0].basic.as_ref().unwrap().password.expose(), "s3cret");
    let bearer = load(&client("a", &format!("bearer = {{ token_file = \"{file}\" }}")), &[]).unwrap();
    assert_eq!(bearer.clients[0].bearer.as_ref().unwrap().token.expose(), "s3cret");

    let both = format!("basic = {{ username = \"u\", password = \"x\", password_file = \"{file}\" }}");
    let message = refusal(&client("a", &both), &[]);
    assert!(message.starts_with("clients \"a\": basic.password_file: `password` is given too"), "{message}");
    let message = refusal("database_url = \"sqlite://a\"\ndatabase_url_file = \"/x\"", &[]);
    assert!(message.contains("database_url_file: `database_url` is given too"), "{message}");
    let message = refusal(&client("a", "bearer = { token_file = \"/no/such/file\" }"), &[]);
    assert!(message.starts_with("clients \"a\": bearer.token_file: cannot read /no/such/file: "), "{message}");

    std::fs::write(&path, "postgres://u:p@h/d\n").unwrap();
    // A stronger place may use the other twin.
    let config =
        load("database_url = \"sqlite://a\"", &[("REVOCATION_HUB_DATABASE_URL_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(config.database_url.expose(), "postgres://u:p@h/d");
    assert_eq!(config.database_url_file, Some(PathBuf::from(&path)));
    let text = format!("database_url_file = \"{file}\"");
    let flags = Overrides { database_url: Some(DatabaseUrl::new("sqlite://flag.db")), ..Overrides::default() };
    assert_eq!(load_with(&text, &[], flags).unwrap().database_url.expose(), "sqlite://flag.db");
}

#[test]
fn without_clients_only_loopback_is_accepted() {
    for open in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "127.0.0.1:80,192.0.2.1:80", "[::ffff:10.0.0.1]:80"] {
        let error = load("", &[("REVOCATION_HUB_LISTEN", open)]).unwrap_err();
        assert!(matches!(error, ConfigError::OpenToTheNetwork(_)), "{error}");
        let message = error.to_string();
        assert!(message.contains("[[clients]]") && message.contains(":80"), "{message}");
    }
    for closed in ["127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        load("", &[("REVOCATION_HUB_LISTEN", closed)]).unwrap();
    }
    load(&client("a", "bearer = { token = \"t\" }"), &[("REVOCATION_HUB_LISTEN", "0.0.0.0:80")]).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let token = "bearer = { token = \"t\" }";
    let login = "basic = { username = \"u\", password = \"p\" }";
    let cases = [
        (client("a", token) + &client("a", login), "\"a\" is given twice"),
        (client("a", token) + &client("b", token), "client \"a\" has the same token"),
        (client("a", login) + &client("b", login), "also the user name of client \"a\""),
        (client("a", ""), "add basic"),
        (client("", token), "clients[0].name"),
        (client("a", token).replace("\"read\"", ""), "scopes: is empty"),
        (client("a", token).replace("read", "reed"), "\"reed\" is not accepted; use one of `publish`, `read`"),
        (client("a", "basic = { username = \"u\" }"), "there is no password"),
        (client("a", "basic = { username = \"u:v\", password = \"p\" }"), "colons"),
        (client("a", &format!("{token}\nissuers = []")), "names no issuer"),
        (client("a", &format!("{token}\nmax_token_lifetime = 0")), "max_token_lifetime: 0 is not accepted"),
        ("scopes = 1".into(), "scopes: there is no such setting"),
        ("listen = []".into(), "listen: is empty"),
        ("listen = ['127.0.0.1:1', '127.0.0.1:1']".into(), "given twice"),
        ("bookmark_interval = 0".into(), "bookmark_interval: 0 is not accepted"),
        ("[store]\nmax_connections = 0".into(), "store.max_connections: 0 is not accepted"),
        ("[feed]\nmax_lag = \"1s\"".into(), "feed.max_lag: 1s is not longer"),
        ("database_url = \"\"".into(), "database_url: is empty"),
        ("[[wso2]]\nbase_path = \"internal\"\nshape = \"array\"".into(), "begins with /"),
        ("[[wso2]]\nbase_path = \"/a/{b}\"\nshape = \"array\"".into(), "begins with /"),
        ("[[wso2]]\nbase_path = \"/a\"".into(), "`shape` is missing"),
    ];
    for (text, expected) in cases {
        let message = refusal(&text, &[]);
        assert!(message.contains(expected), "{message} does not say {expected}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_named() {
    let message = Config::load_from(Some(std::path::Path::new("/no/hub.toml")), [], Overrides::default());
    assert!(message.unwrap_err().to_string().starts_with("cannot read the configuration file /no/hub.toml: "));
    let message = refusal("listen = [", &[]);
    assert!(message.contains("hub.toml: TOML parse error at line 1, column"), "{message}");
}
