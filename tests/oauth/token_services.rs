//! `integrations/token-services`: a configuration for each token service of the README's table, all of them accepted.

use std::collections::BTreeSet;
use std::path::PathBuf;

use revocation_hub::config::Scope;

use crate::snippets;

#[test]
fn every_row_has_a_configuration_that_is_accepted() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("## My token service is X").nth(1).unwrap().split("\n## ").next().unwrap();
    let links = section.split("](integrations/token-services/").skip(1).filter_map(|part| part.split(')').next());
    let linked: BTreeSet<String> = links.map(str::to_owned).collect();
    let files = std::fs::read_dir(root.join("integrations/token-services")).unwrap();
    let files: BTreeSet<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(linked, files);
    assert!(files.len() >= 8);
    for name in files {
        let config = snippets::accepted(&root.join("integrations/token-services").join(&name));
        // Something comes in, and somebody may read it.
        let publishes = config.clients.iter().any(|client| client.scopes.contains(&Scope::Publish));
        assert!(publishes || !config.sources.is_empty(), "{name}");
        assert!(config.clients.iter().any(|client| client.scopes == [Scope::Read]), "{name}");
    }
}
