//! The catalogue of lock kinds: one TOML table a program, in `src/locks/catalogue`, compiled in as text.
//!
//! A rule in it is one of `[[locks.rule]]`, read by the same code. Nothing is read before a kind is asked for by name or
//! all are, so that a run that asks for none pays nothing.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::file::reader::Reader;
use super::lock_rule::LockRule;
use crate::locks::kind::Kind;
use crate::locks::rule::Pattern;

/// The names with their texts.
macro_rules! entries {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../locks/catalogue/", $name, ".toml")))),*]
    };
}

const ENTRIES: &[(&str, &str)] = entries! {
    "apache2" "celery" "chromium" "chromium-headless-shell" "dbus" "emacs" "firefox" "gnupg" "gunicorn" "jupyter"
    "libreoffice" "mariadb" "memcached" "npm-lockfile" "pid" "portalocker" "postgresql" "proper-lockfile"
    "pulseaudio" "python-lockfile" "rails" "redis" "rsyslogd" "screen" "softfilelock" "squid" "supervisord" "tmux"
    "twistd" "xvfb" "zc-lockfile"
};

/// The word for all kinds whose program is here.
pub const AUTO: &str = "auto";

/// One program's locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name, by which it is turned on.
    #[serde(default)]
    pub name: String,
    /// What it is, in a few words.
    pub what: String,
    /// The programs that take such locks; `auto` means it if one of them is on the path.
    #[serde(default)]
    pub programs: Vec<String>,
    /// The program's user chooses where the lock lies, so that only a rule with a path can mean it.
    #[serde(default)]
    pub by_rule: bool,
    /// What the program does with a lock that was left behind.
    pub left_over: Option<String>,
    /// Why a lock that was left behind keeps no program from starting; then there are no rules.
    pub harmless: Option<String>,
    /// What the program does with an empty one, whose owner died before it wrote it.
    pub empty: Option<String>,
    /// With what it was tried.
    pub versions: Vec<String>,
    /// When.
    pub date: String,
    /// Where that is written, in the program's own sources.
    pub source: String,
    /// The locks. A path that begins with `/` or `~/` says where they lie; one that does not means a place below the
    /// operator's own roots.
    #[serde(default)]
    pub rule: Vec<LockRule>,
    /// Real ones.
    #[serde(default)]
    pub sample: Vec<Sample>,
}

/// A lock as its program wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Where.
    pub path: String,
    /// What stood in it, or where it pointed.
    pub content: String,
    /// Its owner; an empty one names none.
    pub pid: Option<i32>,
}

/// A kind of the catalogue in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The directory; the operator's roots, if there is none.
    pub root: Option<PathBuf>,
    /// The rest.
    pub rule: LockRule,
    /// It counts only where one of these programs is on the path.
    pub only_with: Vec<String>,
}

/// All names, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|(name, _)| *name)
}

/// The whole catalogue.
pub fn all() -> impl Iterator<Item = Entry> {
    names().filter_map(entry)
}

/// The entry of this name.
#[must_use]
pub fn entry(name: &str) -> Option<Entry> {
    let (name, text) = ENTRIES.iter().find(|(known, _)| *known == name)?;
    let table = DeTable::parse(text).ok()?;
    let read = Entry::deserialize(Reader::Table(table.get_ref())).ok()?;
    Some(Entry { name: (*name).to_owned(), ..read })
}

/// What an operator's word stands for.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn check(word: &str) -> Result<(), String> {
    if word == AUTO {
        return Ok(());
    }
    let entry = entry(word).ok_or_else(|| unknown(word))?;
    match (entry.harmless, entry.by_rule) {
        (Some(why), _) => Err(format!("'{word}' needs nothing, take it out: {why}")),
        (None, true) => Err(format!(
            "where a lock of '{word}' lies is its program's to say; write a [[locks.rule]] with kind = \"{word}\" and \
             its path"
        )),
        (None, false) => Ok(()),
    }
}

/// What is wrong with a word that is no entry's name.
#[must_use]
pub fn unknown(word: &str) -> String {
    let known: Vec<&str> = names().chain([AUTO]).collect();
    let likeness = |known: &str| strsim::jaro_winkler(&word.to_lowercase(), known);
    let near = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match near.filter(|near| likeness(near) > 0.8) {
        Some(near) => format!("there is no kind '{word}'; did you mean '{near}'?"),
        None => format!("there is no kind '{word}'; 'sexton locks kinds' shows all of them"),
    }
}

/// The rule that stands for a lock of this kind at another place.
#[must_use]
pub fn elsewhere(kind: &str, rule: &LockRule) -> Option<LockRule> {
    let known = entry(kind)?.rule.into_iter().next()?;
    let name = rule.name.clone().or_else(|| Some(kind.to_owned()));
    Some(LockRule { name, path: rule.path.clone(), ..known })
}

/// What is meant by these words, in the places where it lies. `home` is what `~` stands for.
#[must_use]
pub fn placed(words: &[String], home: Option<&Path>) -> Vec<Placed> {
    let auto = words.iter().any(|word| word == AUTO);
    let mut found = Vec::new();
    for entry in names().filter(|name| auto || words.iter().any(|word| word == name)).filter_map(entry) {
        if entry.by_rule {
            continue;
        }
        let named = words.contains(&entry.name);
        let only_with = if named { Vec::new() } else { entry.programs };
        found.extend(entry.rule.into_iter().filter_map(|rule| {
            let (root, path) = place(&rule.path, home)?;
            let rule = LockRule { path, name: Some(entry.name.clone()), ..rule };
            Some(Placed { root, rule, only_with: only_with.clone() })
        }));
    }
    found
}

/// The directory that a path of the catalogue names, up to its first star, and the rest; `None` if it is in a home and
/// there is none.
fn place(path: &str, home: Option<&Path>) -> Option<(Option<PathBuf>, String)> {
    let (top, below) = if let Some(below) = path.strip_prefix("~/") {
        (home?, below)
    } else if let Some(below) = path.strip_prefix('/') {
        (Path::new("/"), below)
    } else {
        return Some((None, path.to_owned()));
    };
    let parts: Vec<&str> = below.split('/').collect();
    let fixed =
        parts.iter().take_while(|part| !part.contains('*')).count().min(parts.len().saturating_sub(1));
    let (fixed, rest) = parts.split_at_checked(fixed)?;
    let root = fixed.iter().fold(top.to_owned(), |path, part| path.join(part));
    Some((Some(root), rest.join("/")))
}

impl Placed {
    /// The pattern and the kind. Such a lock is held as long as its owner lives, so that holding it long is nothing
    /// special.
    #[must_use]
    pub fn kind(&self) -> Option<(Pattern, Kind)> {
        let (pattern, kind) = self.rule.kind()?;
        Some((pattern, Kind { lifelong: true, ..kind }))
    }
}

/// Which of these programs are here: in a directory of the path, or where an administrator's lie. For a process that may
/// hang.
#[must_use]
pub fn present<'a>(programs: &BTreeSet<&'a str>, path: Option<&OsStr>) -> BTreeSet<&'a str> {
    let listed = path.unwrap_or_default().as_bytes().split(|byte| *byte == b':').filter(|it| !it.is_empty());
    let listed = listed.map(|it| PathBuf::from(OsString::from(OsStr::from_bytes(it))));
    let usual =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    // PostgreSQL's are in a directory for each release.
    let places: BTreeSet<PathBuf> = listed.chain(usual).collect();
    programs.iter().copied().filter(|name| places.iter().any(|place| place.join(name).exists())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::format::Content;
    use crate::locks::rule::Rules;

    #[test]
    fn every_entry_is_read_and_says_what_an_entry_has_to_say() {
        let names: Vec<&str> = names().collect();
        assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
        for (name, text) in ENTRIES {
            let table = DeTable::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let read = Entry::deserialize(Reader::Table(table.get_ref()));
            let entry = read.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert!(
                !entry.versions.is_empty() && !entry.source.is_empty() && entry.date.len() == 10,
                "{name}"
            );
            assert_eq!(entry.harmless.is_some(), entry.rule.is_empty(), "{name}: no rule without a reason");
            assert_eq!(entry.left_over.is_some(), entry.harmless.is_none(), "{name}");
            for rule in &entry.rule {
                let placed =
                    LockRule { path: place(&rule.path, Some(Path::new("/home"))).unwrap().1, ..rule.clone() };
                placed.check().unwrap_or_else(|(key, what)| panic!("{name}: {}: {key}: {what}", rule.path));
                assert!(rule.name.is_none() && rule.kind.is_none(), "{name}: it is named by its entry");
            }
        }
        let file =
            |file: std::io::Result<std::fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
        let files: BTreeSet<String> = std::fs::read_dir("src/locks/catalogue").unwrap().map(file).collect();
        let of_names: BTreeSet<String> = names.iter().map(|name| format!("{name}.toml")).collect();
        assert_eq!(files, of_names, "each file is an entry");
    }

    /// What each rule finds at its sample, and that no other entry's finds anything there.
    #[test]
    fn every_rule_has_a_sample_that_no_other_entry_takes() {
        let home = Path::new("/home/node");
        let fixed = |entry: &Entry| !entry.by_rule;
        for entry in all() {
            let mut without = entry.rule.clone();
            for sample in &entry.sample {
                let (root, path) = place(&sample.path, Some(home)).unwrap();
                let mut found = Vec::new();
                for other in all().filter(|other| other.name == entry.name || fixed(other) && fixed(&entry)) {
                    for rule in &other.rule {
                        if meets(rule, root.as_deref(), &path, home) {
                            found.push((other.name.clone(), rule.clone()));
                        }
                    }
                }
                let [(name, rule)] = found.as_slice() else {
                    panic!("{}: {}: {found:?}", entry.name, sample.path)
                };
                assert_eq!(*name, entry.name, "{}", sample.path);
                let mut placed = rule.clone();
                placed.path = place(&rule.path, Some(home)).unwrap().1;
                let (_, kind) = placed.kind().unwrap();
                let content = kind.format.read(sample.content.as_bytes()).content;
                assert_eq!(content.owner().map(|owner| owner.pid.raw()), sample.pid, "{}", sample.path);
                assert_eq!(content == Content::Empty, sample.content.is_empty());
                without.retain(|one| one != rule);
            }
            assert!(without.is_empty(), "{} has no sample of {without:?}", entry.name);
        }
    }

    /// Whether the rule finds what lies at `path` below `root`, from whatever root of its own.
    fn meets(rule: &LockRule, root: Option<&Path>, path: &str, home: &Path) -> bool {
        let (own, pattern) = place(&rule.path, Some(home)).unwrap();
        let whole = match (root, own) {
            (Some(root), Some(own)) => {
                let Ok(below) = root.join(path).strip_prefix(own).map(Path::to_owned) else { return false };
                below.to_str().unwrap().to_owned()
            }
            (None, None) => path.to_owned(),
            _ => return false,
        };
        let rules = Rules::new(vec![(Pattern::new(&pattern).unwrap(), ())]);
        let mut place = rules.start();
        let mut last = false;
        for name in whole.split('/') {
            let step = rules.step(&place, name.as_bytes());
            (place, last) = (step.below, step.found.is_some());
        }
        last
    }

    #[test]
    fn a_path_says_its_root() {
        let home = Path::new("/home/node");
        for (path, root, rest) in [
            ("/tmp/.X*-lock", Some("/tmp"), ".X*-lock"),
            ("/run/dbus/pid", Some("/run/dbus"), "pid"),
            ("/run/user/*/pulse/pid", Some("/run/user"), "*/pulse/pid"),
            ("~/.gnupg/*.lock", Some("/home/node/.gnupg"), "*.lock"),
            ("*/x.pid", None, "*/x.pid"),
        ] {
            assert_eq!(place(path, Some(home)), Some((root.map(PathBuf::from), rest.to_owned())), "{path}");
        }
        assert_eq!(place("~/.gnupg/x", None), None);
    }

    #[test]
    fn a_word_that_is_none_gets_the_nearest() {
        for (word, part) in [
            ("xvbf", "did you mean 'xvfb'?"),
            ("Postgres", "did you mean 'postgresql'?"),
            ("nonsense", "'sexton locks kinds' shows all of them"),
            ("redis", "needs nothing"),
            ("softfilelock", "write a [[locks.rule]] with kind = \"softfilelock\""),
        ] {
            let said = check(word).unwrap_err();
            assert!(said.contains(part) && !said.contains('\n'), "{said}");
        }
        for word in ["xvfb", AUTO] {
            check(word).unwrap();
        }
    }

    #[test]
    fn a_kind_that_is_named_needs_no_program() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let named = placed(&words(&["xvfb"]), None);
        assert_eq!(named.len(), 1);
        assert!(named[0].only_with.is_empty() && named[0].root.as_deref() == Some(Path::new("/tmp")));
        let all = placed(&words(&["auto", "xvfb"]), None);
        assert!(all.iter().all(|one| one.only_with.is_empty() == (one.rule.name.as_deref() == Some("xvfb"))));
        assert!(placed(&[], None).is_empty());
        let here = present(&BTreeSet::from(["sh", "no-such-program"]), None);
        assert_eq!(here, BTreeSet::from(["sh"]));
    }
}
