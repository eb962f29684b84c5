//! What a sweep costs: 10,000 orphaned locks among 100,000 transcripts, beside `find` that only walks.
//!
//! `lock_cost [RUNS]`, with the sexton of the same build. What counts is the time from sexton's start to its
//! command's, which the sweep delays. It prints the least, the median and the most of each, beside `find -delete`,
//! which judges nothing, and ends with 1 if the median of the sweeps is more than three times that of the walks, or
//! PID 1 itself had more than 5 ms of the processor.

#![allow(clippy::disallowed_methods, reason = "an example starts its own processes and reads the clock")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken measurement says so"
)]

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const TRANSCRIPTS: usize = 100_000;
const LOCKS: usize = 10_000;
const LOCK: &str = "{\n  \"pid\": 4194303,\n  \"createdAt\": \"2026-11-22T06:59:25.232Z\",\n  \"maxHoldMs\": 1020000,\n  \"starttime\": 1\n}\n";

fn plant(sessions: &Path) {
    for number in (0..TRANSCRIPTS).step_by(TRANSCRIPTS / LOCKS) {
        fs::write(sessions.join(format!("{number:06}.jsonl.lock")), LOCK).unwrap();
    }
}

/// How long it took until it closed its standard output, and what it printed.
fn time(command: &mut Command) -> (Duration, String) {
    let begun = Instant::now();
    let quiet = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = quiet.spawn().unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    let took = begun.elapsed();
    child.wait().unwrap();
    (took, printed)
}

/// Prints the least, the median and the most, and gives the median.
fn median(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let [least, median, most] = [0, times.len() / 2, times.len() - 1].map(|place| times[place]);
    println!("{what}: {least:.1?}, {median:.1?}, {most:.1?}");
    median
}

fn main() -> ExitCode {
    let runs = std::env::args().nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(5);
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("sexton");
    assert!(program.exists(), "{} is missing: run `cargo build --release` first", program.display());
    let home = tempfile::tempdir().unwrap();
    let sessions = home.path().join("agents/main/sessions");
    fs::create_dir_all(&sessions).unwrap();
    for number in 0..TRANSCRIPTS {
        fs::File::create(sessions.join(format!("{number:06}.jsonl"))).unwrap();
    }
    let (mut walks, mut deletes, mut sweeps, mut owns) = (vec![], vec![], vec![], vec![]);
    for _ in 0..runs {
        plant(&sessions);
        let (took, found) = time(Command::new("find").arg(home.path()).args(["-name", "*.lock"]));
        assert!(found.lines().count() >= LOCKS);
        walks.push(took);
        let mut delete = Command::new("find");
        deletes.push(time(delete.arg(home.path()).args(["-name", "*.jsonl.lock", "-delete"])).0);
        plant(&sessions);
        // The command says how much of the processor its parent, sexton, has had until now: /proc/PID/schedstat,
        // in nanoseconds.
        let mut sexton = Command::new(&program);
        sexton.args(["--sweep-timeout", "1m", "--lock-root"]).arg(home.path()).args([
            "--",
            "sh",
            "-c",
            // It goes on for a moment, so that sexton's own end does not count.
            "cat /proc/$PPID/schedstat; exec >&-; sleep 0.05",
        ]);
        let (took, spent) = time(&mut sexton);
        sweeps.push(took);
        let spent = spent.split(' ').next().and_then(|spent| spent.parse().ok()).expect("schedstat");
        owns.push(Duration::from_nanos(spent));
        assert_eq!(fs::read_dir(&sessions).unwrap().count(), TRANSCRIPTS, "every lock is gone");
    }
    let walk = median("find", walks);
    let delete = median("find -delete", deletes);
    let sweep = median("sexton until its command runs", sweeps);
    let own = median("PID 1 itself, of the processor", owns);
    let times = |took: Duration| took.as_secs_f64() / walk.as_secs_f64();
    println!("medians: sexton {:.2} times find, find -delete {:.2}", times(sweep), times(delete));
    ExitCode::from(u8::from(times(sweep) > 3.0 || own > Duration::from_millis(5)))
}
