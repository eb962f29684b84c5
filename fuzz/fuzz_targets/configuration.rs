//! A configuration file, alone and over a preset. It is refused in one line that names its place, or it is a plan; and the
//! plan as `sexton check` prints it is a configuration file that comes to the same plan.
#![no_main]

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use nix::sys::memfd::{MFdFlags, memfd_create};
use sexton::cli::{self, Request};
use sexton::config::file::{self, Around};

thread_local! {
    static PLACE: RefCell<File> = RefCell::new(memfd_create("sexton.toml", MFdFlags::empty()).unwrap().into());
}

fuzz_target!(|bytes: &[u8]| {
    let command = [OsString::from("true")];
    for preset in [None, Some("openclaw")] {
        let around = Around { preset, command: &command, variable: &|_| None, owner: None };
        match file::File::read(Some(&written(bytes)), &around) {
            Ok(_) if preset.is_none() => round(bytes),
            Ok(_) => {}
            Err(refused) => one_line(&refused.to_string()),
        }
    }
});

fn round(bytes: &[u8]) {
    let Some(shown) = shown(bytes) else { return };
    let again = self::shown(shown.as_bytes()).expect("what check prints is understood");
    // A comment names the preset, which a file in which everything is said needs no more.
    let settings = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(settings(&shown), settings(&again), "what check prints comes to the same plan");
}

/// What `sexton check` prints, if it is a plan.
fn shown(bytes: &[u8]) -> Option<String> {
    let path = written(bytes);
    let words = ["sexton", "check", "--config", path.to_str().unwrap(), "--", "true"];
    match cli::read(&words.map(OsString::from)) {
        Ok(Request::Print(text)) => Some(text),
        Ok(other) => panic!("check only prints: {other:?}"),
        Err(usage) => {
            one_line(&usage.line());
            None
        }
    }
}

fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "not one line: {text:?}");
}

/// The name of a file with this content.
fn written(bytes: &[u8]) -> PathBuf {
    PLACE.with_borrow_mut(|place| {
        place.set_len(0).unwrap();
        place.seek(SeekFrom::Start(0)).unwrap();
        place.write_all(bytes).unwrap();
        PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()))
    })
}
