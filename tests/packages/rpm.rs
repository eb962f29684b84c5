//! The .rpm, listed, unpacked, and installed into a fresh root.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::{FILES, OF_RPM, common, listed, made, output, there_is, tree};

#[test]
fn it_lists_what_it_holds_and_needs_nothing() {
    let Some(rpm) = made("sexton-", ".rpm") else { return };
    if !there_is("rpm", "rpm") {
        return;
    }
    let ask =
        |words: &[&str]| output(Command::new("rpm").arg("--query").args(words).arg("--package").arg(&rpm));
    let format = "[%{FILEMODES:perms} %{FILENAMES} %{FILELINKTOS}\n]";
    let held: BTreeSet<String> = ask(&["--queryformat", format])
        .lines()
        .filter(|line| !line.starts_with('d'))
        .map(|line| {
            let (_, path) = line.split_once(" /").unwrap();
            path.trim_end().replacen(' ', " -> ", 1)
        })
        .collect();
    assert_eq!(held, listed(&[FILES, OF_RPM]));
    let needs = ask(&["--requires"]);
    assert!(needs.lines().all(|need| need == "/bin/sh" || need.starts_with("rpmlib(")), "{needs}");
    let facts = ask(&["--queryformat", "%{NAME} %{VERSION} %{LICENSE} %{ARCH}\n"]);
    let expected = concat!("sexton ", env!("CARGO_PKG_VERSION"), " MIT OR Apache-2.0 ");
    assert_eq!(facts, format!("{expected}{}\n", std::env::consts::ARCH));
}

#[test]
fn it_is_installed_and_removed_again() {
    let Some(rpm) = made("sexton-", ".rpm") else { return };
    if !common::root() {
        return common::skip("root", "rpm gives files their owners");
    }
    if !there_is("rpm", "rpm") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let run = |words: &[&str]| {
        // There is no shell in this root that could run the scripts.
        let mut command = Command::new("rpm");
        command.arg("--root").arg(root).args(["--dbpath", "/var/lib/rpm"]).args(words);
        output(&mut command)
    };
    run(&["--install", "--nodeps", "--noscripts", rpm.to_str().unwrap()]);
    let ours = |path: &String| path.starts_with("usr/");
    assert_eq!(tree(root).into_iter().filter(ours).collect::<BTreeSet<_>>(), listed(&[FILES, OF_RPM]));
    run(&["--verify", "--nodeps", "--noscripts", "sexton"]);
    let version = concat!("sexton ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(output(Command::new(root.join("usr/bin/sexton")).arg("--version")), version);
    let shell = output(Command::new(root.join("usr/bin/sexton-sh")).args(["-c", "echo $((6 * 7))"]));
    assert_eq!(shell, "42\n");

    run(&["--erase", "--nodeps", "--noscripts", "sexton"]);
    let left: Vec<_> = tree(root).into_iter().filter(|path| path.contains("sexton")).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// The scripts, run by a shell that finds nothing of systemd, as in an image of a container.
#[test]
fn its_scripts_do_without_systemd() {
    let Some(rpm) = made("sexton-", ".rpm") else { return };
    if !there_is("rpm", "rpm") {
        return;
    }
    for script in ["POSTIN", "PREUN", "POSTUN"] {
        let format = format!("%{{{script}}}");
        let mut query = Command::new("rpm");
        let text = output(query.args(["--query", "--queryformat", &format, "--package"]).arg(&rpm));
        assert!(text.contains("systemctl"), "{script}: {text}");
        let mut shell = Command::new("/bin/sh");
        // Where systemd runs, the scripts would find its folder and then not find systemctl.
        let text = text.replace("/run/systemd/system", "/nowhere");
        output(shell.args(["-e", "-u", "-c", &text, "script", "0"]).env("PATH", "").stdin(Stdio::null()));
    }
}
