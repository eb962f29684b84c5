//! Bytes that claim to be a lock. An owner may come out only of bytes that a writer wrote as a whole: a torn lock
//! that reads as somebody else's condemns the wrong one.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sexton::locks::format::{Content, Format, Keys};
use sexton::types::Pid;

static FORMATS: LazyLock<[Format; 8]> = LazyLock::new(|| {
    let keys = Keys {
        pid: "owner.pid".to_owned(),
        started: Some("owner.started".to_owned()),
        host: Some("host".to_owned()),
        boot: Some("boot".to_owned()),
    };
    let json = Format::Json(Box::new(keys));
    [Format::JsonOwner, json, Format::PidAndTime, Format::Pid, Format::FirstLine, Format::HostAndPid, Format::UserHostPid, Format::Empty]
});

fuzz_target!(|bytes: &[u8]| {
    for format in FORMATS.iter() {
        let record = format.read(bytes);
        assert_eq!(record, format.read(bytes), "the same bytes are the same lock");
        assert_eq!(bytes.is_empty(), record.content == Content::Empty);
        if let Some(owner) = record.content.owner() {
            check(format, bytes, owner.pid);
        }
    }
});

fn check(format: &Format, bytes: &[u8], pid: Pid) {
    assert!(pid.raw() > 0);
    let digits = pid.to_string();
    match format {
        Format::JsonOwner | Format::Json(_) => {
            // Somebody else's reader finds the same pid.
            let path = if *format == Format::JsonOwner { "/pid" } else { "/owner/pid" };
            match serde_json::from_slice::<serde_json::Value>(bytes) {
                Ok(value) => {
                    let found = value.pointer(path).and_then(serde_json::Value::as_i64);
                    assert_eq!(found, Some(i64::from(pid.raw())));
                }
                // A field that nobody asks for may hold a number or half a character that no Rust value can be.
                Err(_) => {}
            }
            // Without its last brace it is torn.
            let whole = bytes.trim_ascii_end();
            for end in (0..whole.len()).rev().take(8) {
                assert_eq!(format.read(&whole[..end]).content.owner(), None, "torn at {end}");
            }
        }
        Format::PidAndTime | Format::Pid => {
            let text = bytes.trim_ascii().split(|byte| *byte == b':').next().unwrap_or_default();
            let text = text.iter().position(|byte| *byte != b'0').map_or(&[][..], |start| &text[start..]);
            assert_eq!(text, digits.as_bytes());
        }
        Format::FirstLine => {
            let end = bytes.iter().position(|byte| *byte == b'\n').expect("a line has an end");
            let text = bytes[..end].trim_ascii();
            let text = text.iter().position(|byte| *byte != b'0').map_or(&[][..], |start| &text[start..]);
            assert_eq!(text, digits.as_bytes());
            assert_eq!(format.read(&bytes[..end]).content.owner(), None, "torn");
        }
        Format::HostAndPid => assert!(bytes.ends_with(digits.as_bytes())),
        Format::UserHostPid => {
            let before = bytes.splitn(2, |byte| *byte == b':').next().unwrap_or_default();
            let last = bytes.rsplitn(2, |byte| *byte == b':').last().unwrap_or_default();
            assert!(before.ends_with(digits.as_bytes()) || last.ends_with(digits.as_bytes()));
        }
        Format::Empty => panic!("it names nobody"),
    }
}
