//! What somebody reads who starts it for the first time and gets something wrong: what is wrong, where, and what to do. No
//! answer repeats a secret, and the exit code says whose turn it is (64: the configuration).

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::hub;

/// What must not be printed.
const SECRET: &str = "hunter2";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.path().join(name), text).unwrap();
        name.to_owned()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The command, started here, ends with this code and says all of these.
    #[track_caller]
    fn says(&self, args: &[&str], code: i32, words: &[&str]) {
        self.command_says(hub().args(args), code, words);
    }

    #[track_caller]
    fn command_says(&self, command: &mut Command, code: i32, words: &[&str]) {
        let answer = command.current_dir(self.path()).output().unwrap();
        let said = String::from_utf8(answer.stderr).unwrap() + &String::from_utf8(answer.stdout).unwrap();
        assert_eq!(answer.status.code(), Some(code), "{command:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{command:?} does not say {word:?}: {said}");
        }
        assert!(!said.contains(SECRET), "{command:?} tells a secret: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_misspelt_setting_is_named_with_the_one_that_was_meant() {
    let folder = Folder::new();
    for (text, words) in [
        ("lisen = '127.0.0.1:0'", ["hub.toml: lisen: there is no such setting", "did you mean listen?"]),
        ("[limits]\nmax_conections = 3", ["limits.max_conections", "did you mean max_connections?"]),
        ("[[clients]]\nnam = 'a'", ["clients[0].nam", "did you mean name?"]),
        ("[stoer]\ntimeout = '5s'", ["stoer", "did you mean store?"]),
        ("nonsense = 1", ["nonsense: there is no such setting", "; known here: listen,"]),
    ] {
        folder.write("hub.toml", text);
        folder.says(&["serve", "--config", "hub.toml"], 64, &words);
    }
    let mut command = hub();
    command.env("REVOCATION_HUB_LISEN", "127.0.0.1:0").arg("serve");
    folder.command_says(&mut command, 64, &["environment variable REVOCATION_HUB_LISEN", "did you mean listen?"]);
}

#[test]
fn a_wrong_value_is_named_with_what_is_accepted() {
    let folder = Folder::new();
    for (text, words) in [
        ("listen = 'localhost:8080'", ["listen", "127.0.0.1:8080"]),
        ("listen = '0.0.0.0:8080'", ["listen: 0.0.0.0:8080 can be reached", "add [[clients]]"]),
        ("clock_skew = 'soon'", ["clock_skew", "\"60s\""]),
        ("x = 1 = 2", ["line 1, column 7", "expected"]),
        (
            "[[clients]]\nname = 'a'\nscopes = ['reed']\nbearer = { token = 'hunter2' }",
            ["clients[0].scopes[0]", "`read`"],
        ),
        (
            "[[clients]]\nname = 'a'\nscopes = ['read']\nbearer = { token_file = 'gone' }",
            ["bearer.token_file", "gone: No such file"],
        ),
        ("database_url_file = 'gone'", ["database_url_file", "gone: No such file"]),
        ("database_url = 'mysql://u:hunter2@db/hub'", ["database_url: has to start with", "postgres://"]),
        ("[tls]\ncertificate_file = 'gone'\nkey_file = 'gone'", ["gone", "No such file"]),
    ] {
        folder.write("hub.toml", text);
        folder.says(&["serve", "--config", "hub.toml"], 64, &words);
        folder.says(&["config", "check", "hub.toml"], 64, &words);
    }
    folder.says(
        &["serve", "--config", "gone.toml"],
        64,
        &["cannot read the configuration file gone.toml", "No such file"],
    );
    for address in ["8080", "localhost:8080"] {
        folder.says(&["serve", "--listen", address], 2, &["not an IP address with a port", "127.0.0.1:8080"]);
    }
}

#[test]
fn an_address_that_cannot_be_had() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.says(
        &["serve", "--listen", &address],
        1,
        &[&address, "another program does", "ss -ltnp", "Address already in use"],
    );
    // 192.0.2.0/24 is nobody's (RFC 5737).
    folder.write("hub.toml", "[[clients]]\nname = 'a'\nscopes = ['read']\nbearer = { token = 'hunter2' }");
    let args = ["serve", "--config", "hub.toml", "--listen", "192.0.2.1:8080"];
    folder.says(&args, 1, &["192.0.2.1:8080", "no such address"]);
    // Said once, and not by each layer again.
    let answer = hub().args(["serve", "--listen", &address]).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stderr).matches("Address already in use").count(), 1);
}

#[test]
fn a_database_that_is_not_there() {
    let folder = Folder::new();
    let serve = |url: &'static str| ["serve", "--listen", "127.0.0.1:0", "--database-url", url];
    folder.says(&serve("sqlite://gone/hub.db"), 1, &["gone/hub.db", "mkdir -p gone"]);
    folder.says(&serve("sqlite://"), 1, &["name a file"]);
    folder.says(&serve("mysql://u:hunter2@db/hub"), 64, &["database_url: has to start with"]);
    folder.says(
        &["export", "--database-url", "sqlite://gone.db", "--output", "x"],
        1,
        &["cannot find the SQLite database gone.db"],
    );
    folder.says(
        &["migrate", "--database-url", "postgres://u:hunter2@127.0.0.1:1/hub"],
        69,
        &["not available", "Connection refused"],
    );
    folder.says(&["import", "--database-url", "sqlite://new.db", "gone.ndjson"], 1, &["cannot read gone.ndjson"]);
}

/// The server of `./scripts/test` lets everybody in whom it knows.
#[test]
fn a_database_that_does_not_let_us_in() {
    let url = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL; ./scripts/test sets it");
    let place = url.rsplit_once('@').unwrap().1.split('/').next().unwrap();
    let folder = Folder::new();
    let stranger = format!("postgres://stranger:hunter2@{place}/postgres");
    folder.says(&["migrate", "--database-url", &stranger], 1, &["stranger", "database_url_file", "pg_hba.conf"]);
    let nothing = format!("postgres://postgres:hunter2@{place}/nothing_here");
    folder.says(&["migrate", "--database-url", &nothing], 1, &["nothing_here", "createdb"]);
}

#[test]
fn a_hub_that_is_not_there() {
    let folder = Folder::new();
    for args in [&["list"][..], &["revoke", "--jti", "a", "--ttl", "1h"], &["check", "--jti", "a"]] {
        let args = [args, &["--url", "http://127.0.0.1:1"]].concat();
        folder.says(
            &args,
            69,
            &["cannot connect to http://127.0.0.1:1", "Connection refused", "`revocation-hub serve`"],
        );
    }
    folder.says(&["healthcheck", "--url", "http://127.0.0.1:1"], 1, &["not ready", "Connection refused"]);
    folder.says(&["list", "--url", "http://u:hunter2@127.0.0.1:1"], 64, &["--password-file"]);
    folder.says(&["list", "--bearer-file", "gone"], 64, &["gone: No such file"]);
    folder.says(&["revoke"], 2, &["--jti"]);
    folder.says(&["revok"], 2, &["revoke"]);
}
