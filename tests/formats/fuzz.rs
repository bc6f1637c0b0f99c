//! A short run of every fuzz target without a fuzzer: the seeds, and changes of them that are the same each time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::bodies;

/// Where the changes begin; another value is another run.
const SEED: u64 = 20_261_122;
/// Changes of each seed.
const CHANGES: usize = 1000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names of what is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// One to four small changes, as fuzzers make them.
fn change(input: &[u8], others: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\n\t \"'{}[]:,.=-+/\\0199e@&%;<>";
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len().min(at + 16));
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = BYTES[random.random_range(0..BYTES.len())],
            2 => bytes.insert(at, BYTES[random.random_range(0..BYTES.len())]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let twice = bytes[at..end].to_vec();
                bytes.splice(at..at, twice);
            }
            _ => {
                let other = &others[random.random_range(0..others.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.random_range(0..=other.len())..]);
            }
        }
    }
    bytes
}

#[test]
fn no_seed_and_no_change_of_one_breaks_a_target() {
    for (target, run) in bodies::ALL {
        let folder = folder().join("seeds").join(target);
        let seeds: Vec<Vec<u8>> = names(&folder).iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect();
        let mut random = StdRng::seed_from_u64(SEED);
        let changed = seeds.iter().flat_map(|seed| std::iter::repeat_n(seed, CHANGES));
        let changed: Vec<_> = changed.map(|seed| change(seed, &seeds, &mut random)).collect();
        for input in seeds.iter().chain(&changed) {
            if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
                panic!("{target} with SEED = {SEED}: hex {}", hex::encode(input));
            }
        }
    }
}

#[test]
fn every_target_is_among_them_and_has_seeds() {
    let all: Vec<String> = bodies::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files: Vec<String> = all.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&folder().join("fuzz_targets")), files);
    assert_eq!(names(&folder().join("seeds")), all);
    assert!(all.iter().all(|name| !names(&folder().join("seeds").join(name)).is_empty()));
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for name in all {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is no binary");
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in the README");
    }
}
