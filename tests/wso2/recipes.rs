//! The configurations in `integrations/wso2` are accepted by the program that they are for.

use std::path::PathBuf;

use crate::snippets;

#[test]
fn every_hub_toml_is_accepted() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integrations/wso2");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("hub-") {
            continue;
        }
        // It does something, and is not accepted because it says nothing.
        let config = snippets::accepted(&path);
        assert!(!config.clients.is_empty() && !config.sources.is_empty(), "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 4, "{checked}");
    snippets::linked(&folder.join("README.md"));
}
