//! Command lines of the faces and what they mean.

use super::*;
use crate::config::value::Rewrite;
use crate::types::Signal;

fn ask(line: &str) -> Request {
    let words: Vec<OsString> = line.split_ascii_whitespace().map(OsString::from).collect();
    read(detect(words.first()), &words)
}

fn plan(line: &str) -> Plan {
    match ask(line) {
        Request::Run { plan, .. } => Rc::unwrap_or_clone(plan),
        other => panic!("{line}: {other:?}"),
    }
}

fn command(line: &str) -> String {
    plan(line).command.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

fn refused(line: &str) -> String {
    match ask(line) {
        Request::UsageError { text, code: 1 } => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_name_decides() {
    for (name, dressed) in [
        ("tini", CompatMode::Tini),
        ("/usr/bin/tini-static", CompatMode::Tini),
        ("/sbin/docker-init", CompatMode::Tini),
        ("./dumb-init", CompatMode::DumbInit),
        ("catatonit", CompatMode::Catatonit),
        ("sexton", CompatMode::Native),
        ("/tini/sexton", CompatMode::Native),
    ] {
        assert_eq!(detect(Some(&name.into())), dressed, "{name}");
    }
}

#[test]
fn options_are_picked_out_as_the_c_library_does() {
    assert_eq!(command("tini -s -- sh -c true"), "sh -c true");
    assert_eq!(command("tini echo -- a -- b"), "echo a -- b");
    assert!(plan("tini echo -g").settings.group);
    assert_eq!(command("tini sh -c exit"), "sh -c exit", "what tini would refuse ends at the command");
    assert_eq!(command("dumb-init echo -v -- x"), "echo -v -- x");
    assert_eq!(command("catatonit -g -- echo -g"), "echo -g");
    assert!(refused("tini -x true").contains("invalid option -- 'x'"));
    assert!(refused("dumb-init --ver").contains("ambiguous"));
    assert!(refused("dumb-init --verbose=1 a").contains("doesn't allow an argument"));
    assert!(refused("tini -p").contains("requires an argument -- 'p'"));
}

#[test]
fn values_are_checked_as_there() {
    assert_eq!(plan("tini -e3 -e 143 -e 0 a").settings.remap_exit, [3, 143, 0]);
    for line in [
        "tini -e 256 a",
        "tini -e -1 a",
        "tini -e 0x10 a",
        "tini -e + a",
        "tini -p KILL a",
        "tini -p 9 a",
        "tini -p SIG9 a",
    ] {
        assert!(refused(line).contains("Not a valid option for -"), "{line}");
    }
    assert_eq!(plan("tini -p SIGKILL a").settings.parent_death, Some(Signal::KILL));
    for bad in ["15", "15:99", "TERM:INT", "15:", ":3", "0:3", "15:32", "15:-1", "34:3"] {
        assert!(refused(&format!("dumb-init -r {bad} a")).contains("-r option takes"), "{bad}");
    }
    assert_eq!(
        plan("dumb-init -c -r 15:3x --rewrite=2:0 a").settings.rewrite,
        [Rewrite(Signal::TERM, Some(Signal::QUIT)), Rewrite(Signal::INT, None)]
    );
}

#[test]
fn each_face_has_its_manners() {
    assert!(!plan("tini a").settings.group && !plan("tini a").session);
    let setsid = plan("dumb-init a");
    assert!(setsid.settings.group && setsid.session);
    let single = plan("dumb-init -c a");
    assert!(!single.settings.group && !single.session && single.settings.rewrite.is_empty());
    assert!(plan("catatonit -P").command.is_empty());
    assert!(plan("catatonit -P a").command.is_empty());
    for line in ["tini a", "dumb-init a", "catatonit a"] {
        assert_eq!(
            plan(line).settings.stop_signals,
            StopSignals::These(SignalSet::default()),
            "{line}: they bound no stop"
        );
    }
}
