//! The doctor's command line. Pure.

use std::ffi::OsString;
use std::time::Duration;

use sexton::cli;

use crate::words::{split, time};

/// Two words with more in common than this are probably the same one, mistyped.
const LIKE: f64 = 0.8;

pub const HELP: &str = "\
Looks at everything that a gateway's stop, start and locks depend on: one line
a check, ok, warning or problem, with what it means and what to do.

  sexton doctor                              beside a sexton that runs: its own
  docker exec CONTAINER sexton doctor        in a container
  sexton doctor --stop-timeout 10s           the engine kills after ten seconds
  sexton doctor --config F -- openclaw gateway run       before the first start

Usage: sexton doctor [OPTIONS] [SEXTON'S OPTIONS] [-- COMMAND [ARG...]]

Options:
      --json            Print one JSON object, at the end
      --stop-timeout D  What Docker or Kubernetes waits for before it kills
      --deadline D      What one check may take; the gateway's own command line
                        may take five times as long [default: 2s]
      --total D         What all checks together may take [default: 30s]
  -h, --help            Print this help

Without options of sexton's and a command, they are those of the sexton that
runs, if one does. Nothing is changed, and nothing started but the gateway's
own --version. What hangs is a finding, and is left behind.
Exit code: 0 no problem, maybe warnings; 1 problems; 125 usage.
";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The answer is wanted as JSON.
    pub json: bool,
    /// What one check may take.
    pub deadline: Duration,
    /// What all of them may take.
    pub total: Duration,
    /// What the engine above waits for before it kills.
    pub stop_timeout: Option<Duration>,
    /// A command line of sexton's, with its name.
    pub line: Vec<OsString>,
}

/// What the words ask for; `None` for the help. What is not the doctor's own is sexton's.
pub fn parse(words: &[OsString]) -> Result<Option<Asked>, String> {
    let mut asked = Asked {
        json: false,
        deadline: Duration::from_secs(2),
        total: Duration::from_secs(30),
        stop_timeout: None,
        line: vec!["sexton".into()],
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        let (name, joined) = split(text);
        let mut time = || {
            let value = joined.or_else(|| words.next().and_then(|value| value.to_str()));
            time(name, value.unwrap_or_default())
        };
        match name {
            "-h" | "--help" => return Ok(None),
            "--json" if joined.is_none() => asked.json = true,
            "--deadline" => asked.deadline = time()?,
            "--total" => asked.total = time()?,
            "--stop-timeout" => asked.stop_timeout = Some(time()?),
            "--" => {
                asked.line.push(word.clone());
                asked.line.extend(words.cloned());
                break;
            }
            _ => asked.line.push(word.clone()),
        }
    }
    Ok(Some(asked))
}

/// The same, if sexton understands what is not the doctor's own. A word that nobody understands is a mistake of who
/// typed it, and says nothing of the configuration.
///
/// # Errors
/// One line that names the word, and the option that was probably meant.
pub fn understood(asked: Option<Asked>) -> Result<Option<Asked>, String> {
    let wrong = asked.as_ref().and_then(|asked| cli::wrong_words(&asked.line));
    match wrong {
        None => Ok(asked),
        Some((_, Some(option))) => Err(match option_like(&option) {
            Some(near) => format!("unexpected argument '{option}' found; did you mean '--{near}'?"),
            None => format!("unexpected argument '{option}' found"),
        }),
        Some((what, None)) => Err(what),
    }
}

/// The option of the doctor's or of sexton's that was probably meant.
fn option_like(option: &str) -> Option<String> {
    let wrong = option.trim_start_matches('-');
    let sexton = cli::command();
    let own = sexton.find_subcommand("doctor").into_iter().flat_map(|doctor| doctor.get_arguments());
    let likeness = |name: &str| strsim::jaro_winkler(wrong, name);
    own.chain(sexton.get_arguments())
        .filter_map(|option| option.get_long())
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
        .filter(|near| likeness(near) > LIKE)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::tests::{help_is_the_manuals, words};

    fn parsed(line: &str) -> Result<Option<Asked>, String> {
        parse(&words(line))
    }

    #[test]
    fn what_is_not_its_own_is_sextons() {
        let asked =
            parsed("--json --grace 9s --deadline=1s --stop-timeout 10s -- gw --json").unwrap().unwrap();
        assert!(asked.json);
        assert_eq!(
            (asked.deadline, asked.stop_timeout),
            (Duration::from_secs(1), Some(Duration::from_secs(10)))
        );
        assert_eq!(asked.line, ["sexton", "--grace", "9s", "--", "gw", "--json"]);
        assert_eq!(parsed("").unwrap().unwrap().line, ["sexton"]);
        assert_eq!(parsed("--json -h").unwrap(), None);
    }

    #[test]
    fn a_word_that_nobody_understands_is_compared_with_all_options() {
        let understood = |line: &str| understood(parse(&words(line)).unwrap());
        for (line, near) in [
            ("--jsno", "--json"),
            ("--deadlin 2s", "--deadline"),
            ("--stop-timout 2s", "--stop-timeout"),
            ("--grcae 2s", "--grace"),
        ] {
            let why = understood(line).unwrap_err();
            assert!(why.ends_with(&format!("did you mean '{near}'?")), "{line}: {why}");
        }
        assert!(understood("--grace soon").unwrap_err().contains("soon"));
        assert!(!understood("--zzz").unwrap_err().contains("did you mean"));
        assert!(understood("--grace 2s -- gw --jsno").is_ok());
    }

    #[test]
    fn a_bad_time_is_named() {
        for line in ["--deadline", "--deadline soon", "--total=0s", "--stop-timeout="] {
            let why = parsed(line).unwrap_err();
            assert!(why.contains("takes a duration such as 2s"), "{line}: {why}");
        }
    }

    #[test]
    fn the_help_is_the_manuals() {
        help_is_the_manuals("doctor", HELP, 30);
    }
}
