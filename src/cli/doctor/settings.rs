//! The configuration, and who may read the files of secrets.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Scene;
use super::report::{Check, aside};
use crate::config::{Config, Holds};

/// Says what it is, and looks at the files.
pub async fn check(scene: &Scene, check: &mut Check) {
    let config = &scene.config;
    let addresses: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    check.ok(format!("accepted: listens on {}, keeps revocations in {}", addresses.join(", "), config.database_url));
    let clients = config.clients.len();
    if clients == 0 && config.issuers.iter().all(|issuer| issuer.credentials.is_none()) {
        check.warning(
            "there are no [[clients]]: everybody on this machine may do everything",
            "right for a trial; else name clients, each with the scopes that it needs",
        );
    } else {
        let (sources, outlets) = (config.sources.len(), config.outlets.len());
        check.ok(format!("{clients} clients, {sources} sources, {outlets} outlets"));
    }
    let files = config.files().into_iter().filter(|f| f.holds == Holds::Secret);
    let mut files: Vec<(String, PathBuf)> = files.map(|f| (f.key, f.path)).collect();
    if let Some(file) = scene.file.as_deref().filter(|file| has_secrets(config, file)) {
        files.push(("the configuration has secrets in it".into(), file.to_owned()));
    }
    let judged = aside(move || files.iter().filter_map(|(key, path)| exposed(key, path)).collect::<Vec<_>>());
    for (seen, todo) in judged.await.unwrap_or_default() {
        check.warning(seen, todo);
    }
}

/// Whether secrets stand in the file itself. Those of the environment do not.
fn has_secrets(config: &Config, file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let apart: Vec<String> = config
        .files()
        .into_iter()
        .filter(|f| f.holds == Holds::Secret)
        .filter_map(|f| Some(crate::config::Secret::read(&f.path).ok()?.expose().to_owned()))
        .collect();
    config.secrets().iter().any(|secret| !apart.contains(secret) && text.contains(secret.as_str()))
}

fn exposed(key: &str, path: &Path) -> Option<(String, String)> {
    let metadata = std::fs::metadata(path).ok()?;
    // SAFETY: geteuid(2) takes nothing and always succeeds.
    let who = judge(&metadata, unsafe { libc::geteuid() })?;
    let (path, mode) = (path.display(), metadata.mode() & 0o777);
    Some((
        format!("{key}: {who} {path} (mode {mode:04o})"),
        format!("`chmod 600 {path}`, or 640 with an owner other than the hub and the hub in its group"),
    ))
}

/// Who may do more with it than they should. A group may read what belongs to somebody else, because that is how the hub
/// itself comes by it (`root:hub` with 0640, a Secret of Kubernetes with `fsGroup`).
fn judge(metadata: &Metadata, us: u32) -> Option<&'static str> {
    let mode = metadata.mode();
    match () {
        () if mode & 0o022 != 0 => Some("others may write to"),
        () if mode & 0o004 != 0 => Some("everybody on this machine may read"),
        () if mode & 0o040 != 0 && us != 0 && metadata.uid() == us => Some("everybody in its group may read"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::DatabaseUrl;

    #[test]
    fn who_may_read_a_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let us = file.as_file().metadata().unwrap().uid();
        let (us, other) = if us == 0 { (None, 1) } else { (Some(us), us + 1) };
        for (mode, bad) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true), (0o620, true), (0o604, true)]
        {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let metadata = file.as_file().metadata().unwrap();
            if let Some(us) = us {
                assert_eq!(judge(&metadata, us).is_some(), bad, "{mode:o}");
            }
            let group = mode & 0o040 != 0 && mode & 0o007 == 0;
            assert_eq!(judge(&metadata, other).is_some(), bad && !group, "{mode:o}, of somebody else");
        }
    }

    #[test]
    fn whether_secrets_stand_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = |url: &str| Config { database_url: DatabaseUrl::new(url), ..Config::default() };
        std::fs::write(file.path(), "database_url = \"postgres://hub:hunter2@db/hub\"").unwrap();
        assert!(has_secrets(&config("postgres://hub:hunter2@db/hub"), file.path()));
        assert!(!has_secrets(&config("postgres://hub:other-one@db/hub"), file.path()), "from the environment");
        assert!(!has_secrets(&config("postgres://hub@db/hub"), file.path()));
    }
}
