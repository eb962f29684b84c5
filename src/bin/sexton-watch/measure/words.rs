//! The command line of `sexton measure`. Pure.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::limit::Limit;
use crate::words::{split, time};

pub const HELP: &str = "\
Starts a gateway again and again, watches it, stops it, and says in numbers how
it was; of two, in turn, where the second is worse.

  sexton measure -- openclaw gateway run
  sexton measure --html report.html --fail-if 'p99>1.5x' --fail-if 'start>60s' \\
      -- /old/openclaw gateway run --against -- /new/openclaw gateway run
  sexton measure --health-url http://127.0.0.1:{port}/health -- ./gw {port}

Usage: sexton measure [OPTIONS] -- BASE... [--against -- CANDIDATE...]

  --runs N            Runs of each; fewer than 9 prove nothing [default: 10]
  --duration D        How long each is watched once it is well [default: 30s]
  --start-within D    When its start is given up [default: 3m]
  --health-url URL    Where it is asked; OpenClaw's /healthz is known
  --ready-url URL     Where it tells of its event loop; OpenClaw's is known
  --version-command C The command line says its version; OpenClaw's is known
  --doctor-command C  Its own doctor; '{0}' is the gateway's first word
  --command-within D  When these two are given up [default: 30s]
  --state DIR         Each run gets a copy of it [default: an empty one]
  --fail-if M>LIMIT   End with 1: p99>1.5x, stop>20s, memory>2GiB; repeatable
  --json, --markdown, --html FILE   The report, also as that ('-': to stdout)

{port} in any word is a free port, {state} the run's own state directory; an
OpenClaw gets both by its variables. Its channels and updates stay off.
Ctrl-C ends it, and reports the runs that are complete.
Exit code: 0; 1 a --fail-if came true or was not measured; 125 usage.
";

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub runs: usize,
    pub duration: Duration,
    pub start_within: Duration,
    pub health_url: Option<String>,
    pub ready_url: Option<String>,
    pub version_command: Option<String>,
    pub doctor_command: Option<String>,
    pub command_within: Duration,
    pub state: Option<PathBuf>,
    pub limits: Vec<Limit>,
    pub json: Option<PathBuf>,
    pub markdown: Option<PathBuf>,
    pub html: Option<PathBuf>,
    pub base: Vec<String>,
    pub candidate: Option<Vec<String>>,
}

/// What stands before the candidate.
const AGAINST: &str = "--against";

/// What the words ask for; `None` for the help.
pub fn parse(words: &[OsString]) -> Result<Option<Asked>, String> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (options, commands) = words.split_at(end);
    let mut asked = Asked {
        runs: 10,
        duration: Duration::from_secs(30),
        start_within: Duration::from_secs(180),
        health_url: None,
        ready_url: None,
        version_command: None,
        doctor_command: None,
        command_within: Duration::from_secs(30),
        state: None,
        limits: Vec::new(),
        json: None,
        markdown: None,
        html: None,
        base: Vec::new(),
        candidate: None,
    };
    let mut options = options.iter();
    while let Some(word) = options.next() {
        let (name, joined) = split(word);
        if matches!(name, "-h" | "--help") {
            return Ok(None);
        }
        let mut value = || {
            let value = joined.map(str::to_owned).or_else(|| options.next().cloned());
            value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{name} needs a value"))
        };
        match name {
            "--runs" => asked.runs = runs(&value()?)?,
            "--duration" => asked.duration = time(name, &value()?)?,
            "--start-within" => asked.start_within = time(name, &value()?)?,
            "--command-within" => asked.command_within = time(name, &value()?)?,
            "--health-url" => asked.health_url = Some(url(name, value()?)?),
            "--ready-url" => asked.ready_url = Some(url(name, value()?)?),
            "--version-command" => asked.version_command = Some(value()?),
            "--doctor-command" => asked.doctor_command = Some(value()?),
            "--state" => asked.state = Some(value()?.into()),
            "--fail-if" => asked.limits.push(Limit::parse(&value()?)?),
            "--json" => asked.json = Some(value()?.into()),
            "--markdown" => asked.markdown = Some(value()?.into()),
            "--html" => asked.html = Some(value()?.into()),
            _ => {
                return Err(format!(
                    "'{word}' is not understood; options stand before '--', the gateway's command behind it"
                ));
            }
        }
    }
    asked.take(commands)?;
    Ok(Some(asked))
}

impl Asked {
    /// Takes the commands: `-- BASE... [--against -- CANDIDATE...]`.
    fn take(&mut self, commands: &[String]) -> Result<(), String> {
        let behind = commands.get(1..).unwrap_or_default();
        let split =
            behind.windows(2).position(|pair| matches!(pair, [one, two] if one == AGAINST && two == "--"));
        if split.is_none() && behind.iter().any(|word| word == AGAINST) {
            return Err("behind --against there is a '--' and then the candidate's command".to_owned());
        }
        self.base = behind.get(..split.unwrap_or(behind.len())).unwrap_or_default().to_vec();
        self.candidate = split.map(|split| behind.get(split + 2..).unwrap_or_default().to_vec());
        if self.base.is_empty() {
            return Err("no gateway was given; write its command behind '--'".to_owned());
        }
        if self.candidate.as_ref().is_some_and(Vec::is_empty) {
            return Err("no candidate was given; write its command behind '--against --'".to_owned());
        }
        if let Some(limit) = self.limits.iter().find(|limit| limit.is_relative() && self.candidate.is_none())
        {
            return Err(format!(
                "--fail-if '{limit}' is a ratio, which takes a second gateway: --against -- CANDIDATE"
            ));
        }
        let unknown = |command: &Vec<String>| crate::openclaw::command_line(command).is_none();
        if self.health_url.is_none() && (unknown(&self.base) || self.candidate.as_ref().is_some_and(unknown))
        {
            return Err("nobody knows where this gateway is asked for its health; say so with --health-url"
                .to_owned());
        }
        Ok(())
    }
}

fn runs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=99) => Ok(number),
        _ => Err(format!("--runs takes a number from 1 to 99, and not '{text}'")),
    }
}

fn url(name: &str, text: String) -> Result<String, String> {
    if text.starts_with("http://") {
        Ok(text)
    } else {
        Err(format!("{name} takes an address such as http://127.0.0.1:{{port}}/health, and not '{text}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::tests::{help_is_the_manuals, words};

    fn parsed(line: &str) -> Result<Option<Asked>, String> {
        parse(&words(line))
    }

    #[test]
    fn two_commands_are_told_apart() {
        let asked = parsed(
            "--runs 3 --fail-if=p99>1.5x -- a/openclaw gateway --against x --against -- b/openclaw gateway -- y",
        );
        let asked = asked.unwrap().unwrap();
        assert_eq!((asked.runs, asked.limits.len()), (3, 1));
        assert_eq!(asked.base, ["a/openclaw", "gateway", "--against", "x"]);
        assert_eq!(asked.candidate.unwrap(), ["b/openclaw", "gateway", "--", "y"]);
        let one = parsed("--health-url http://127.0.0.1:{port}/ -- gw {port}").unwrap().unwrap();
        assert_eq!((one.base.len(), one.candidate), (2, None));
        assert_eq!(parsed("--help").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, said) in [
            ("", "no gateway was given"),
            ("--", "no gateway was given"),
            ("openclaw gateway", "'openclaw' is not understood"),
            ("-- gw", "say so with --health-url"),
            ("-- openclaw gateway --against -- gw", "say so with --health-url"),
            ("-- openclaw gateway --against openclaw", "behind --against there is a '--'"),
            ("-- openclaw gateway --against --", "no candidate was given"),
            ("--fail-if p99>2x -- openclaw gateway", "takes a second gateway"),
            ("--fail-if p99 -- openclaw gateway", "it has no '>'"),
            ("--runs 0 -- openclaw gateway", "a number from 1 to 99"),
            ("--duration x -- openclaw gateway", "a duration such as 2s"),
            ("--health-url", "needs a value"),
            ("--health-url https://x -- openclaw gateway", "such as http://127.0.0.1:{port}/health"),
        ] {
            let why = parsed(line).unwrap_err();
            assert!(why.contains(said) && !why.contains('\n'), "{line}: {why}");
        }
    }

    #[test]
    fn the_help_is_the_manuals() {
        help_is_the_manuals("measure", HELP, 40);
    }
}
