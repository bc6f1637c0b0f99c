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
        .replace("\"/run/secrets/broker-password\"", &at("other"))
        .replace("\"/run/secrets/apim-outlet\"", &at("other"));
    let config = load(&text, &[]).unwrap();
    assert_eq!((config.clients.len(), config.sources.len(), config.outlets.len()), (2, 2, 2));
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
        assert!(matches!(error, ConfigError::OpenToTheNetwork { .. }), "{error}");
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
        (
            "[limits]\nmax_connections = 16000".into(),
            "limits.max_streams: 16000 is not less than limits.max_connections",
        ),
        ("[limits]\nclient_share = 101".into(), "limits.client_share: is a percentage"),
        ("[limits]\nclient_share = 0".into(), "limits.client_share: 0 is not accepted"),
        ("[shutdown]\ngrace = \"10s\"".into(), "shutdown.drain: 10s is not shorter than shutdown.grace (10s)"),
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
fn a_proxy_needs_an_address_and_keeps_its_password_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let file = format!("password_file = \"{}\"", path.display());
    let text = format!("[proxy]\nurl = \"https://apim:9443\"\nusername = \"hub\"\n{file}\ntimeout = \"7s\"");
    let config = load(&text, &[]).unwrap();
    assert_eq!((config.proxy.password.expose(), config.proxy.timeout), ("hunter2", Duration::from_secs(7)));
    assert!(!format!("{config:?}").contains("hunter2"));
    for (proxy, expected) in [
        ("username = \"u\"", "proxy.url: is missing"),
        ("url = \"u:hunter2@apim\"", "proxy.url: has to begin with https://"),
        ("url = \"ftp://apim\"", "proxy.url: has to begin with https://"),
        ("url = \"https://apim/internal/data/v1\"", "proxy.url: goes without path"),
        ("url = \"https://apim\"\npassword = \"hunter2\"", "proxy.username: is missing"),
        ("url = \"https://apim\"\ntimeout = 0", "proxy.timeout: 0 is not accepted"),
        ("url = \"https://apim\"\nconnect_timeout = 0", "proxy.connect_timeout: 0 is not accepted"),
        (&format!("url = \"https://apim\"\npassword = \"hunter2\"\n{file}"), "proxy.password_file: `password` is"),
    ] {
        let message = refusal(&format!("[proxy]\n{proxy}"), &[]);
        assert!(message.contains(expected) && !message.contains("hunter2"), "{message} does not say {expected}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_named() {
    let message = Config::load_from(Some(std::path::Path::new("/no/hub.toml")), [], Overrides::default());
    assert!(message.unwrap_err().to_string().starts_with("cannot read the configuration file /no/hub.toml: "));
    let message = refusal("listen = [", &[]);
    assert!(message.contains("hub.toml: TOML parse error at line 1, column"), "{message}");
}

fn source(rest: &str) -> String {
    format!("[[sources]]\nname = \"s\"\n{rest}\n")
}

fn outlet(rest: &str) -> String {
    format!("[[outlets]]\nname = \"o\"\n{rest}\n")
}

#[test]
fn links_that_make_no_sense_are_refused() {
    let amqp = "kind = \"amqp\"\nurl = \"amqp://h\"";
    let cases = [
        (source(&format!("{amqp}\ninterval = \"1m\"")), "sources \"s\": interval: does not go with kind \"amqp\""),
        (source("kind = \"etcd\"\nurl = \"http://h\""), "sources \"s\": url: does not go with kind \"etcd\""),
        (source("kind = \"etcd\"\npassword = \"x\""), "sources \"s\": password: does not go with"),
        (source(&format!("{amqp}\nqueu = \"q\"")), "queu: there is no such setting"),
        (source("kind = \"amqp\""), "sources \"s\": url: is missing"),
        (source("kind = \"amqp\"\nurl = []"), "sources \"s\": url: is missing"),
        (source("kind = \"kafka\""), "\"kafka\" is not accepted"),
        (source("kind = \"stomp\"\nurl = \"amqp://h\""), "url: has to begin with stomp:// or stomp+ssl://"),
        (source("kind = \"amqp\"\nurl = [\"amqp://h\", \"h\"]"), "url: has to begin with amqp://"),
        (source(&format!("{amqp}\nprefetch = 0")), "prefetch: 0 would mean without limit"),
        (source(&format!("{amqp}\nrouting_keys = []")), "routing_keys: is empty"),
        (source(&format!("{amqp}\nissuers = []")), "issuers: names no issuer"),
        (source(&format!("{amqp}\nissuers = [\"a\"]\ndefault_issuer = \"b\"")), "default_issuer: \"b\" is not among"),
        (source(&format!("{amqp}\nmax_token_lifetime = 0")), "max_token_lifetime: 0 is not accepted"),
        (source("kind = \"wso2_snapshot\"\nurl = \"https://h\"\ninterval = 0"), "interval: 0 is not accepted"),
        (source("kind = \"ssf_push\""), "sources \"s\": issuers: there are no [[issuers]]"),
        (source("kind = \"ssf_poll\""), "sources \"s\": url: is missing"),
        (source("kind = \"ssf_push\"\nclients = [\"x\"]"), "sources \"s\": clients: there is no client \"x\""),
        (
            source("kind = \"ssf_push\"\nevents = [\"account-disabled\"]"),
            "events: \"account-disabled\" is not an event",
        ),
        (
            source("kind = \"global_token_revocation\"\nsubject_claim = [\"iss_sub\"]"),
            "subject_claim: \"iss_sub\" is not a format that could stand for `sub`; use account, email",
        ),
        (source(amqp) + &source(amqp), "sources[1].name: \"s\" is given twice"),
        (client("s", "bearer = { token = \"t\" }") + &source(amqp), "sources[0].name: \"s\" is given twice"),
        (source(amqp).replace("\"s\"", "\"\""), "sources[0].name: must have 1 to 64 bytes"),
        (outlet(amqp) + &outlet(amqp), "outlets[1].name: \"o\" is given twice"),
        (outlet(&format!("{amqp}\ndestination = \"/topic/x\"")), "outlets \"o\": destination: does not go with"),
        (outlet(&format!("{amqp}\nqueue = \"q\"")), "queue: there is no such setting"),
        (outlet("kind = \"amqp1\""), "outlets \"o\": url: is missing"),
        (outlet(&format!("{amqp}\nformat = \"xml\"")), "\"xml\" is not accepted"),
        (outlet(&format!("{amqp}\nexcept_sources = [\"x\"]")), "except_sources: there is no source or client \"x\""),
    ];
    for (text, expected) in cases {
        let message = refusal(&text, &[]);
        assert!(message.contains(expected), "{message} does not say {expected}");
    }
    // An outlet may have the name of a source: they are told apart everywhere.
    let both = source(amqp) + &outlet(&format!("{amqp}\nexcept_sources = [\"s\"]")).replace("\"o\"", "\"s\"");
    load(&both, &[]).unwrap();
}

#[test]
fn links_keep_their_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let file = format!("password_file = \"{}\"", path.display());
    for make in [source, outlet] {
        let amqp = "kind = \"amqp\"\nurl = \"amqp://u:hunter2@h\"";
        let config = load(&make(&format!("kind = \"amqp\"\nurl = \"amqp://u@h\"\n{file}")), &[]).unwrap();
        let passwords = config.sources.iter().map(|s| &s.password).chain(config.outlets.iter().map(|o| &o.password));
        assert_eq!(passwords.map(|p| p.expose()).collect::<Vec<_>>(), ["hunter2"]);
        let message = refusal(&make(&format!("{amqp}\npassword = \"x\"\n{file}")), &[]);
        assert!(message.contains("password_file: `password` is given too"), "{message}");
        let message = refusal(&make(&format!("{amqp}\npassword_file = \"/no/such/file\"")), &[]);
        assert!(message.contains("password_file: cannot read /no/such/file: "), "{message}");
        for wrong in [
            "kind = \"amqp\"\nurl = \"hunter2\"".to_owned(),
            "kind = \"amqp\"\nurl = \"ftp://u:hunter2@h\"".to_owned(),
            "kind = \"amqp\"\nurl = { a = \"hunter2\" }".to_owned(),
            "kind = \"amqp\"\nurl = [[\"hunter2\"]]".to_owned(),
            format!("{amqp}\npassword = [\"hunter2\"]"),
            format!("{amqp}\npassword = \"hunter2\"\nnonsense = 1"),
        ] {
            let message = refusal(&make(&wrong), &[]);
            assert!(!message.contains("hunter2"), "{message}");
        }
        let shown = format!("{:?}", load(&make(&format!("{amqp}\npassword = \"hunter2\"")), &[]).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn links_can_come_from_the_environment() {
    let sources = r#"[{name="a", kind="amqp", url=["amqps://h", "amqps://i"], prefetch=7, password="00123"},
        {name="b", kind="wso2_snapshot", url="https://h", interval="90s", rules=false}]"#
        .replace('\n', " ");
    let outlets = r#"[{name="a", kind="stomp", url="stomp://h", start="now", format="native", except_sources=["b"]}]"#;
    let variables = [("REVOCATION_HUB_SOURCES", &*sources), ("REVOCATION_HUB_OUTLETS", outlets)];
    let config = load(&source("kind = \"etcd\""), &variables).unwrap();
    let [a, b] = &config.sources[..] else { panic!("the list is replaced as a whole: {:?}", config.sources) };
    assert_eq!((a.kind, a.url.len(), a.prefetch, a.rules), (SourceKind::Amqp, 2, Some(7), true));
    assert_eq!(a.password.expose(), "00123");
    assert_eq!((b.interval, b.rules), (Some(Duration::from_secs(90)), false));
    let outlet = &config.outlets[0];
    assert_eq!((outlet.kind, &outlet.except_sources[..]), (OutletKind::Stomp, &["b".to_owned()][..]));
    let message = refusal("", &[("REVOCATION_HUB_SOURCES", r#"[{name="a", kind="amqp", url="amqp://h", x=1}]"#)]);
    assert!(message.contains("REVOCATION_HUB_SOURCES") && message.contains("no such setting"), "{message}");
}
