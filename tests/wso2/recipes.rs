//! The configurations in `integrations/wso2` are accepted by the program that they are for.

use std::path::{Path, PathBuf};
use std::process::Command;

use revocation_hub::config::{Config, Overrides};

#[test]
fn every_hub_toml_is_accepted() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integrations/wso2");
    let secrets = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") || !is_hubs(&path) {
            continue;
        }
        // A secret of its own for each file that is named.
        let text = std::fs::read_to_string(&path).unwrap();
        for (i, part) in text.split("/run/secrets/").skip(1).enumerate() {
            let name = part.split('"').next().unwrap();
            std::fs::write(secrets.path().join(name), format!("secret-{i}\n")).unwrap();
        }
        let text = text.replace("/run/secrets/", &format!("{}/", secrets.path().display()));
        let copy = secrets.path().join(path.file_name().unwrap());
        std::fs::write(&copy, text).unwrap();
        let program = env!("CARGO_BIN_EXE_revocation-hub");
        let output = Command::new(program).args(["config", "check"]).arg(&copy).env_clear().output().unwrap();
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        // It does something, and is not accepted because it says nothing.
        let config = Config::load_from(Some(&copy), [], Overrides::default()).unwrap();
        assert!(!config.clients.is_empty() && !config.sources.is_empty(), "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 4, "{checked}");
    // Whatever the table of recipes names is there, and the other way round.
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || readme.contains(&format!("({name})")), "README.md does not link {name}");
    }
    for link in readme.split("](").skip(1).filter_map(|part| part.split(')').next()).filter(|l| !l.contains("://")) {
        assert!(folder.join(link).exists(), "{link} is not there");
    }
}

fn is_hubs(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("hub-")
}
