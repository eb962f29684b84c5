//! Parses what a gateway sends to its service manager, as it believes (sd_notify(3)): the bytes of one datagram go in,
//! the parts that matter come out.

use std::time::Duration;

use super::NotifyMessage;

/// The most of a gateway's own text that is passed on, in bytes.
pub const LONGEST_TEXT: usize = 512;

/// What of a message is the gateway's to say.
#[derive(Debug, Default)]
pub struct Heard {
    /// What the supervisor is to know.
    pub notices: Vec<NotifyMessage>,
    /// Its own text, if there is a new one.
    pub own: Option<String>,
    /// What is passed on as it is, with the descriptors that came with it: to keep these, or to forget some.
    pub store: Option<String>,
}

/// Reads one, with which `descriptors` came or not. `MAINPID` and the like are not the gateway's to say: the main
/// process is sexton.
#[must_use]
pub fn read(message: &[u8], descriptors: bool) -> Heard {
    let (mut notices, mut own) = (Vec::new(), None);
    let (mut store, mut stores) = (String::new(), false);
    for line in message.split(|byte| *byte == b'\n') {
        let Some((name, value)) = str::from_utf8(line).ok().and_then(|line| line.split_once('=')) else {
            continue;
        };
        match (name, value) {
            ("READY", "1") => notices.push(NotifyMessage::Ready),
            ("RELOADING", "1") => notices.push(NotifyMessage::Reloading),
            ("WATCHDOG", "1") => notices.push(NotifyMessage::Watchdog),
            ("EXTEND_TIMEOUT_USEC", time) => {
                notices
                    .extend(time.parse().ok().map(|time| NotifyMessage::Extend(Duration::from_micros(time))));
            }
            ("FDSTORE" | "FDSTOREREMOVE", "1") | ("FDNAME" | "FDPOLL", _) => {
                stores |= name == "FDSTOREREMOVE" || (descriptors && name == "FDSTORE");
                store.push_str(name);
                store.push('=');
                store.push_str(value);
                store.push('\n');
            }
            ("STATUS", text) => {
                // Before the others, which may be the occasion to pass it on.
                notices.insert(0, NotifyMessage::Status);
                own = Some(printable(text));
            }
            _ => {}
        }
    }
    Heard { notices, own, store: stores.then_some(store) }
}

/// At most [`LONGEST_TEXT`] bytes of it, without control characters.
fn printable(text: &str) -> String {
    let mut short = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if short.len() + character.len_utf8() > LONGEST_TEXT {
            break;
        }
        short.push(character);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_says_what_is_its_to_say_and_nothing_else() {
        let message = b"READY=1\nMAINPID=1\nFDSTORE=1\nSTATUS=at \x1b[1mwork\nWATCHDOG=1\nWATCHDOG=trigger\n\
            EXTEND_TIMEOUT_USEC=2000000\nEXTEND_TIMEOUT_USEC=x\nRELOADING=1\nERRNO=2\nBUSERROR=x\nREADY=0\n\xff=1";
        let Heard { notices, own, store } = read(message, false);
        assert_eq!(store, None, "no descriptor came with it");
        let two = Duration::from_secs(2);
        let expected = [
            NotifyMessage::Status,
            NotifyMessage::Ready,
            NotifyMessage::Watchdog,
            NotifyMessage::Extend(two),
            NotifyMessage::Reloading,
        ];
        assert_eq!(notices, expected);
        assert_eq!(own.as_deref(), Some("at [1mwork"));
    }

    #[test]
    fn descriptors_are_kept_under_their_names() {
        let store = |message: &[u8]| read(message, true).store;
        let message = b"FDSTORE=1\nFDNAME=listener\nFDPOLL=0\nREADY=1";
        assert_eq!(store(message).as_deref(), Some("FDSTORE=1\nFDNAME=listener\nFDPOLL=0\n"));
        let forget = "FDSTOREREMOVE=1\nFDNAME=listener\n";
        assert_eq!(read(forget.as_bytes(), false).store.as_deref(), Some(forget));
        assert_eq!(store(b"FDNAME=listener\nREADY=1\nFDSTORE=0"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = printable(&"ä".repeat(LONGEST_TEXT));
        assert_eq!(text.len(), LONGEST_TEXT);
        assert_eq!(printable(&format!("x{text}")).len(), LONGEST_TEXT - 1);
    }
}
