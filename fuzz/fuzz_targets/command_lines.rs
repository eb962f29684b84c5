//! Command lines under every name that sexton answers to: its own, with its subcommands, the shell's, and those of
//! tini, dumb-init and catatonit. The first byte chooses the name, NUL bytes part the words.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use sexton::cli::{self, Request};

const NAMES: [&str; 12] = [
    "sexton",
    "tini",
    "dumb-init",
    "catatonit",
    "sexton-sh",
    "/usr/bin/tini-static",
    "sexton tool",
    "sexton locks list",
    "sexton check",
    "sexton status",
    "sexton run",
    "docker-init",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()].split(' ').map(OsString::from);
    let typed = rest.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let words: Vec<OsString> = name.chain(typed).collect();
    // A file that happens to have a name that was typed is not what this is about.
    let names_file = |word: &OsString| word.as_encoded_bytes().iter().any(|byte| matches!(byte, b'/' | b'.'));
    if words.iter().skip(1).any(names_file) {
        return;
    }
    match cli::read(&words) {
        Ok(Request::Run { plan, .. }) => {
            // The command's words are the last ones that were typed, but for the faces, whose options can follow, and
            // of which one runs nothing if it is asked to.
            if words[0] == "sexton" {
                assert!(
                    plan.command.first().is_some_and(|name| !name.is_empty()),
                    "there is something to run"
                );
                let given: Vec<&[u8]> = plan.command.iter().map(|word| word.as_bytes()).collect();
                let typed: Vec<&[u8]> = words.iter().map(|word| word.as_encoded_bytes()).collect();
                assert!(typed.ends_with(&given), "the command is what was typed: {given:?}");
            }
        }
        Ok(Request::Tool { tool, .. }) => assert!(!tool.plan.command.is_empty()),
        Ok(Request::Exec(command)) => assert!(!command.is_empty()),
        Ok(Request::UsageError { text, .. } | Request::Print(text)) => assert!(!text.is_empty()),
        Ok(Request::ExecWatch(given)) => {
            assert!(!given.is_empty() && given.iter().all(|word| words.contains(word)))
        }
        Ok(Request::Locks { .. } | Request::Install(_) | Request::Control(_)) => {}
        Err(usage) => {
            let text = usage.line();
            assert!(!text.is_empty() && !text.contains('\n'), "not one line: {text:?}");
        }
    }
});
