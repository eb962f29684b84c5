//! The socket between sexton and sexton-watch.

use std::process::Command;
use std::time::Duration;

use sexton::config::watch_settings::WatchSettings;
use sexton::control::protocol::{Request, WatchReport};

use crate::common::wait_until;
use crate::fake::{Watched, running};

#[test]
fn it_says_who_it_is_and_goes_with_sexton() {
    let mut watched = Watched::start(WatchSettings::default());
    let version = watched.wait_for("hello", |fact| match fact {
        WatchReport::Hello { version, .. } => Some(version.clone()),
        _ => None,
    });
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert_eq!(watched.hang_up().code(), Some(0));
    assert!(!watched.stderr().contains("WARN"), "{}", watched.stderr());
}

#[test]
fn sexton_may_be_gone_before_it_has_said_anything() {
    assert_eq!(Watched::silent().hang_up().code(), Some(0));
}

#[test]
fn packets_that_make_no_sense_do_not_kill_it() {
    let mut watched = Watched::silent();
    for nonsense in [&b""[..], b"{", b"\xff\xfe", b"null", b"{\"no-such\":1}", b"[[[[[[", &[b'['; 100_000]] {
        watched.send(nonsense);
    }
    watched.send(b"{\"settings\":{\"settings\":{\"health\":7}}}");
    watched.brief(WatchSettings::default(), Some(running(1)));
    watched.wait_for("hello", |fact| matches!(fact, WatchReport::Hello { .. }).then_some(()));
    watched.send(b"{\"gateway\":{\"state\":\"dancing\"}}");
    assert!(watched.hear_for(Duration::from_millis(200)).iter().all(|said| !matches!(said, Request::Stop)));
    assert_eq!(watched.child.try_wait().unwrap(), None);
    wait_until("it has complained", || watched.stderr().matches("packet-malformed").count() == 9);
}

#[test]
fn it_says_what_is_wrong_with_its_start() {
    for (variables, arguments, said) in [
        (vec![], vec![], "sexton-watch: sexton starts it, and it is of no use alone\n"),
        (
            vec![("SEXTON_WATCH_FD", "x")],
            vec![],
            "sexton-watch: SEXTON_WATCH_FD=x is not the socket to sexton: invalid digit found in string\n",
        ),
        (
            vec![("SEXTON_WATCH_FD", "77")],
            vec![],
            "sexton-watch: SEXTON_WATCH_FD=77 is not the socket to sexton: Bad file descriptor (os error 9)\n",
        ),
        (vec![], vec!["run"], "sexton-watch: it takes no argument, and was given 'run'\n"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sexton-watch"));
        command.env_remove("SEXTON_WATCH_FD").args(arguments).envs(variables);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
        assert_eq!(output.status.code(), Some(125));
    }
}
