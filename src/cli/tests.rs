//! Command lines and what they mean.

use std::time::Duration;

use super::*;
use crate::config::Task;
use crate::locks::listing::VerdictName;

fn read_words(line: &str) -> Result<Request, Usage> {
    let words = ["sexton"].into_iter().chain(line.split_ascii_whitespace());
    read(&words.map(OsString::from).collect::<Vec<_>>())
}

fn plan(line: &str) -> Plan {
    match read_words(line) {
        Ok(Request::Run { plan, .. }) => Rc::unwrap_or_clone(plan),
        other => panic!("{line}: {other:?}"),
    }
}

fn command(line: &str) -> Vec<String> {
    plan(line).command.iter().map(|word| word.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_control_socket_has_room_for_the_directory_that_it_is_in() {
    let name = "s".repeat(107);
    let refused = read_words(&format!("--control {name} true")).unwrap_err().line();
    assert!(refused.contains("at most 107 bytes") && refused.contains("--control"), "{refused}");
    assert!(read_words(&format!("--control /{} true", "s".repeat(106))).is_ok());
    assert!(read_words("--control s true").is_ok());
}

#[test]
fn options_end_at_the_command() {
    assert_eq!(command("-g -- ls -l"), ["ls", "-l"]);
    assert_eq!(command("-g ls -l --grace"), ["ls", "-l", "--grace"]);
    assert_eq!(command("ls -- -l"), ["ls", "--", "-l"]);
    assert_eq!(command("-- -odd"), ["-odd"]);
    assert_eq!(command("-sgvvw -e 143 -- a"), ["a"]);
}

#[test]
fn every_option_has_a_variable_for_images_whose_command_line_stays() {
    let options = args::command();
    let without = options.get_arguments().filter(|option| option.get_env().is_none());
    let names: Vec<&str> = without.map(|option| option.get_id().as_str()).collect();
    // SEXTON_LOCK_ROOTS lists several, and SEXTON_LOG says what -v counts; -s changes nothing.
    assert_eq!(names, ["command", "lock_root", "verbose", "subreaper", "help", "version"]);
}

#[test]
fn windows_are_durations() {
    let plan = plan("--grace 1m --kill-after=500ms a");
    assert_eq!(
        (plan.settings.grace, plan.settings.kill_after),
        (Duration::from_secs(60), Duration::from_millis(500))
    );
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    for (line, said) in [
        ("--frobnicate a", "--frobnicate"),
        ("--gracee 3s a", "--grace"),
        ("--grace 3 a", "3"),
        ("--grace soon a", "soon"),
        ("-e 256 a", "256"),
        ("-p NOPE a", "NOPE"),
        ("", "no command"),
        ("--", "no command"),
    ] {
        let error = read_words(line).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
        assert!(!error.contains('\n'), "{line}: {error}");
    }
}

#[test]
fn the_help_fits_a_screen_and_starts_with_the_three_uses() {
    let Ok(Request::Print(help)) = read_words("--help") else { panic!() };
    assert!(help.lines().count() <= 40, "{help}");
    assert!(help.lines().all(|line| line.len() <= 80), "{help}");
    let order = ["ENTRYPOINT", "ExecStart", "npm run dev", "--grace"];
    let places: Vec<usize> = order.iter().map(|word| help.find(word).unwrap()).collect();
    assert!(places.is_sorted(), "{help}");
}

#[test]
fn a_help_shows_the_defaults_for_which_there_is_room() {
    for (line, shown, hidden) in
        [("--help", "[default: 30s]", "[default: main]"), ("tool --help", "leader]", "[default: 0s]")]
    {
        let Ok(Request::Print(help)) = read_words(line) else { panic!() };
        assert!(help.contains(shown) && !help.contains(hidden), "{help}");
    }
}

#[test]
fn locks_is_a_subcommand_only_where_it_cannot_be_a_program() {
    for line in ["locks", "-v locks --json", "locks sweep --dry-run", "--grace 3s locks --root /a"] {
        assert!(matches!(read_words(line), Ok(Request::Locks { .. })), "{line}");
    }
    for line in ["-- locks", "-v -- locks sweep", "/bin/locks", "locksmith", "echo locks"] {
        assert!(matches!(read_words(line), Ok(Request::Run { .. })), "{line}");
    }
    assert_eq!(command("-- locks sweep"), ["locks", "sweep"]);
    let task = |line: &str| match read_words(line) {
        Ok(Request::Locks { plan, .. }) => plan.task,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(task("locks"), Task::List(vec![]));
    assert_eq!(
        task("locks --verdict held --verdict not-judged"),
        Task::List(vec![VerdictName::Held, VerdictName::NotJudged])
    );
    assert_eq!(task("locks sweep --dry-run"), Task::DryRun);
    assert_eq!(task("locks sweep"), Task::Sweep);
    assert_eq!(task("locks --explain /a/b"), Task::Explain("/a/b".into()));
    for line in ["locks swep", "locks --dry-run", "locks --verdict dead", "locks sweep --explain /a"] {
        let error = read_words(line).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{line}: {error}");
    }
    let Ok(Request::Print(help)) = read_words("locks --help") else { panic!() };
    assert!(help.contains("--explain") && help.lines().all(|line| line.len() <= 80), "{help}");
}

#[test]
fn a_mistyped_word_is_compared_with_every_subcommand() {
    let tree = super::command();
    let mut names: Vec<&str> = tree.get_subcommands().map(clap::Command::get_name).collect();
    names.sort_unstable();
    assert_eq!(names, crate::report::messages::SUBCOMMANDS);
}

#[test]
fn a_tools_log_lines_can_be_asked_for_on_both_sides_and_its_options_stand_behind() {
    let level = |line: &str| match read_words(line) {
        Ok(Request::Tool { tool, level, .. }) => (tool.name, level, tool.verbose),
        other => panic!("{line}: {other:?}"),
    };
    for (line, expected) in [
        ("tool true", (LevelFilter::ERROR, false)),
        ("-v tool true", (LevelFilter::INFO, true)),
        ("-v tool -v -- true", (LevelFilter::DEBUG, true)),
        ("tool -vv --timeout 1s true", (LevelFilter::DEBUG, true)),
    ] {
        assert_eq!(level(line), ("true".to_owned(), expected.0, expected.1), "{line}");
    }
    for (line, flag) in [("--grace 1s tool true", "--grace"), ("-v --control off tool true", "--control")] {
        let error = read_words(line).unwrap_err().to_string();
        assert!(error.starts_with(flag) && error.contains("behind") && !error.contains('\n'), "{error}");
    }
    assert_eq!(command("-- tool true"), ["tool", "true"]);
    let Ok(Request::Print(help)) = read_words("tool --help") else { panic!() };
    assert!(help.lines().count() <= 40 && help.lines().all(|line| line.len() <= 80), "{help}");
    let order = ["$ sexton tool", "Usage:", "--timeout <D>", "Exit code"];
    let places: Vec<usize> = order.iter().map(|word| help.find(word).unwrap()).collect();
    assert!(places.is_sorted(), "{help}");
}

#[test]
fn sexton_watch_is_told_of_the_operators_own_kinds_of_locks() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sexton.toml");
    let text = "[locks]\nheld_too_long = 'report'\n[[locks.rule]]\nname = 'worker'\npath = 'w/*.lock'\nformat = 'pid'\n";
    std::fs::write(&file, text).unwrap();
    let plan = plan(&format!("--config {} a", file.display()));
    let rules = plan.watching.unwrap().locks.unwrap().rules;
    assert_eq!(
        (rules.len(), rules[0].path.as_str(), rules[0].name.as_deref()),
        (1, "w/*.lock", Some("worker"))
    );
    assert_eq!(plan.locks.unwrap().rules, rules, "as sexton itself knows them");
}
