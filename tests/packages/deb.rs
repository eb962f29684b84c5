//! The .deb, listed, installed into a fresh root by dpkg, removed and purged.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::{FILES, OF_DEBIAN, common, listed, made, output, there_is, tree};

#[test]
fn lintian_has_no_complaint() {
    let Some(deb) = made("sexton_", ".deb") else { return };
    if there_is("lintian", "lintian") {
        let complaints = output(Command::new("lintian").args(["--fail-on", "error,warning"]).arg(deb));
        assert_eq!(complaints, "");
    }
}

#[test]
fn it_is_installed_and_removed_again() {
    let Some(deb) = made("sexton_", ".deb") else { return };
    if !common::root() {
        return common::skip("root", "dpkg gives files their owners");
    }
    if !there_is("dpkg", "dpkg") || !there_is("systemd-sysusers", "systemd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for place in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
        std::fs::create_dir_all(root.join(place)).unwrap();
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = |arguments: &[&str]| {
        // The scripts get the root as DPKG_ROOT, as they do when a disk is prepared; nothing else is in it.
        let mut command = Command::new("dpkg");
        command.args(["--force-script-chrootless", "--force-depends", "--root"]).arg(root).args(arguments);
        output(command.env("SYSTEMD_LOG_LEVEL", "err"))
    };
    dpkg(&["--install", deb.to_str().unwrap()]);

    let ours = |path: &String| path.starts_with("usr/");
    assert_eq!(tree(root).into_iter().filter(ours).collect::<BTreeSet<_>>(), listed(&[FILES, OF_DEBIAN]));
    let mode = |path: &str| root.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("usr/bin/sexton"), mode("usr/lib/sysusers.d/sexton.conf")), (0o755, 0o644));
    assert_eq!(mode("etc/sexton"), 0o750, "what stands in it may be secret");
    let users = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(users.starts_with("sexton-gateway:"), "{users}");
    let enabled = root.join("etc/systemd/system/multi-user.target.wants");
    assert!(!enabled.exists(), "the service starts although there is no configuration");
    what_is_installed_is_good(root);

    dpkg(&["--remove", "sexton"]);
    dpkg(&["--purge", "sexton"]);
    let left: Vec<_> =
        tree(root).into_iter().filter(|path| path.contains("sexton") && !path.contains("dpkg")).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// The programs run, and with the example that comes with them.
fn what_is_installed_is_good(root: &Path) {
    let version = concat!("sexton ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(output(Command::new(root.join("usr/bin/sexton")).arg("--version")), version);
    let shell = output(Command::new(root.join("usr/bin/sexton-sh")).args(["-c", "echo $((6 * 7))"]));
    assert_eq!(shell, "42\n");
    let example = root.join("usr/share/doc/sexton/examples/sexton.toml");
    output(Command::new(root.join("usr/bin/sexton")).args(["check", "--config"]).arg(example));
    let page = root.join("usr/share/man/man1/sexton-sh.1.gz");
    assert!(output(Command::new("zcat").arg(page)).contains(".TH SEXTON 1"), "the link leads to the page");
    let licenses = root.join("usr/share/doc/sexton/THIRD-PARTY-LICENSES");
    let licenses = std::fs::read_to_string(licenses).unwrap();
    for what in ["\ntokio ", "\nclap ", "\nlibc ", "Permission is hereby granted", "Apache License"] {
        assert!(licenses.contains(what), "THIRD-PARTY-LICENSES lacks {what}");
    }
}
