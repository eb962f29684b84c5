//! A log file that is written to, emptied and written anew between the looks of sexton-watch, beside a plain model:
//! every line comes once, as it was written. A byte below 8 cuts the input into what is written before each look: 0
//! empties the file first, the others only look. A real file is looked at if the first byte is 0, which takes a hundred
//! times as long.
#![no_main]

#[path = "../../src/bin/sexton-watch/watch/follow.rs"]
#[allow(dead_code)]
mod follow;

#[path = "../../src/bin/sexton-watch/watch/line_splitter.rs"]
mod line_splitter;

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use follow::Follower;
use libfuzzer_sys::fuzz_target;
use line_splitter::{Cutter, LINE};
use sexton::types::MonoTime;

/// The log: in the directory that this runs in, as a pattern costs a look or two for each part of it, and those below
/// /proc cost most.
const PLACE: &str = "log_lines.tmp";

thread_local! {
    static LOG: RefCell<File> = RefCell::new(File::create(PLACE).unwrap());
}

fuzz_target!(|bytes: &[u8]| {
    pieces(bytes);
    if let Some((0, bytes)) = bytes.split_first() {
        LOG.with_borrow_mut(|log| looks(log, bytes));
    }
});

/// What comes in pieces, and from the middle of a line on.
fn pieces(bytes: &[u8]) {
    let lines = |mut cutter: Cutter, pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut lines = Vec::new();
        pieces.for_each(|piece| {
            cutter.cut(piece, &mut |line| {
                lines.push(line.to_vec());
                false
            })
        });
        lines
    };
    let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    expected.pop();
    let cut = lines(Cutter::default(), &mut bytes.split_inclusive(|byte| *byte < 8));
    assert_eq!(cut, expected);
    let cut = lines(Cutter::in_the_middle(), &mut bytes.chunks(3));
    assert_eq!(cut, expected.get(1..).unwrap_or_default());
}

fn looks(log: &mut File, bytes: &[u8]) {
    log.set_len(0).unwrap();
    log.seek(SeekFrom::Start(0)).unwrap();
    let mut follower = Follower::new(&[PLACE.to_owned()]).unwrap();
    follower.look(MonoTime::default(), &mut |line| panic!("an empty file has no line: {line:?}"));
    let mut open = Vec::new();
    let mut written = 0;
    for (round, piece) in bytes.split_inclusive(|byte| *byte < 8).take(8).enumerate() {
        let (text, empties) = match piece.split_last() {
            Some((0, text)) => (text, true),
            Some((1..8, text)) => (text, false),
            _ => (piece, false),
        };
        // A file that is emptied and grows past where it was looks like one that was written to; that cannot be told
        // by looking at it.
        if empties && text.len() < written {
            log.set_len(0).unwrap();
            log.seek(SeekFrom::Start(0)).unwrap();
            open.clear();
            written = 0;
        }
        log.write_all(text).unwrap();
        written += text.len();
        open.extend_from_slice(text);
        let mut lines: Vec<Vec<u8>> = open.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        open = lines.pop().unwrap_or_default();
        if open.len() > LINE || lines.iter().any(|line| line.len() > LINE) {
            return;
        }
        let mut seen = Vec::new();
        let now = MonoTime(Duration::from_secs(round as u64 + 1));
        follower.look(now, &mut |line| {
            seen.push(line.to_vec());
            false
        });
        assert_eq!(seen, lines, "in round {round}");
    }
}
