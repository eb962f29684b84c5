//! One run: the gateway is started below a sexton of its own, asked, counted, and stopped.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use sexton::config::watch_settings::{Probe, ProbeKind};
use sexton::os::{clock, procfs, signals, tree};
use sexton::types::{MonoTime, Pid, Signal};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::record::{LockScan, Loop, Point, Record, Said, ms};
use super::sandbox::Sandbox;
use super::words::Asked;
use crate::openclaw;
use crate::probe;
use crate::probe::Outcome;

/// When one question is given up; the latency is then this.
const QUESTION: Duration = Duration::from_secs(60);
/// How often the tree is counted, and the event loop asked about.
const COUNT: Duration = Duration::from_millis(250);
const LOOP: Duration = Duration::from_secs(1);
/// What the gateway has to stop before sexton ends it; and what is waited for then.
const GRACE: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(140);

/// State for the handler of an interrupt.
#[derive(Debug, Default)]
pub struct Current {
    /// The sexton that runs at this moment.
    pub sexton: Cell<Option<Pid>>,
    /// Nothing more is to be started.
    pub interrupted: Cell<bool>,
}

/// Runs `command` once.
///
/// # Errors
/// What this machine does not let us do; what the gateway does wrong is in the record.
pub async fn run(command: &[String], asked: &Asked, current: &Current) -> Result<Record, String> {
    let ours = openclaw::command_line(command);
    let ground = Sandbox::new(asked.state.as_deref(), ours.is_some()).await?;
    let mut record = Record::default();
    let first = command.first().cloned().unwrap_or_default();
    let line = |given: &Option<String>, known: &[&str]| match (given, &ours) {
        (Some(given), _) => {
            let words = given.split_whitespace().map(|word| ground.fill(word).replace("{0}", &first));
            Some(words.collect::<Vec<String>>())
        }
        (None, Some(line)) => {
            Some(line.iter().cloned().chain(known.iter().map(|word| (*word).to_owned())).collect())
        }
        (None, None) => None,
    };
    record.version = said(line(&asked.version_command, &["--version"]), &ground, asked.command_within).await;
    attend(command, asked, &ground, &mut record, current).await?;
    if current.interrupted.get() {
        return Ok(record);
    }
    // It may mend what it finds, so that it comes when the gateway needs nothing any more.
    record.doctor =
        said(line(&asked.doctor_command, &["doctor", "--non-interactive"]), &ground, asked.command_within)
            .await;
    Ok(record)
}

async fn said(line: Option<Vec<String>>, ground: &Sandbox, within: Duration) -> Option<Said> {
    let line: Vec<String> = ground.environment().into_iter().chain(line?).collect();
    Some(Said::of(&probe::hear(&line, within).await, within))
}

/// Starts it, watches it and stops it.
async fn attend(
    command: &[String],
    asked: &Asked,
    ground: &Sandbox,
    record: &mut Record,
    current: &Current,
) -> Result<(), String> {
    let launched = clock::now();
    let mut child = start(command, ground)?;
    let pid = child.id().and_then(|id| Pid::new(id.cast_signed())).ok_or("sexton ended at once")?;
    current.sexton.set(Some(pid));
    let seen = RefCell::new(std::mem::take(record));
    let outcome = tokio::select! {
        outcome = watch(asked, ground, launched, &seen) => outcome,
        status = child.wait() => {
            let how = status.ok().and_then(|status| status.code()).map(|code| format!(" with {code}"));
            Err(format!("it ended by itself{}: {}", how.unwrap_or_default(), ground.last_words()))
        }
        () = count(pid, launched, &seen) => Ok(()),
        () = ask_of_loop(asked, ground, &seen) => Ok(()),
    };
    *record = seen.into_inner();
    record.trouble = outcome.err();
    if child.id().is_some() {
        let length = ground.output_length();
        let asked_to_stop = clock::now();
        let _ = signals::send(pid, Signal::TERM);
        match timeout(END, child.wait()).await {
            Ok(_) => record.stop_ms = Some(ms(clock::now().since(asked_to_stop))),
            Err(_) => {
                record.trouble = Some("sexton itself did not end".to_owned());
                let _ = child.kill().await;
            }
        }
        record.locks = ground.removed_locks(length);
    } else {
        record.locks = ground.removed_locks(0);
    }
    current.sexton.set(None);
    Ok(())
}

fn start(command: &[String], ground: &Sandbox) -> Result<Child, String> {
    let ourselves = fs::canonicalize("/proc/self/exe").map_err(|error| format!("/proc/self/exe: {error}"))?;
    let sexton = ourselves.with_file_name("sexton");
    let grace = humantime::format_duration(GRACE).to_string();
    let output =
        File::create(ground.output()).map_err(|error| format!("{}: {error}", ground.output().display()))?;
    let error = output.try_clone().map_err(|error| error.to_string())?;
    let mut line = Command::new(&sexton);
    // Variables that the operator has set for other sextons are not meant for this one.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SEXTON_")) {
        line.env_remove(name);
    }
    line.envs(ground.variables().iter().cloned())
        .args(["--config", "", "--control", "off", "--log-format", "json", "--parent-death", "TERM"])
        .args(["--grace", &grace, "--"])
        .args(command.iter().map(|word| ground.fill(word)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(error);
    line.spawn().map_err(|error| format!("{}: {error}", sexton.display()))
}

/// The questions: until it is well, and then for as long as was asked for.
async fn watch(
    asked: &Asked,
    ground: &Sandbox,
    launched: MonoTime,
    seen: &RefCell<Record>,
) -> Result<(), String> {
    let url = asked.health_url.clone().unwrap_or_else(|| "http://127.0.0.1:{port}/healthz".to_owned());
    let probe = ground.probe(&url, QUESTION);
    // Often enough for a start of a second and a percentile of a second's run, and seldom enough to cost nothing.
    let pause = (asked.duration / 200).clamp(Duration::from_millis(10), Duration::from_millis(100));
    seen.borrow_mut().pause_ms = ms(pause);
    let well = async {
        while !ask(&probe, launched, false, seen).await {
            sleep(pause).await;
        }
    };
    if timeout(asked.start_within, well).await.is_err() {
        let interval = humantime::format_duration(asked.start_within);
        return Err(format!("it was not well within {interval}: {}", ground.last_words()));
    }
    seen.borrow_mut().start_ms = Some(ms(clock::now().since(launched)));
    let end = clock::now().after(asked.duration);
    while clock::now() < end {
        ask(&probe, launched, true, seen).await;
        sleep(pause).await;
    }
    Ok(())
}

/// Sends one request. Tells whether the answer was good. A refused connection does not count before the first good
/// answer.
async fn ask(probe: &Probe, launched: MonoTime, up: bool, seen: &RefCell<Record>) -> bool {
    let Some(answer) = probe::ask(probe, None).await.answer else { return false };
    let good = answer.outcome == Outcome::Good;
    let closed = matches!(&answer.outcome, Outcome::Bad(why) if why.starts_with("cannot connect"));
    if up || !closed {
        let at_ms = ms(answer.asked.since(launched));
        seen.borrow_mut().points.push(Point { at_ms, took_ms: ms(answer.latency), good });
    }
    good
}

/// Counts the tree for ever.
async fn count(sexton: Pid, launched: MonoTime, seen: &RefCell<Record>) {
    loop {
        if let Some(look) = look(sexton, ms(clock::now().since(launched))) {
            seen.borrow_mut().looks.push(look);
        }
        sleep(COUNT).await;
    }
}

fn look(sexton: Pid, at_ms: f64) -> Option<LockScan> {
    let mut look = LockScan { at_ms, rss: 0, processes: 0, zombies: 0 };
    for stat in tree::below(sexton).ok()? {
        if stat.is_dead() {
            look.zombies += u32::from(stat.parent != sexton.raw());
        } else {
            look.processes += 1;
            look.rss += procfs::resident(stat.pid).unwrap_or_default();
        }
    }
    Some(look)
}

/// Asks the gateway about its event loop for ever, if it is known where.
async fn ask_of_loop(asked: &Asked, ground: &Sandbox, seen: &RefCell<Record>) {
    let known = ground.is_openclaw().then(|| "http://127.0.0.1:{port}/readyz".to_owned());
    let Some(url) = asked.ready_url.clone().or(known) else { return std::future::pending().await };
    let probe = ground.probe(&url, QUESTION);
    loop {
        if let Some(said) = probe::ask(&probe, None).await.event_loop {
            let said = Loop { delay_ms: said.delay_p99_ms, busy: said.utilization };
            seen.borrow_mut().loops.push(said);
        }
        sleep(LOOP).await;
    }
}

impl Sandbox {
    fn probe(&self, url: &str, timeout: Duration) -> Probe {
        Probe {
            name: "measure".to_owned(),
            ask: ProbeKind::Http { url: self.fill(url), status: 200, fields: Vec::new() },
            interval: timeout,
            timeout,
            slow_after: timeout,
            failure_threshold: 1,
        }
    }

    fn output(&self) -> PathBuf {
        self.path("output")
    }
}
