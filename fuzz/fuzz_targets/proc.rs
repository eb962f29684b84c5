//! What the kernel says in /proc and in cgroup files. A process writes a part of it: its name, its cgroup's, what it
//! has mounted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sexton::os::cgroup::{directory_of, own_directory, parse_count};
use sexton::os::procfs::{parse_hidepid, parse_pids, parse_proportional, parse_resident, parse_stat};

fuzz_target!(|bytes: &[u8]| {
    // A state is a letter; what else stands there could not be written again.
    if let Some(stat) = parse_stat(bytes).filter(|stat| stat.state.is_ascii()) {
        assert!(stat.pid.raw() > 0);
        // Whatever a process calls itself, the other fields are the kernel's.
        let mut line = format!("{} (", stat.pid).into_bytes();
        line.extend_from_slice(&stat.name);
        let (state, parent, group, session) = (char::from(stat.state), stat.parent, stat.group, stat.session);
        let (flags, threads, start) = (stat.flags, stat.threads, stat.start.0);
        line.extend_from_slice(
            format!(
                ") {state} {parent} {group} {session} 0 0 {flags} 0 0 0 0 0 0 0 0 0 0 {threads} 0 {start}\n"
            )
            .as_bytes(),
        );
        assert_eq!(parse_stat(&line), Some(stat));
    }
    let text = String::from_utf8_lossy(bytes);
    let pids = parse_pids(&text);
    assert!(pids.len() <= text.len() && pids.iter().all(|pid| pid.raw() > 0));
    let _ = (parse_resident(&text), parse_proportional(&text), parse_hidepid(&text));
    let _ = (parse_count(&text, "populated"), parse_count(&text, "oom_kill"));
    let (mounts, memberships) = text.split_once("\n\n").unwrap_or((&text, "0::/a/b\n4:memory,pids:/c\n"));
    for directory in [own_directory(mounts, memberships), directory_of(mounts, memberships, "memory")] {
        let Some(directory) = directory else { continue };
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        assert!(
            mounted.into_iter().any(|point| directory.starts_with(point)),
            "{directory:?} is in no mount"
        );
    }
});
