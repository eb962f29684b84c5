//! The programs that are compared, and which of them are here.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::Result;

/// One program under comparison.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What its column is called.
    pub name: &'static str,
    /// The program.
    pub path: PathBuf,
    /// What it says of its own version.
    pub version: String,
    /// What it needs to be told to reap outside a pid namespace of its own.
    pub outside: &'static [&'static str],
}

/// The name of sexton's own column.
pub const SEXTON: &str = "sexton";

/// The peers by name, with the option that makes each a subreaper when it is not PID 1 (catatonit always is one
/// then; dumb-init never).
const PEERS: [(&str, &[&str]); 4] =
    [("tini", &["-s"]), ("tini-static", &["-s"]), ("dumb-init", &[]), ("catatonit", &[])];

/// Who is here, and what a reader of the table has to know about it.
pub struct Found {
    /// The peers in the order of [`PEERS`], then sexton.
    pub subjects: Vec<Subject>,
    /// One sentence each.
    pub notes: Vec<String>,
}

/// Finds the peers in `PATH`, and sexton at `given` or where it was built.
pub fn find(given: Option<&Path>) -> Result<Found> {
    let mut found = Found { subjects: Vec::new(), notes: Vec::new() };
    for (name, outside) in PEERS {
        match in_path(name) {
            Some(path) => {
                let version = version(&path);
                found.subjects.push(Subject { name, path, version, outside });
            }
            None => found.notes.push(format!("{name} is not installed and so is left out")),
        }
    }
    let path = sexton(given, &mut found.notes)?;
    let version = version(&path);
    found.subjects.push(Subject { name: SEXTON, path, version, outside: &[] });
    Ok(found)
}

/// The sexton to measure: the one given, else the shipped kind, else what cargo has just built.
fn sexton(given: Option<&Path>, notes: &mut Vec<String>) -> Result<PathBuf> {
    let (path, kind) = match (given, shipped()) {
        (Some(path), _) => (path.to_owned(), "given by --sexton"),
        (None, Some(path)) => (path, "made by packaging/build-release"),
        (None, None) => (
            PathBuf::from(env!("CARGO_BIN_EXE_sexton")),
            "the release build; what is shipped is made by packaging/build-release",
        ),
    };
    let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    notes.push(format!("sexton is {} ({kind})", path.display()));
    if given.is_none() && is_stale(&path) {
        notes.push("this sexton is older than the source: run packaging/build-release again".to_owned());
    }
    Ok(path)
}

/// `target/dist/sexton`, if it is there. Cargo puts the release build into a folder beside it.
fn shipped() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_sexton")).ancestors().nth(2)?;
    Some(target.join("dist/sexton")).filter(|path| path.is_file())
}

/// Whether a source file is younger than `program`.
fn is_stale(program: &Path) -> bool {
    fn newest(folder: &Path) -> Option<SystemTime> {
        let entries = fs::read_dir(folder).ok()?.flatten();
        entries
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                if metadata.is_dir() { newest(&entry.path()) } else { metadata.modified().ok() }
            })
            .max()
    }
    let built = fs::metadata(program).and_then(|metadata| metadata.modified()).ok();
    built < newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The first line that the program answers to `--version`, on whichever stream it does so.
fn version(path: &Path) -> String {
    let Ok(output) = Command::new(path).arg("--version").output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}
