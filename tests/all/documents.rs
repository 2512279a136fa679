//! The tests and files that the documents name exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns all files under `dir` whose path ends with one of `ends`.
fn files(dir: PathBuf, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(path, ends));
        } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    found
}

/// Returns the names of all functions in the test sources.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["tests", "deploy/aws/test"].map(|dir| files(root.join(dir), &[".rs", ".py"]));
    sources
        .concat()
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let heads = text.lines().filter_map(|line| {
                let line = line.trim_start();
                let line = line.strip_prefix("async ").unwrap_or(line);
                let name = line.strip_prefix("fn ").or_else(|| line.strip_prefix("def "))?;
                Some(name.split_once('(')?.0.to_owned())
            });
            heads.collect::<Vec<_>>()
        })
        .collect()
}

/// Returns the code spans in `table` that look like names of tests: at least two underscores, or the prefix `test_`.
fn tests_named_in(table: &str) -> BTreeSet<&str> {
    table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() > 1 || word.starts_with("test_"))
        .filter(|word| word.chars().all(|sign| sign.is_ascii_lowercase() || "_0123456789".contains(sign)))
        .collect()
}

#[test]
fn every_test_named_in_the_documents_exists() {
    let functions = functions();
    let operations = read("docs/operations.md");
    let (_, seed) = operations.split_once("## Each line of the seed").unwrap();
    let named = tests_named_in(seed);
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/operations.md names tests that do not exist: {missing:?}");
}

#[test]
fn every_test_file_named_in_the_documents_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["docs/operations.md", "docs/guarantees.md", "docs/decisions.md"] {
        let text = read(page);
        let named: BTreeSet<&str> =
            text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("tests/")).collect();
        assert!(!named.is_empty(), "{page}");
        let missing: Vec<&&str> = named.iter().filter(|path| !root.join(path).exists()).collect();
        assert!(missing.is_empty(), "{page} names test files that do not exist: {missing:?}");
    }
}
