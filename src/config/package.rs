//! Finding the package that a command launches, and what its `package.json` says.
//!
//! The files belong to the user that installed the gateway, often to the gateway's own user. So the type of each is
//! checked before it is opened, it is opened without blocking, and it is read to a limit. The only result is a version.
//! A filesystem that hangs can still block this, so a running sexton has a helper process do it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::openclaw::{Launch, Package, Version, launch, script_of_shim};
use crate::os::exec::DEFAULT_PATH;
use crate::os::files::{self, FileKind};

/// The largest `package.json` that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// The largest shell script that is looked through, in bytes. Those of pnpm have about 1,000.
const SCRIPT: usize = 64 * 1024;
/// How far above its script a package's directory is looked for. `dist/index.js` is one below it.
const DEPTH: usize = 6;
/// How many directories of npx are looked at.
const CACHED: usize = 256;

/// What a package says of itself, as far as it matters.
#[derive(Deserialize)]
struct Described {
    name: String,
    version: String,
}

/// Where programs are looked for.
pub struct Place<'a> {
    /// The working directory of the command.
    pub directory: &'a Path,
    /// A variable of its environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// The package of this name that the command launches; `None` if that cannot be told.
#[must_use]
pub fn find(name: &str, command: &[OsString], place: &Place<'_>) -> Option<Package> {
    match launch(command)? {
        Launch::Script(script) => above(name, &fs::canonicalize(place.directory.join(script)).ok()?),
        Launch::Program(program) => of_program(name, &in_path(program, place)?),
        Launch::Runner(wanted) => of_runner(name, wanted, place),
    }
}

/// The file that a program's name stands for.
fn in_path(program: &OsStr, place: &Place<'_>) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(place.directory.join(program));
    }
    let path = (place.variable)("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    std::env::split_paths(&path)
        .map(|directory| place.directory.join(directory).join(program))
        .find(|path| path.is_file())
}

/// The package that a program belongs to: npm's are links into it, pnpm's are shell scripts that lead there.
fn of_program(name: &str, path: &Path) -> Option<Package> {
    if let Some(package) = above(name, &fs::canonicalize(path).ok()?) {
        return Some(package);
    }
    let text = read(path, SCRIPT)?;
    let text = String::from_utf8_lossy(&text);
    let script = script_of_shim(text.strip_prefix("#!").and(Some(&*text))?)?;
    above(name, &fs::canonicalize(path.parent()?.join(script)).ok()?)
}

/// What npx or pnpm would run: that of the project, else the one in npx's cache.
fn of_runner(name: &str, wanted: &str, place: &Place<'_>) -> Option<Package> {
    let (program, version) = wanted.split_once('@').map_or((wanted, None), |(one, two)| (one, Some(two)));
    if program != name {
        return None;
    }
    if let Some(version) = version.and_then(|version| version.parse().ok()) {
        return Some(Package { version, file: None });
    }
    let project = place.directory.ancestors().take(32).map(|directory| directory.join("node_modules"));
    let mut found = project.filter_map(|modules| described(name, &modules.join(name)));
    if version.is_none()
        && let Some(package) = found.next()
    {
        return Some(package);
    }
    let set = |name: &str| (place.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("npm_config_cache").or_else(|| Some(set("HOME")?.join(".npm")))?;
    let cached = fs::read_dir(cache.join("_npx")).ok()?.flatten().take(CACHED);
    let mut cached = cached.filter_map(|one| described(name, &one.path().join("node_modules").join(name)));
    let one = cached.next()?;
    // Which of several it takes only npx knows.
    cached.all(|other| other.version == one.version).then_some(one)
}

/// The package in whose directory, or below it, this file lies.
fn above(name: &str, script: &Path) -> Option<Package> {
    script.ancestors().skip(1).take(DEPTH).find_map(|directory| described(name, directory))
}

/// What the package in this directory says, if it has this name.
fn described(name: &str, directory: &Path) -> Option<Package> {
    let path = directory.join("package.json");
    let text = read(&path, LARGEST)?;
    let described: Described = serde_json::from_slice(&text).ok()?;
    let version: Version = described.version.parse().ok()?;
    (described.name == name).then(|| Package { version, file: Some(path.to_string_lossy().into_owned()) })
}

/// The content of an ordinary file that is not larger than this.
fn read(path: &Path, largest: usize) -> Option<Vec<u8>> {
    // To be opened can mean something to a device, and is waited for by a pipe.
    let ordinary = |file: std::os::fd::BorrowedFd<'_>| {
        files::meta(file).is_ok_and(|meta| {
            meta.kind == FileKind::Regular && usize::try_from(meta.size).is_ok_and(|size| size <= largest)
        })
    };
    if !ordinary(files::look_through(path).ok()?.as_fd()) {
        return None;
    }
    let file = files::open_without_waiting(path).ok()?;
    // Something else can have come to the name meanwhile.
    if !ordinary(file.as_fd()) {
        return None;
    }
    let text = files::read_up_to(file.as_fd(), largest.saturating_add(1)).ok()?;
    (text.len() <= largest).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Machine {
            Machine(tempfile::tempdir().unwrap())
        }

        fn put(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }

        fn install(&self, directory: &str, version: &str) {
            let text = format!(r#"{{"name":"openclaw","version":"{version}","bin":{{}}}}"#);
            self.put(&format!("{directory}/package.json"), &text);
            self.put(&format!("{directory}/openclaw.mjs"), "");
            self.put(&format!("{directory}/dist/index.js"), "");
        }

        fn version(&self, line: &str) -> Option<String> {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let home = self.0.path();
            let variable = |name: &str| match name {
                "PATH" => Some(format!("{}:bin", home.join("nothing").display()).into()),
                "HOME" => Some(home.join("home").into()),
                _ => None,
            };
            let place = Place { directory: home, variable: &variable };
            find("openclaw", &words, &place).map(|package| package.version.to_string())
        }
    }

    #[test]
    fn every_form_of_launch_leads_to_its_package() {
        let machine = Machine::new();
        machine.install("lib/node_modules/openclaw", "2026.9.6");
        machine.put("bin/keep", "");
        symlink("../lib/node_modules/openclaw/openclaw.mjs", machine.0.path().join("bin/openclaw")).unwrap();
        assert_eq!(machine.version("openclaw gateway run").as_deref(), Some("2026.9.6"), "a link in PATH");
        assert_eq!(machine.version("bin/openclaw gateway").as_deref(), Some("2026.9.6"), "its path");
        machine.install("app", "2026.5.22");
        assert_eq!(machine.version("node app/openclaw.mjs gateway").as_deref(), Some("2026.5.22"));
        assert_eq!(machine.version("node app/dist/index.js gateway").as_deref(), Some("2026.5.22"));
        assert_eq!(machine.version("npx -y openclaw@2026.8.1 gateway").as_deref(), Some("2026.8.1"));
        assert_eq!(machine.version("npx openclaw gateway"), None, "nothing is there yet");
        machine.install("home/.npm/_npx/0a1b/node_modules/openclaw", "2026.8.2");
        assert_eq!(machine.version("npx openclaw gateway").as_deref(), Some("2026.8.2"), "npx's cache");
        machine.install("home/.npm/_npx/ffff/node_modules/openclaw", "2026.8.3");
        assert_eq!(machine.version("npx openclaw gateway"), None, "two of them");
        machine.install("node_modules/openclaw", "2026.9.1");
        assert_eq!(machine.version("pnpm exec openclaw gateway").as_deref(), Some("2026.9.1"));
        machine.put(
            "bin/pnpmed",
            "#!/bin/sh\nexec node \"$basedir/../lib/node_modules/openclaw/openclaw.mjs\" \"$@\"\n",
        );
        assert_eq!(machine.version("pnpmed gateway").as_deref(), Some("2026.9.6"), "pnpm's shell script");
        for line in ["sh -c openclaw", "npm run gateway", "missing", "bin/keep", "node missing.mjs"] {
            assert_eq!(machine.version(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_package_says_nothing_and_holds_nobody_up() {
        let machine = Machine::new();
        let text = machine.put("app/package.json", "");
        machine.put("app/openclaw.mjs", "");
        let version = || machine.version("node app/openclaw.mjs gateway");
        let large = format!(r#"{{"name":"openclaw","version":"2026.9.6","x":"{}"}}"#, "x".repeat(LARGEST));
        for content in [
            "",
            "{",
            "[]",
            "\0",
            r#"{"name":"openclaw"}"#,
            r#"{"name":"other","version":"2026.9.6"}"#,
            r#"{"name":"openclaw","version":"new"}"#,
            &large,
        ] {
            fs::write(&text, content).unwrap();
            assert_eq!(version(), None, "{:.60}", content);
        }
        // No process ever writes to this pipe.
        fs::remove_file(&text).unwrap();
        nix::unistd::mkfifo(&text, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(version(), None);
    }
}
