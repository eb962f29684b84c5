//! Words of a command line, as `doctor` and `measure` read theirs. Pure.

use std::time::Duration;

/// A word, and the value that is joined to it: `--deadline=2s` is `--deadline` and `2s`.
pub fn split(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)))
}

/// The duration that the option `name` was given, which is more than nothing.
///
/// # Errors
/// One line that names the option and says what it takes.
pub fn time(name: &str, text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time > Duration::ZERO => Ok(time),
        _ => Err(format!("{name} takes a duration such as 2s or 5m, and not '{text}'")),
    }
}

#[cfg(test)]
pub mod tests {
    use std::ffi::OsString;

    use super::*;

    /// A line as the words that a shell makes of it.
    pub fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    /// That the help of a subcommand has the options that its manual page has, and fits a screen.
    #[track_caller]
    pub fn help_is_the_manuals(subcommand: &str, help: &str, most_lines: usize) {
        let all = sexton::cli::command();
        let command = all.find_subcommand(subcommand).unwrap();
        let options: Vec<&str> = command.get_arguments().filter_map(|option| option.get_long()).collect();
        for option in &options {
            assert!(help.contains(&format!("--{option}")), "--{option} is not in the help");
        }
        let begun: Vec<&str> = help.lines().filter_map(|line| line.trim_start().strip_prefix("--")).collect();
        for word in begun.iter().flat_map(|line| line.split(['-', ' ', ',']).next()) {
            assert!(options.iter().any(|option| option.starts_with(word)), "--{word} is not in the manual");
        }
        assert!(help.lines().count() <= most_lines);
        assert!(help.lines().all(|line| line.len() <= 80), "{:?}", help.lines().find(|line| line.len() > 80));
    }

    #[test]
    fn a_value_may_be_joined_to_its_option() {
        assert_eq!(split("--deadline=2s=x"), ("--deadline", Some("2s=x")));
        assert_eq!(split("--deadline="), ("--deadline", Some("")));
        assert_eq!(split("--json"), ("--json", None));
    }

    #[test]
    fn a_time_is_more_than_nothing() {
        assert_eq!(time("--x", "1m 30s"), Ok(Duration::from_secs(90)));
        for text in ["", "soon", "0s", "-1s", "5"] {
            let why = time("--x", text).unwrap_err();
            assert_eq!(why, format!("--x takes a duration such as 2s or 5m, and not '{text}'"));
        }
    }
}
