//! The style of the whole tree, as a test: what a reviewer should not have to look for.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// The only files that may contain unsafe code; each says why at its top.
const UNSAFE: [&str; 6] = [
    "runtime/lane/src/slots.rs",
    "runtime/lane/src/prefetch.rs",
    "runtime/contract/src/payload/inline.rs",
    "runtime/contract/src/handler.rs",
    "transport/src/socket.rs",
    "runtime/src/driver/io_uring.rs",
];

/// Names that say nothing about what is in a module.
const BANNED: [&str; 8] = [
    "utils", "helpers", "common", "misc", "types", "impls", "manager", "prelude",
];

/// Who may depend on whom, by hand: downwards only.
const EDGES: [(&str, &[&str]); 11] = [
    ("transport/wire", &[]),
    ("runtime/lane", &[]),
    ("runtime/macros", &[]),
    ("transport", &["teff-wire"]),
    ("runtime/core", &["teff-wire"]),
    ("runtime/contract", &["teff-macros", "teff-wire"]),
    (
        "runtime",
        &[
            "teff-contract",
            "teff-core",
            "teff-lane",
            "teff-transport",
            "teff-wire",
        ],
    ),
    ("runtime/cli", &["teff-core", "teff-transport", "teff-wire"]),
    (
        "bench",
        &["teff-contract", "teff-core", "teff-lane", "teff-wire"],
    ),
    ("examples", &["teff"]),
    ("perf", &["teff", "teff-lane"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    assert!(files.len() > 50, "the tree was not found");
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = [".git", "target", "corpus", "artifacts", "ui"];
        if path.is_dir() && !skipped.iter().any(|skipped| name == *skipped) {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Without the tests at the end of a file.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text)
}

#[test]
fn every_file_says_what_it_owns() {
    let broken: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| name)
        .collect();
    report(
        "a file opens with `//!`, so that a reader knows why it exists",
        &broken,
    );
}

#[test]
fn files_are_short() {
    let broken: Vec<_> = sources()
        .into_iter()
        .filter(|(name, _)| !name.contains("/tests"))
        .map(|(name, text)| (name, code(&text).lines().count()))
        .filter(|(_, lines)| *lines > 500)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    report(
        "a file has at most 500 lines without tests: split it by what it owns",
        &broken,
    );
}

#[test]
fn functions_are_short() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        if name.contains("/tests") {
            continue;
        }
        for (start, lines) in long_functions(code(&text)) {
            broken.push(format!("{name}:{start}: {lines} lines"));
        }
    }
    report(
        "a function has at most 70 lines: let it decide, and leave the work to others",
        &broken,
    );
}

/// Functions of more than 70 lines, by the indentation that rustfmt gives them.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start();
        let is_fn = ["fn ", "async fn ", "const fn ", "unsafe fn "]
            .iter()
            .any(|word| head.starts_with(word) || head.contains(&format!(" {word}")));
        if !is_fn || !head.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[index..]
            .iter()
            .position(|line| **line == close)
            .unwrap_or(0);
        if end > 70 {
            found.push((index + 1, end));
        }
    }
    found
}

#[test]
fn unsafe_code_stays_where_it_is_argued_for() {
    let broken: Vec<_> = sources()
        .into_iter()
        .filter(|(name, _)| !UNSAFE.contains(&name.as_str()) && !name.ends_with("tidy.rs"))
        .filter(|(_, text)| {
            let allows = text.contains(concat!("allow(unsafe", "_code)"));
            let uses = |line: &str| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && (line.contains("unsafe {") || line.contains("unsafe impl"))
            };
            allows || text.lines().any(uses)
        })
        .map(|(name, _)| name)
        .filter(|name| !name.contains("/tests/"))
        .collect();
    report(
        "unsafe code is for the files that the design names",
        &broken,
    );
}

#[test]
fn lines_are_ascii_and_fit_the_screen() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            // A row of a table in a comment cannot be broken.
            let row = line.starts_with("//! |") || line.starts_with("/// |");
            let wide = line.len() > 100 && !row && !name.contains("tests");
            if !line.is_ascii() || wide {
                broken.push(format!("{name}:{}", index + 1));
            }
        }
    }
    report("source is ASCII, 100 columns at most", &broken);
}

#[test]
fn module_names_say_something() {
    let broken: Vec<_> = sources()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !name.contains("/tests/"))
        .filter(|name| name.split(['/', '.']).any(|part| BANNED.contains(&part)))
        .collect();
    report("a module is named for what it owns", &broken);
}

#[test]
fn crates_depend_downwards() {
    for (folder, allowed) in EDGES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        let names = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next());
        let ours: Vec<_> = names.filter(|name| name.starts_with("teff")).collect();
        assert_eq!(
            ours, allowed,
            "{folder} depends on what the design does not list"
        );
    }
}

#[test]
fn the_rules_can_be_broken() {
    let body = "    let x = 1;\n".repeat(71);
    assert_eq!(
        long_functions(&format!("fn long() {{\n{body}}}\n")),
        [(1, 72)]
    );
    assert_eq!(long_functions("fn short() {\n}\n"), []);
    assert_eq!(code("a\n#[cfg(test)]\nmod tests {\n"), "a\n");
}
