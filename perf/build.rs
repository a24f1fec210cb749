//! Tells the program which commit it was built from, so that figures can be told apart.

use std::process::Command;

fn main() {
    if let Some(commit) = git(&["describe", "--always", "--dirty", "--abbrev=10"]) {
        println!("cargo::rustc-env=PERF_COMMIT={commit}");
    }
    // Whether the tree is as committed changes with every file that ends up in the program.
    for folder in ["../perf", "../runtime", "../transport"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}

/// What git says, if there is a git and this is its tree.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
