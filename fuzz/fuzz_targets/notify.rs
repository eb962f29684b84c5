//! A datagram that the gateway sends to whoever it takes for its service manager (sd_notify(3)).
#![no_main]

use libfuzzer_sys::fuzz_target;
use sexton::supervisor::NotifyMessage;
use sexton::supervisor::notify_message::{self, Heard, LONGEST_TEXT};

fuzz_target!(|bytes: &[u8]| {
    let Heard { notices, own, store } = notify_message::read(bytes, true);
    assert!(notices.len() <= bytes.split(|byte| *byte == b'\n').count(), "one notice a line");
    let says = |line: &[u8]| bytes.split(|byte| *byte == b'\n').any(|other| other == line);
    assert_eq!(notices.contains(&NotifyMessage::Ready), says(b"READY=1"));
    assert_eq!(notices.contains(&NotifyMessage::Watchdog), says(b"WATCHDOG=1"));
    assert_eq!(notices.contains(&NotifyMessage::Reloading), says(b"RELOADING=1"));
    assert_eq!(notices.contains(&NotifyMessage::Status), own.is_some());
    let keeps = |line: &[u8]| line == b"FDSTORE=1" || line == b"FDSTOREREMOVE=1";
    assert_eq!(store.is_some(), bytes.split(|byte| *byte == b'\n').any(keeps));
    if let Some(own) = own {
        // It goes into one line of a message of ours, to a manager that believes us.
        assert!(own.len() <= LONGEST_TEXT && !own.chars().any(char::is_control));
    }
});
