//! What a peer writes to the control socket, in pieces as they come: lines are found whatever the pieces are, every
//! one is answered in one line, and what is kept of them is bounded. The first byte says how large the pieces are and
//! who speaks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sexton::control::lines::{LONGEST, Lines};
use sexton::control::protocol::{Answer, Request, Status};
use sexton::control::registry::{Registry, Reply, Speaker};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let (size, trusted) = (usize::from(first & 0x7f) + 1, first & 0x80 != 0);
    let mut desk = Registry::default();
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(size) {
        let mut rest = piece;
        while !rest.is_empty() {
            let Ok((taken, line)) = lines.take(rest) else {
                assert!(bytes.len() > LONGEST);
                return;
            };
            assert!(taken > 0);
            rest = &rest[taken..];
            found.extend(line);
        }
    }
    let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    expected.pop();
    assert_eq!(found, expected);
    for (line, key) in found.iter().zip(0..) {
        let speaker = Speaker { key: key % 5, pid: 100, trusted };
        heard(&desk.handle_line(speaker, line, key), trusted);
        if let Ok(request) = serde_json::from_slice::<Request>(line) {
            let written = serde_json::to_vec(&request).unwrap();
            assert_eq!(
                serde_json::from_slice::<Request>(&written).unwrap(),
                request,
                "it means the same again"
            );
        }
        if key % 7 == 6 {
            let _ = desk.peer_lost(key % 5, key);
        }
    }
    let told = desk.status_text(Status::default());
    assert!(!told.contains(&b'\n'), "an answer is one line");
    let Ok(Answer::Status(status)) = serde_json::from_slice::<Answer>(&told) else {
        panic!("it is a status")
    };
    // Written anew by the types that a client reads it with, it means the same.
    let again = serde_json::to_vec(&Answer::Status(status.clone())).unwrap();
    assert_eq!(serde_json::from_slice::<Answer>(&again).unwrap(), Answer::Status(status.clone()));
    // Each of a few tools, incidents and ended runs has its bound; what one line brought is not told many times over.
    assert!(status.tools.len() <= 5 && status.ended.len() <= 64);
    for run in &status.tools {
        assert!(run.id.len() <= 128 && run.name.len() <= 128 && run.argv.len() <= 16);
    }
});

fn heard(heard: &Reply, trusted: bool) {
    let answers = match heard {
        Reply::Answer(answer) | Reply::ToolEnded(answer) | Reply::Tool(answer) => vec![answer],
        Reply::Cancel { told, answer, .. } => vec![told, answer],
        Reply::Ask(_) => vec![],
        Reply::Noted(_) | Reply::Health(..) | Reply::Greeted(_) => {
            assert!(trusted, "facts are taken from sexton-watch alone");
            vec![]
        }
    };
    for answer in answers {
        assert!(!serde_json::to_string(answer).unwrap().contains('\n'));
    }
}
