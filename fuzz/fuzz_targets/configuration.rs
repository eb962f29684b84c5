//! A configuration file, alone and over a preset. It is refused in one line that names its place, or it is a plan; and the
//! plan as `sexton check` prints it is a configuration file that comes to the same plan.
#![no_main]

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sexton::cli::{self, Request};
use sexton::config::file::{self, LoadContext};
use sexton::config::file_access::FileAccess;

/// Where the text is: in the directory that this runs in, as a name of one part is looked up in a third of the time
/// that one below /proc takes.
const PLACE: &str = "configuration.tmp";

thread_local! {
    static FILE: RefCell<File> = RefCell::new(File::create(PLACE).unwrap());
}

fuzz_target!(|bytes: &[u8]| {
    write(bytes);
    let command = [OsString::from("true")];
    let [alone, _] = [None, Some("openclaw")].map(|preset| {
        let around = LoadContext {
            preset,
            command: &command,
            variable: &|_| None,
            owner: None,
            files: &FileAccess::Direct,
            package: &|_, _, _| None,
        };
        file::File::read(Some(Path::new(PLACE)), &around)
            .inspect_err(|refused| one_line(&refused.to_string()))
    });
    // To understand the words takes several times as long as to understand the file: only for one that is a plan.
    let Some(first) = alone.ok().and_then(|_| shown()) else { return };
    write(first.as_bytes());
    let again = shown().expect("what check prints is understood");
    // A comment names the preset, which a file in which everything is said needs no more.
    let settings = |line: &&str| !line.starts_with('#');
    assert!(
        first.lines().filter(settings).eq(again.lines().filter(settings)),
        "what check prints comes to the same plan: {first}\n{again}"
    );
});

/// What `sexton check` prints of the file, if it is a plan.
fn shown() -> Option<String> {
    let words = ["sexton", "check", "--config", PLACE, "--", "true"];
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

/// Puts this into the file.
fn write(bytes: &[u8]) {
    FILE.with_borrow(|file| {
        file.write_all_at(bytes, 0).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
    });
}
