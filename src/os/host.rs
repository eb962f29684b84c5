//! Which machine this is, and which of its boots.

use std::fs;

/// The host's name as processes see it (uname(2)); a container has one of its own. `None` without /proc.
#[must_use]
pub fn name() -> Option<Vec<u8>> {
    line("/proc/sys/kernel/hostname")
}

/// The id of this boot (random(4), `boot_id`): the same in every container. `None` without /proc.
#[must_use]
pub fn boot_id() -> Option<Vec<u8>> {
    line("/proc/sys/kernel/random/boot_id")
}

fn line(path: &str) -> Option<Vec<u8>> {
    let text = fs::read(path).ok()?;
    Some(text.trim_ascii_end().to_vec()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_name_and_its_boot_an_id() {
        assert!(name().is_some());
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
