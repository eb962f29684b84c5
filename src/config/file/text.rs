//! Reads the text of a configuration file. It does not wait for long if another process has a lease on the file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::os::{files, lease};

/// The largest file that is read, in bytes. One that was named by mistake need not be read to its end.
const LARGEST: u64 = 1 << 20;
/// The pauses between attempts, in milliseconds, while another process holds a lease on the file. A file server gives
/// the lease back within this time; a process that does not is not waited for.
const LEASE_PAUSES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The text of the file, if it belongs to root or to `owner`. A link is followed: the configurations of Kubernetes are
/// links.
///
/// # Errors
/// Why it is not read.
pub(super) fn read(path: &Path, owner: Option<u32>) -> Result<String, String> {
    let words = |error: io::Error| error.to_string();
    let not_ordinary = || Err("it is not an ordinary file".to_owned());
    // To be opened can mean something to a device.
    if !fs::metadata(path).map_err(words)?.is_file() {
        return not_ordinary();
    }
    let file = open(path)?;
    let meta = file.metadata().map_err(words)?;
    // Something else can have come to the name meanwhile.
    if !meta.is_file() {
        return not_ordinary();
    }
    if let Some(owner) = owner.filter(|owner| meta.uid() != *owner && meta.uid() != 0) {
        let whose = meta.uid();
        return Err(format!(
            "it belongs to uid {whose}; give it to root or to uid {owner}, as which sexton runs"
        ));
    }
    let mut text = Vec::new();
    if meta.len() <= LARGEST {
        // One that grows meanwhile is too large all the same.
        file.take(LARGEST + 1).read_to_end(&mut text).map_err(words)?;
    }
    if meta.len().max(text.len() as u64) > LARGEST {
        return Err("it is larger than 1 MiB".to_owned());
    }
    String::from_utf8(text).map_err(|_| "it is not text in UTF-8".to_owned())
}

fn open(path: &Path) -> Result<File, String> {
    for pause in LEASE_PAUSES {
        match files::open_without_waiting(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                lease::pause(Duration::from_millis(pause));
            }
            opened => return opened.map_err(|error| error.to_string()),
        }
    }
    Err("another process holds a lease on it; end that process, which /proc/locks names, or put a copy of the \
         file in its place"
        .to_owned())
}
