//! Which OpenClaw a command runs: the forms in which it is launched, and its versions. Pure.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version such as 2026.9.6, 2026.9.6-beta.2 or 2026.2.6-3, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Year, month and number within the month.
    pub release: [u32; 3],
    /// How it stands to the release of that name.
    pub stage: Stage,
}

/// A release, what came before it, or its repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Any other word behind the hyphen, such as `alpha` or `rc`.
    Early(u32),
    /// `-beta.N`.
    Beta(u32),
    /// The release, and its Nth repair (`-N`).
    Release(u32),
}

impl FromStr for Version {
    type Err = ();

    /// Three numbers, with what may stand behind a hyphen; a build number behind `+` says nothing.
    fn from_str(text: &str) -> Result<Version, ()> {
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, stage) = text.split_once('-').map_or((text, None), |(one, two)| (one, Some(two)));
        let mut parts = numbers.split('.').map(|part| part.parse::<u32>().map_err(drop));
        let mut next = || parts.next().unwrap_or(Err(()));
        let release = [next()?, next()?, next()?];
        if parts.next().is_some() {
            return Err(());
        }
        let stage = match stage {
            None => Stage::Release(0),
            Some(word) => match word.parse() {
                Ok(number) => Stage::Release(number),
                Err(_) => {
                    let (word, number) = word.split_once('.').unwrap_or((word, "0"));
                    let number = number.parse().unwrap_or(0);
                    if word == "beta" { Stage::Beta(number) } else { Stage::Early(number) }
                }
            },
        };
        Ok(Version { release, stage })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, number] = self.release;
        write!(f, "{year}.{month}.{number}")?;
        match self.stage {
            Stage::Release(0) => Ok(()),
            Stage::Release(repair) => write!(f, "-{repair}"),
            Stage::Beta(number) => write!(f, "-beta.{number}"),
            Stage::Early(_) => f.write_str("-early"),
        }
    }
}

/// What is known of the program that a command launches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its version.
    pub version: Version,
    /// The file that says so; none if the command itself names the version.
    pub file: Option<String>,
}

/// How a command launches OpenClaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Launch<'a> {
    /// A program of this name: a link into the package, or a shell script that leads to it.
    Program(&'a OsStr),
    /// Node with this script.
    Script(&'a OsStr),
    /// The package manager finds the program of this name, which may have `@` and a version behind it.
    Runner(&'a str),
}

/// Node's options that have their value in the next word, in nodejs.org/api/cli.html.
const WITH_VALUE: [&str; 10] = [
    "-C",
    "-r",
    "--conditions",
    "--env-file",
    "--experimental-loader",
    "--import",
    "--input-type",
    "--loader",
    "--require",
    "--title",
];

/// How this command launches the program that it names; `None` for what cannot be told from the words, as of a shell
/// (`sh -c`) or of a script of a project (`npm run`).
pub(super) fn launch(command: &[OsString]) -> Option<Launch<'_>> {
    let mut words = command.iter().map(OsString::as_os_str).peekable();
    let mut program = words.next()?;
    // What only sets the environment becomes the program behind it.
    while name_of(program) == "env" {
        program = words.find(|word| !word.as_encoded_bytes().contains(&b'='))?;
        if program.as_encoded_bytes().starts_with(b"-") {
            return None;
        }
    }
    let is_option = |word: &OsStr| word.as_encoded_bytes().starts_with(b"-");
    match name_of(program) {
        "sh" | "bash" | "dash" | "ash" | "zsh" | "busybox" | "npm" | "yarn" | "make" => None,
        "node" | "nodejs" => loop {
            let word = words.next()?;
            if !is_option(word) {
                return Some(Launch::Script(word));
            }
            if word == "-e" || word == "-p" || word == "--eval" || word == "--print" {
                return None;
            }
            if word == "--" {
                return words.next().map(Launch::Script);
            }
            if WITH_VALUE.iter().any(|option| word == *option) {
                words.next();
            }
        },
        "npx" => loop {
            let word = words.next()?;
            if word == "-p" || word == "--package" || word == "-c" || word == "--call" {
                return None;
            }
            if !is_option(word) {
                return word.to_str().map(Launch::Runner);
            }
        },
        "pnpm" => match (words.next()?.to_str()?, words.next()) {
            ("exec", Some(word)) if !is_option(word) => word.to_str().map(Launch::Runner),
            _ => None,
        },
        _ => Some(Launch::Program(program)),
    }
}

fn name_of(program: &OsStr) -> &str {
    Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// The script to which a shell script of pnpm or npm (cmd-shim) leads, below the directory that it lies in: the last
/// one that stands in quotes behind `$basedir`.
pub(super) fn script_of_shim(text: &str) -> Option<&str> {
    let quoted = text.rsplit("\"$basedir/").map(|rest| rest.split('"').next().unwrap_or_default());
    // What stands before the first one is no such word.
    let known = text.matches("\"$basedir/").count();
    quoted.take(known).find(|script| {
        [".mjs", ".js", ".cjs"].iter().any(|end| script.ends_with(end)) && !script.contains('$')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_numbers() {
        let order = [
            "2025.12.30",
            "2026.9.5-alpha.1",
            "2026.9.5-beta.2",
            "2026.9.5-beta.10",
            "2026.9.5",
            "2026.9.5-1",
            "2026.9.6",
            "2026.9.10",
            "2026.10.1",
        ]
        .map(version);
        assert!(order.is_sorted() && order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
        assert_eq!(version("2026.9.6+eb377ac"), version("2026.9.6"));
        for text in ["2026.9.6", "2026.9.6-beta.2", "2026.2.6-3"] {
            assert_eq!(version(text).to_string(), text);
        }
        for text in ["", "2026", "2026.9", "2026.9.6.1", "2026.9.x", "-1.2.3", "v2026.9.6", "99999999999.1.1"]
        {
            assert_eq!(text.parse::<Version>(), Err(()), "{text}");
        }
    }

    #[test]
    fn each_form_of_launch_has_its_program() {
        for (line, expected) in [
            ("openclaw gateway run", Some(Launch::Program(OsStr::new("openclaw")))),
            ("/opt/x/openclaw gateway", Some(Launch::Program(OsStr::new("/opt/x/openclaw")))),
            ("env A=b C=d openclaw gateway", Some(Launch::Program(OsStr::new("openclaw")))),
            ("env -i openclaw gateway", None),
            ("node openclaw.mjs gateway", Some(Launch::Script(OsStr::new("openclaw.mjs")))),
            (
                "/usr/bin/node --max-old-space-size=512 -r ./a.js dist/index.js gateway",
                Some(Launch::Script(OsStr::new("dist/index.js"))),
            ),
            ("node -e 1", None),
            ("node", None),
            ("npx -y openclaw@2026.9.6 gateway", Some(Launch::Runner("openclaw@2026.9.6"))),
            ("npx openclaw gateway", Some(Launch::Runner("openclaw"))),
            ("npx -p openclaw x", None),
            ("pnpm exec openclaw gateway", Some(Launch::Runner("openclaw"))),
            ("pnpm start", None),
            ("npm run gateway", None),
            ("sh -c openclaw", None),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(launch(&words), expected, "{line}");
        }
        assert_eq!(launch(&[]), None);
    }

    #[test]
    fn a_shell_script_of_pnpm_leads_to_its_script() {
        let shim = "#!/bin/sh\nbasedir=$(dirname \"$(echo \"$0\" | sed -e 's,\\\\,/,g')\")\n\
             if [ -x \"$basedir/node\" ]; then\n  exec \"$basedir/node\"  \"$basedir/global/5/node_modules/openclaw/openclaw.mjs\" \"$@\"\n\
             else\n  exec node  \"$basedir/global/5/node_modules/openclaw/openclaw.mjs\" \"$@\"\nfi\n";
        assert_eq!(script_of_shim(shim), Some("global/5/node_modules/openclaw/openclaw.mjs"));
        assert_eq!(script_of_shim("openclaw.mjs\" exec \"$basedir/node\" \"$@\""), None);
        assert_eq!(script_of_shim(""), None);
    }
}
