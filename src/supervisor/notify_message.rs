//! What a gateway says to whoever it takes for its service manager (sd_notify(3)): the bytes of one datagram in, what
//! of it counts out.

use std::time::Duration;

use super::NotifyMessage;

/// The most of a gateway's own text that is passed on, in bytes.
pub const LONGEST_TEXT: usize = 512;

/// What of a message is the gateway's to say, and its own text if there is a new one. `MAINPID`, descriptors to
/// be kept and the like are not: the main process is sexton.
#[must_use]
pub fn read(message: &[u8]) -> (Vec<NotifyMessage>, Option<String>) {
    let (mut notices, mut own) = (Vec::new(), None);
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
            ("STATUS", text) => {
                // Before the others, which may be the occasion to pass it on.
                notices.insert(0, NotifyMessage::Status);
                own = Some(printable(text));
            }
            _ => {}
        }
    }
    (notices, own)
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
        let (notices, own) = read(message);
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
    fn a_long_text_is_cut_between_characters() {
        let text = printable(&"ä".repeat(LONGEST_TEXT));
        assert_eq!(text.len(), LONGEST_TEXT);
        assert_eq!(printable(&format!("x{text}")).len(), LONGEST_TEXT - 1);
    }
}
