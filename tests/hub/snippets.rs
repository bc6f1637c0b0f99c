//! Configurations that are shown to people are accepted by the program that they are for.

use std::path::Path;
use std::process::Command;

use revocation_hub::config::{Config, Overrides};

/// The configuration in a file under `integrations`, with a secret of its own for each file in `/run/secrets` that it names.
pub fn accepted(path: &Path) -> Config {
    let secrets = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    for (i, part) in text.split("/run/secrets/").skip(1).enumerate() {
        let name = part.split('"').next().unwrap();
        let secret = match name {
            "database-url" => "postgres://hub:secret@localhost/hub".to_owned(),
            // Good for a webhook too: 24 bytes in base64.
            _ => format!("whsec_{i:0>32}"),
        };
        std::fs::write(secrets.path().join(name), secret + "\n").unwrap();
    }
    let text = text.replace("/run/secrets/", &format!("{}/", secrets.path().display()));
    let copy = secrets.path().join(path.file_name().unwrap());
    std::fs::write(&copy, text).unwrap();
    let program = env!("CARGO_BIN_EXE_revocation-hub");
    let output = Command::new(program).args(["config", "check"]).arg(&copy).env_clear().output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    Config::load_from(Some(&copy), [], Overrides::default()).unwrap()
}

/// Whatever a README links is there, and whatever is beside it is linked.
pub fn linked(readme: &Path) {
    let folder = readme.parent().unwrap();
    let text = std::fs::read_to_string(readme).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || text.contains(&format!("({name})")),
            "{} does not link {name}",
            readme.display()
        );
    }
    for link in text.split("](").skip(1).filter_map(|part| part.split(')').next()).filter(|l| !l.contains("://")) {
        assert!(folder.join(link).exists(), "{link} is not there");
    }
}
