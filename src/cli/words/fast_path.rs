//! The command line and the environment, read by the table of settings alone.
//!
//! Whatever is not plain is left to clap: a word that is not known, a value that is wrong or begins with a dash, an
//! option that is given twice, letters with their values joined. Nothing is decided here that clap would decide
//! otherwise; a test compares the two.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::config::setting::{Setting, Table};
use crate::config::value::Form;

/// What the options say, and the command behind them. `None` if that is for clap to find out.
pub(super) fn command_line<G: Table>(words: &[OsString]) -> Option<(G, &[OsString])> {
    let mut given = G::default();
    let mut rest = words.get(1..)?;
    while let Some((word, behind)) = rest.split_first() {
        match word.as_bytes() {
            b"--" => return Some((given, behind)),
            [b'-', b'-', long @ ..] => {
                let end = long.iter().position(|byte| *byte == b'=');
                let (name, value) = match end {
                    Some(end) => (long.get(..end)?, long.get(end + 1..).map(OsStr::from_bytes)),
                    None => (long, None),
                };
                rest = take(&mut given, G::by_option(OsStr::from_bytes(name))?, value, behind)?;
            }
            [b'-', letter] => rest = take(&mut given, G::by_letter(*letter)?, None, behind)?,
            [b'-', letters @ ..] if !letters.is_empty() => {
                for letter in letters {
                    let setting = G::by_letter(*letter).filter(|setting| has_no_value(setting))?;
                    take(&mut given, setting, None, &[])?;
                }
                rest = behind;
            }
            [b'-'] => return None,
            _ => return Some((given, rest)),
        }
    }
    Some((given, &[]))
}

/// What the variables say that stand for an option. `None` if that is for clap to find out.
pub(super) fn environment<G: Table>(variables: &[(OsString, OsString)]) -> Option<G> {
    let mut given = G::default();
    for (name, value) in variables {
        if let Some(setting) = G::by_variable(name) {
            add(&mut given, setting, value)?;
        }
    }
    Some(given)
}

fn has_no_value<G: Table>(setting: &Setting<G>) -> bool {
    matches!(setting.form, Form::Flag | Form::Count)
}

/// Takes an option with the value that is joined to it, or stands behind it. What is behind both.
fn take<'a, G: Table>(
    given: &mut G,
    setting: &Setting<G>,
    joined: Option<&OsStr>,
    behind: &'a [OsString],
) -> Option<&'a [OsString]> {
    let repeatable = matches!(setting.form, Form::Count | Form::List | Form::Paths);
    if (setting.is_given)(given) && !repeatable {
        return None;
    }
    if has_no_value(setting) {
        add(given, setting, OsStr::new("true"))?;
        return joined.is_none().then_some(behind);
    }
    if let Some(value) = joined {
        add(given, setting, value)?;
        return Some(behind);
    }
    let (value, behind) = behind.split_first()?;
    if value.as_bytes().starts_with(b"-") {
        return None;
    }
    add(given, setting, value)?;
    Some(behind)
}

fn add<G: Table>(given: &mut G, setting: &Setting<G>, value: &OsStr) -> Option<()> {
    // Of some, clap says that nothing is no value.
    if value.is_empty() {
        return None;
    }
    match setting.form {
        Form::List => {
            let parts = value.as_bytes().split(|byte| *byte == b',');
            parts.into_iter().try_for_each(|part| (setting.add)(given, OsStr::from_bytes(part)).ok())
        }
        _ => (setting.add)(given, value).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::super::Words;
    use super::*;
    use crate::cli::{args, tool};
    use crate::config::settings::Given;
    use crate::config::tool::GivenTool;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    /// What clap makes of the words, without any variable.
    fn by_clap<G: Table>(command: fn() -> clap::Command, words: &[OsString]) -> Option<(G, Vec<OsString>)> {
        let read = Words::parse_with_clap(command(), words, &|_| true).ok()?;
        Some((read.line, read.command))
    }

    fn here<G: Table>(words: &[OsString]) -> Option<(G, Vec<OsString>)> {
        command_line(words).map(|(given, command)| (given, command.to_vec()))
    }

    #[test]
    fn a_plain_command_line_means_the_same_without_clap() {
        for line in [
            "sexton -- a",
            "sexton a",
            "sexton -- -x",
            "sexton a -- -x --grace 5s -v",
            "sexton -- -- a",
            "sexton -- a --",
            "sexton locks --json",
            "sexton tool -- a",
            "sexton",
            "sexton --",
            "sexton -v a",
            "sexton -vvgws -e 3 -p TERM -- a",
            "sexton --grace=1s --kill-after 2s -- a",
            "sexton --rewrite=TERM:INT,HUP:0 --rewrite USR1:USR2 a",
            "sexton --delay TERM=1s --stop-signal INT --stop-sequence TERM:1s,KILL a",
            "sexton --wait all --no-locks --lock-root /a --lock-root=/b,c --sweep-timeout 1s a",
            "sexton --lock-action hand-over --start-window 1m --lock-report-after 1h a",
            "sexton --config f --preset openclaw --tool-shell --control off --log info --log-format json a",
            "sexton --control= a",
        ] {
            let words = words(line);
            if let Some(here) = here::<Given>(&words) {
                assert_eq!(by_clap(args::command, &words), Some(here), "{line}");
            } else {
                assert!(line.ends_with("--control= a"), "{line} is understood without clap");
            }
        }
        for line in [
            "sexton tool a",
            "sexton tool --timeout 2s --grace=1s --name n --record 3 --wait all -vv -- a --name m",
            "sexton tool --timeout 0s --record=./3 --wait leader a",
        ] {
            let words: Vec<_> = words(line).split_off(1);
            let here = here::<GivenTool>(&words);
            assert!(here.is_some(), "{line}");
            assert_eq!(by_clap(tool::command, &words), here, "{line}");
        }
    }

    #[test]
    fn what_is_not_plain_is_for_clap() {
        for line in [
            "sexton - a",
            "sexton --help",
            "sexton -h",
            "sexton --version",
            "sexton --frobnicate a",
            "sexton --grac 5s a",
            "sexton --grace 5 a",
            "sexton --grace",
            "sexton --grace -- a",
            "sexton --grace 1s --grace 2s a",
            "sexton -gg a",
            "sexton --group=yes a",
            "sexton -e3 a",
            "sexton -ve 3 a",
            "sexton -e 256 a",
            "sexton -e 1, a",
            "sexton --lock-root= a",
        ] {
            assert_eq!(here::<Given>(&words(line)), None, "{line}");
        }
    }

    proptest! {
        /// Whatever is typed: what is understood here, clap understands as well, and in the same way.
        #[test]
        fn clap_agrees(line in prop::collection::vec(
            prop_oneof![
                8 => prop::sample::select(
                    Given::SETTINGS.iter().map(|setting| setting.definition.long)
                        .chain(GivenTool::SETTINGS.iter().map(|setting| setting.definition.long))
                        .map(|long| format!("--{long}")).collect::<Vec<_>>()
                ),
                4 => prop::sample::select(vec!["-v", "-g", "-w", "-s", "-e", "-p", "-gv", "-ev", "--", "-", "--x", "-h"])
                    .prop_map(str::to_owned),
                12 => prop::sample::select(vec![
                    "5s", "1m", "TERM", "INT", "9", "300", "TERM:INT", "HUP:0", "TERM=1s", "TERM:1s,KILL", "all", "json",
                    "remove", "openclaw", "/a", "a,b", "", "off", "info", "true", "=", "-5s",
                ]).prop_map(str::to_owned),
            ],
            0..8,
        ), joints in prop::collection::vec(any::<bool>(), 8)) {
            let mut words = vec![OsString::from("sexton")];
            for (word, joint) in line.iter().zip(joints) {
                match words.last_mut() {
                    Some(last) if joint && last.as_bytes().starts_with(b"--") && last.len() > 2 => {
                        last.push("=");
                        last.push(word);
                    }
                    _ => words.push(word.into()),
                }
            }
            if let Some(here) = here::<Given>(&words) {
                prop_assert_eq!(by_clap(args::command, &words), Some(here), "{:?}", words);
            }
            if let Some(here) = here::<GivenTool>(&words) {
                prop_assert_eq!(by_clap(tool::command, &words), Some(here), "{:?}", words);
            }
        }
    }

    #[test]
    fn a_variable_means_the_same_as_clap_has_it() {
        let given = |name: &str, value: &str| environment::<Given>(&[(name.into(), value.into())]);
        for no in ["n", "NO", "f", "False", "off", "0"] {
            assert_eq!(given("SEXTON_GROUP", no).unwrap().group, Some(false), "{no}");
        }
        assert_eq!(given("SEXTON_GROUP", "x").unwrap().group, Some(true));
        assert_eq!(given("SEXTON_REMAP_EXIT", "1,2").unwrap().remap_exit, Some(vec![1, 2]));
        assert_eq!(given("SEXTON_SOCKET", "x"), Some(Given::default()), "it stands for no option");
        for (name, value) in [("SEXTON_GRACE", "soon"), ("SEXTON_GROUP", ""), ("SEXTON_CONFIG", "")] {
            assert_eq!(given(name, value), None, "{name}={value} is for clap");
        }
        let letters = OsString::from_vec(b"x\xff".to_vec());
        assert_eq!(environment::<Given>(&[("SEXTON_GROUP".into(), letters)]), None, "and letters of no text");
    }
}
