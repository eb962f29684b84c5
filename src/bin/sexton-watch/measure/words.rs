//! The command line of `sexton measure`. Pure.

use std::path::PathBuf;
use std::time::Duration;

use sexton::cli::MeasureArgs;

use super::limit::Limit;

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

impl Asked {
    /// What all of it means.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn of(args: MeasureArgs) -> Result<Asked, String> {
        let mut asked = Asked {
            runs: args.runs.into(),
            duration: args.duration,
            start_within: args.start_within,
            health_url: args.health_url,
            ready_url: args.ready_url,
            version_command: args.version_command,
            doctor_command: args.doctor_command,
            command_within: args.command_within,
            state: args.state,
            limits: args.fail_if.iter().map(|text| Limit::parse(text)).collect::<Result<_, _>>()?,
            json: args.json,
            markdown: args.markdown,
            html: args.html,
            base: Vec::new(),
            candidate: None,
        };
        asked.take(&args.commands)?;
        Ok(asked)
    }

    /// Takes the commands: `-- BASE... [--against -- CANDIDATE...]`.
    fn take(&mut self, behind: &[String]) -> Result<(), String> {
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
            return Err(
                "the health address of this gateway is not known; name it with --health-url".to_owned()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
        match sexton::cli::measure(&words) {
            Ok(args) => Asked::of(args.unwrap()),
            Err(usage) => Err(usage.line()),
        }
    }

    #[test]
    fn two_commands_are_told_apart() {
        let asked = parsed(
            "--runs 3 --fail-if=p99>1.5x -- a/openclaw gateway --against x --against -- b/openclaw gateway -- y",
        );
        let asked = asked.unwrap();
        assert_eq!((asked.runs, asked.limits.len()), (3, 1));
        assert_eq!(asked.base, ["a/openclaw", "gateway", "--against", "x"]);
        assert_eq!(asked.candidate.unwrap(), ["b/openclaw", "gateway", "--", "y"]);
        let one = parsed("--health-url http://127.0.0.1:{port}/ -- gw {port}").unwrap();
        assert_eq!((one.base.len(), one.candidate), (2, None));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, said) in [
            ("", "no gateway was given"),
            ("--", "no gateway was given"),
            ("openclaw gateway", "'openclaw' is not understood; options stand before '--'"),
            ("-- gw", "name it with --health-url"),
            ("-- openclaw gateway --against -- gw", "name it with --health-url"),
            ("-- openclaw gateway --against openclaw", "behind --against there is a '--'"),
            ("-- openclaw gateway --against --", "no candidate was given"),
            ("--fail-if p99>2x -- openclaw gateway", "takes a second gateway"),
            ("--fail-if p99 -- openclaw gateway", "it has no '>'"),
            ("--runs 0 -- openclaw gateway", "0 is not in 1..=99"),
            ("--duration x -- openclaw gateway", "a duration such as 2s"),
            ("--health-url", "a value is required for '--health-url <URL>'"),
            ("--rusn 3 -- openclaw gateway", "did you mean '--runs'?"),
            ("--health-url https://x -- openclaw gateway", "such as http://127.0.0.1:{port}/health"),
        ] {
            let why = parsed(line).unwrap_err();
            assert!(why.contains(said) && !why.contains('\n'), "{line}: {why}");
        }
    }
}
