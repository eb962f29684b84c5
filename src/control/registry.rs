//! What the server knows and decides, as values: which tools run, how tools ended, what sexton-watch has reported, and
//! what each request means.
//!
//! Tools are kept as JSON text. So the limit on the memory for all of them does not depend on how a tool writes its
//! JSON: parsed JSON can take a hundred times as much memory as its text.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::incidents::{Incidents, escaped_length, truncate_escaped};
use super::kinship::{self, Finished, LeftBehind, Place, Running};
use super::protocol::{
    Answer, Health, Incident, Request, Status, ToolRecord, ToolRun, TreeStats, WatchReport,
};
use crate::types::{HealthReport, Outcome};

/// A connection.
pub type Key = u64;

/// How many tools can be registered at once. A tool that is not registered for this reason runs all the same.
pub const TOOLS: usize = 512;
/// How many tool runs that ended are remembered.
const ENDED: usize = 64;
/// The longest name and id, in bytes of JSON.
const NAME: usize = 128;
/// The longest argument, how many of them are kept, and how long all of them together can be, in bytes of JSON.
const ARGUMENT: usize = 256;
const ARGUMENTS: usize = 16;
const COMMAND: usize = 512;
/// The longest text of sexton-watch's that is kept, in bytes of JSON.
const TEXT: usize = 256;
/// The largest record that is kept with everything that it says, in bytes of JSON.
const RECORD: usize = 4096;
/// How many processes of a run are remembered.
const PROCESSES: usize = 64;

/// The field of a record that lists the locks which were removed after the run, and how many it lists at most.
pub const RELEASED: &str = "locks_released";
const MOST_RELEASED: usize = 8;
/// The longest path in that list, in bytes of JSON.
const PATH: usize = 256;

/// The sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker {
    /// Its connection.
    pub key: Key,
    /// Its pid in sexton's pid namespace, from the kernel; 0 if it has none there.
    pub pid: i32,
    /// Whether it is sexton-watch, over the socket that sexton gave it.
    pub trusted: bool,
}

/// What a request results in.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// This answer.
    Answer(Answer),
    /// This answer, and a tool has ended.
    ToolEnded(Answer),
    /// This answer, and the connection is a tool's from now on.
    Tool(Answer),
    /// A tool is told to end, and the client that asked for it gets an answer.
    Cancel {
        /// The tool's connection.
        tool: Key,
        /// What the tool is told.
        told: Answer,
        /// The answer to the client.
        answer: Answer,
    },
    /// The registry cannot answer this: sexton must.
    Ask(Request),
    /// A report of sexton-watch, which gets no answer, and the incident that began or ended with it, if one did.
    Noted(Option<Incident>),
    /// The gateway's health.
    Health(HealthReport),
    /// A sexton-watch has started. These are the incidents that an earlier one reported and that still last.
    Greeted(Vec<Incident>),
}

/// A tool that runs.
#[derive(Debug, Clone)]
struct Tool {
    id: String,
    name: String,
    supervisor: i32,
    pid: i32,
    began: u64,
    /// The [`ToolRun`].
    text: Box<RawValue>,
}

/// A tool run that has ended.
#[derive(Debug, Clone)]
struct Ended {
    id: String,
    /// When it ended, and how long it ran.
    at: u64,
    duration: u64,
    /// Its main process, and the processes that had to be ended after it.
    processes: Vec<i64>,
    pid: Option<i32>,
    /// Whether its supervisor died before it could report the end.
    lost: bool,
    /// The [`ToolRecord`].
    text: Box<RawValue>,
}

/// What the server knows.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    tools: BTreeMap<Key, Tool>,
    ended: VecDeque<Ended>,
    tools_ended: u64,
    health: Option<Health>,
    watch_listens: Option<String>,
    census: Option<TreeStats>,
    incidents: Incidents,
    /// The sessions and groups of the supervisors of running and of lost tools, the latest last.
    places: VecDeque<Place>,
}

impl Registry {
    /// Handles one line, or packet.
    pub fn handle_line(&mut self, speaker: Speaker, line: &[u8], wall: u64) -> Reply {
        match serde_json::from_slice(line) {
            Ok(request) => self.take(speaker, request, wall),
            Err(error) => Reply::Answer(Answer::Refused(format!(
                "this is no request: {error}; a request is one line such as {{\"op\":\"status\"}}"
            ))),
        }
    }

    fn take(&mut self, speaker: Speaker, request: Request, wall: u64) -> Reply {
        match request {
            Request::ToolBegan(run) => self.tool_started(speaker, run),
            Request::ToolEnded(mut record) => {
                truncate_escaped(&mut record.id, NAME);
                self.tools.retain(|_, run| run.id != record.id);
                self.places.retain(|place| place.id != record.id);
                self.tool_ended(record);
                Reply::ToolEnded(Answer::Done("noted".to_owned()))
            }
            Request::Cancel { tool } => self.cancel(speaker, &tool),
            Request::WatchReport(report) if speaker.trusted => self.report(report, wall),
            Request::WatchReport(_) => Reply::Answer(Answer::Refused(
                "facts are taken from sexton-watch alone, over the socket that it was given".to_owned(),
            )),
            Request::Status
            | Request::Subscribe
            | Request::Stop
            | Request::Restart { .. }
            | Request::Signal { .. }
            | Request::Reload => Reply::Ask(request),
        }
    }

    fn tool_started(&mut self, speaker: Speaker, mut run: ToolRun) -> Reply {
        let refused = |why: &str| Reply::Answer(Answer::Refused(why.to_owned()));
        if self.tools.contains_key(&speaker.key) {
            return refused("this connection has a tool already; each run takes one of its own");
        }
        if self.tools.len() >= TOOLS {
            return refused("too many tools are registered; this one runs without being shown");
        }
        // Ids are compared in the form in which they are kept.
        truncate_escaped(&mut run.id, NAME);
        if run.id.is_empty() || self.tools.values().any(|other| other.id == run.id) {
            return refused("a tool needs an id that no other has");
        }
        // The pid comes from the kernel, not from the peer's own claim.
        run.supervisor = speaker.pid;
        truncate_escaped(&mut run.name, NAME);
        truncate_command(&mut run.argv);
        let Ok(text) = to_raw_value(&run) else { return refused("this run cannot be remembered") };
        let ToolRun { id, name, supervisor, pid, began, .. } = run;
        self.tools.insert(speaker.key, Tool { id, name, supervisor, pid, began, text });
        Reply::Tool(Answer::Done("registered".to_owned()))
    }

    fn tool_ended(&mut self, mut record: ToolRecord) {
        truncate_escaped(&mut record.name, NAME);
        if length(&record) > RECORD {
            record.more.retain(|name, _| name == "pid");
        }
        if length(&record) > RECORD {
            record.more.clear();
            record.outcome = json!("too long to be kept");
        }
        self.tools_ended = self.tools_ended.saturating_add(1);
        let Ok(text) = to_raw_value(&record) else { return };
        let (at, duration, processes) = (record.ended, record.duration, processes_of(&record));
        let (pid, lost) = (kinship::main_process(&record), kinship::is_lost(&record));
        self.ended.push_front(Ended { id: record.id, at, duration, processes, pid, lost, text });
        self.ended.truncate(ENDED);
    }

    fn cancel(&self, speaker: Speaker, wanted: &str) -> Reply {
        let refused = |why: String| Reply::Answer(Answer::Refused(why));
        let mut kept = wanted.to_owned();
        truncate_escaped(&mut kept, NAME);
        let by_id = self.tools.iter().find(|(_, run)| run.id == kept);
        let mut by_name = self.tools.iter().filter(|(_, run)| run.name == kept);
        let (tool, run) = match (by_id, by_name.next(), by_name.next()) {
            (Some(found), _, _) | (None, Some(found), None) => found,
            (None, Some(_), Some(_)) => {
                return refused(format!("several tools are named '{wanted}'; give the id that status shows"));
            }
            (None, None, _) => {
                return refused(format!("no tool '{wanted}' runs; status shows those that do"));
            }
        };
        Reply::Cancel {
            tool: *tool,
            told: Answer::Cancelled(format!("pid {}", speaker.pid)),
            answer: Answer::Done(format!("{} was told to end", run.id)),
        }
    }

    fn report(&mut self, report: WatchReport, wall: u64) -> Reply {
        let incident = match report {
            WatchReport::Hello { .. } => {
                (self.health, self.watch_listens) = (None, None);
                return Reply::Greeted(self.incidents.from_watch());
            }
            WatchReport::Listening { mut address } => {
                truncate_escaped(&mut address, TEXT);
                self.watch_listens = Some(address);
                None
            }
            WatchReport::Health(mut health) => {
                truncate_escaped(&mut health.reason, TEXT);
                let told = Reply::Health(HealthReport {
                    state: health.state,
                    excused: health.excused,
                    latency: health.last_ms.and_then(|last| Duration::try_from_secs_f64(last / 1000.0).ok()),
                });
                self.health = Some(health);
                return told;
            }
            WatchReport::TreeStats(census) => {
                self.census = Some(census);
                None
            }
            WatchReport::Condition(condition) => self.incidents.note(condition, wall),
        };
        Reply::Noted(incident)
    }

    /// Adds a removed lock to the record of the tool that had taken it, and returns that tool's id. The lock named
    /// `pid` as its owner. It was taken at `taken`, in milliseconds since the epoch, or up to a second later.
    ///
    /// The lock was the tool's if `pid` was its main process, or one of the processes that had to be ended after it,
    /// and if the lock was taken during the run. Before and after the run, another process may have had the same pid.
    pub fn lock_released(&mut self, path: &str, pid: i32, taken: u64) -> Option<String> {
        let whole_seconds = taken.saturating_add(1000);
        let run = self.ended.iter_mut().find(|run| {
            let began = run.at.saturating_sub(run.duration);
            began <= whole_seconds && taken <= run.at && run.processes.contains(&pid.into())
        })?;
        if let Some(text) = with_released(&run.text, path) {
            run.text = text;
        }
        Some(run.id.clone())
    }

    /// The incidents, so that sexton can add those that it finds itself.
    pub fn incidents(&mut self) -> &mut Incidents {
        &mut self.incidents
    }

    /// A connection has ended. If its tool has not reported the end of the run, the run is lost, and this is its
    /// record.
    pub fn peer_lost(&mut self, key: Key, wall: u64) -> Option<ToolRecord> {
        let tool = self.tools.remove(&key)?;
        let run: ToolRun = serde_json::from_str(tool.text.get()).ok()?;
        let record = ToolRecord {
            duration: wall.saturating_sub(run.began),
            id: run.id,
            name: run.name,
            ended: wall,
            outcome: json!(Outcome::Lost {}),
            more: [
                ("argv".to_owned(), run.argv.into()),
                ("supervisor".to_owned(), run.supervisor.into()),
                ("pid".to_owned(), run.pid.into()),
                ("began".to_owned(), run.began.into()),
            ]
            .into(),
        };
        self.tool_ended(record.clone());
        Some(record)
    }

    /// Notes the session and group of the supervisor of the tool that this connection has registered.
    pub fn place(&mut self, key: Key, session: i32, group: i32) {
        let Some(run) = self.tools.get(&key) else { return };
        self.places.push_back(Place { id: run.id.clone(), session, group });
        if self.places.len() > TOOLS + ENDED {
            self.places.pop_front();
        }
    }

    /// The sessions and groups of the supervisors of running and of lost tools.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// The id of the run that left this process behind. The process bears `mark`; see [`kinship::run_of`].
    pub fn run_of(&self, one: LeftBehind, mark: &str, alive: &dyn Fn(i32) -> bool) -> String {
        let tools = self.tools.values().map(|tool| Running {
            id: &tool.id,
            supervisor: tool.supervisor,
            pid: tool.pid,
            began: tool.began,
        });
        let ended = self.ended.iter().map(|run| Finished {
            id: &run.id,
            pid: run.pid,
            ended: run.at,
            duration: run.duration,
            lost: run.lost,
        });
        let (tools, ended): (Vec<_>, Vec<_>) = (tools.collect(), ended.collect());
        kinship::run_of(&tools, &ended, one, mark, alive)
    }

    /// A connection has ended before its tool read that it is registered. The tool runs without being shown.
    pub fn forget(&mut self, key: Key) {
        if let Some(run) = self.tools.remove(&key) {
            self.places.retain(|place| place.id != run.id);
        }
    }

    /// The answer to a status request, as one line without its newline: sexton's own part, and what the registry knows.
    /// Clients and sexton-watch get the same.
    #[must_use]
    pub fn status_text(&self, mut status: Status) -> Vec<u8> {
        #[derive(Serialize)]
        struct Text<'a> {
            status: Status<&'a RawValue, &'a RawValue>,
        }
        status.health = self.health.clone();
        status.census = self.census;
        status.watch = self.watch_listens.clone();
        status.incidents = self.incidents.list();
        status.counters.tools = self.tools_ended;
        let tools: Vec<&RawValue> = self.tools.values().map(|tool| tool.text.as_ref()).collect();
        let ended: Vec<&RawValue> = self.ended.iter().map(|run| run.text.as_ref()).collect();
        // Reserve enough, so that the text is not moved while it grows. The rest is an estimate of sexton's own part.
        let known: usize = tools.iter().chain(&ended).map(|text| text.get().len() + 1).sum();
        let rest = 4096 + 512 * status.units.len() + 512 * status.incidents.len();
        let mut text = Vec::with_capacity(known + rest);
        // Writing to memory cannot fail, and every part can be written as JSON.
        let _ = serde_json::to_writer(&mut text, &Text { status: status.with_tools(tools, ended) });
        text
    }
}

/// Cuts a command line to the length that is kept.
fn truncate_command(argv: &mut Vec<String>) {
    argv.truncate(ARGUMENTS);
    let mut room = COMMAND;
    for argument in argv {
        truncate_escaped(argument, ARGUMENT.min(room));
        room = room.saturating_sub(escaped_length(argument));
    }
}

/// The length of a record as JSON, in bytes.
fn length(record: &ToolRecord) -> usize {
    serde_json::to_vec(record).map_or(usize::MAX, |bytes| bytes.len())
}

/// The processes of a run that its record names.
fn processes_of(record: &ToolRecord) -> Vec<i64> {
    let killed = record.more.get("killed").and_then(|killed| killed.as_array());
    let killed = killed.into_iter().flatten().filter_map(|one| one.get("pid"));
    let all = record.more.get("pid").into_iter().chain(killed);
    all.filter_map(serde_json::Value::as_i64).take(PROCESSES).collect()
}

/// This record with one more removed lock, if there is room for it.
fn with_released(text: &RawValue, path: &str) -> Option<Box<RawValue>> {
    let mut record: ToolRecord = serde_json::from_str(text.get()).ok()?;
    let known = record.more.entry(RELEASED.to_owned()).or_insert_with(|| json!([]));
    let paths = known.as_array_mut().filter(|paths| paths.len() < MOST_RELEASED)?;
    let mut path = path.to_owned();
    truncate_escaped(&mut path, PATH - 3);
    paths.push(path.into());
    to_raw_value(&record).ok().filter(|text| text.get().len() <= RECORD + MOST_RELEASED * PATH)
}

#[cfg(test)]
mod tests {
    use super::super::protocol::WatchCommand;
    use super::*;
    use crate::types::IncidentKind;

    const WATCH: Speaker = Speaker { key: 9, pid: 9, trusted: true };

    fn speaker(key: Key) -> Speaker {
        Speaker { key, pid: 70 + i32::try_from(key).unwrap(), trusted: false }
    }

    fn run(id: &str, name: &str) -> Request {
        Request::ToolBegan(ToolRun { id: id.into(), name: name.into(), pid: 5, ..ToolRun::default() })
    }

    fn record(id: &str) -> ToolRecord {
        ToolRecord { id: id.into(), outcome: json!({ "exited": { "code": 0 } }), ..ToolRecord::default() }
    }

    fn say(registry: &mut Registry, speaker: Speaker, request: &Request) -> Reply {
        registry.handle_line(speaker, &serde_json::to_vec(request).unwrap(), 100)
    }

    fn status(registry: &Registry) -> Status {
        match serde_json::from_slice(&registry.status_text(Status::default())).unwrap() {
            Answer::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    fn refused(heard: &Reply) -> &str {
        match heard {
            Reply::Answer(Answer::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tool_is_shown_while_it_runs_and_remembered_afterwards() {
        let mut registry = Registry::default();
        assert!(matches!(say(&mut registry, speaker(1), &run("t1", "exec")), Reply::Tool(Answer::Done(_))));
        let shown = &status(&registry).tools;
        assert_eq!((shown[0].supervisor, shown[0].pid), (71, 5), "the supervisor is who the kernel says");
        assert!(refused(&say(&mut registry, speaker(1), &run("t2", "exec"))).contains("already"));
        assert!(refused(&say(&mut registry, speaker(2), &run("t1", "exec"))).contains("no other"));
        // The end can be told over another connection.
        say(&mut registry, speaker(3), &Request::ToolEnded(record("t1")));
        registry.peer_lost(1, 200);
        let status = status(&registry);
        assert_eq!((status.tools.len(), status.ended.len(), status.counters.tools), (0, 1, 1));
        assert_eq!(status.ended[0].outcome, json!({ "exited": { "code": 0 } }));
    }

    #[test]
    fn a_lock_that_was_removed_is_noted_with_the_tool_whose_it_was() {
        let mut registry = Registry::default();
        let run = |id: &str, ended: u64, pid: i32| ToolRecord {
            ended,
            duration: 5_000,
            more: [
                ("pid".to_owned(), json!(pid)),
                ("killed".to_owned(), json!([{ "pid": 8, "stage": "kill" }])),
            ]
            .into(),
            ..record(id)
        };
        for (id, ended, pid) in [("t1", 100_000, 7), ("t2", 200_000, 7)] {
            say(&mut registry, speaker(1), &Request::ToolEnded(run(id, ended, pid)));
        }
        let release = |registry: &mut Registry, pid: i32, taken: u64| {
            registry.lock_released(&format!("/data/{pid}-{taken}.lock"), pid, taken)
        };
        for (pid, taken, tool) in [
            (7, 97_000, Some("t1")),
            (8, 198_000, Some("t2")),
            (7, 194_500, Some("t2")),
            (7, 193_000, None),
            (7, 200_001, None),
            (7, 150_000, None),
            (9, 198_000, None),
        ] {
            assert_eq!(release(&mut registry, pid, taken).as_deref(), tool, "{pid} {taken}");
        }
        let ended = status(&registry).ended;
        assert_eq!(ended[0].more[RELEASED], json!(["/data/8-198000.lock", "/data/7-194500.lock"]));
        assert_eq!(ended[1].more[RELEASED], json!(["/data/7-97000.lock"]));
        for _ in 0..100 {
            release(&mut registry, 7, 97_000);
        }
        assert_eq!(status(&registry).ended[1].more[RELEASED].as_array().unwrap().len(), MOST_RELEASED);
    }

    #[test]
    fn a_connection_that_breaks_tells_of_a_lost_supervisor() {
        let mut registry = Registry::default();
        say(&mut registry, speaker(1), &run("t1", "exec"));
        registry.peer_lost(1, 200);
        let ended = &status(&registry).ended;
        assert_eq!((ended[0].id.as_str(), &ended[0].outcome), ("t1", &json!({ "lost": {} })));
        assert_eq!(ended[0].more["pid"], 5);
    }

    #[test]
    fn a_tool_is_cancelled_by_its_id_or_by_a_name_that_only_it_has() {
        let mut registry = Registry::default();
        say(&mut registry, speaker(1), &run("t1", "exec"));
        say(&mut registry, speaker(2), &run("t2", "build"));
        say(&mut registry, speaker(3), &run("t3", "build"));
        let cancel = |registry: &mut Registry, tool: &str| {
            say(registry, speaker(7), &Request::Cancel { tool: tool.to_owned() })
        };
        for (wanted, key) in [("t1", 1), ("exec", 1), ("t3", 3)] {
            match cancel(&mut registry, wanted) {
                Reply::Cancel { tool, told: Answer::Cancelled(by), .. } => {
                    assert_eq!((tool, by.as_str()), (key, "pid 77"));
                }
                other => panic!("{wanted}: {other:?}"),
            }
        }
        assert!(refused(&cancel(&mut registry, "build")).contains("several"));
        assert!(refused(&cancel(&mut registry, "t4")).contains("no tool 't4' runs"));
    }

    #[test]
    fn an_id_that_is_longer_than_what_is_kept_of_it_is_found_by_the_whole() {
        let (long, other) = ("x".repeat(300), format!("{}y", "x".repeat(299)));
        let mut registry = Registry::default();
        let named =
            Request::ToolBegan(ToolRun { id: long.clone(), name: long.clone(), ..ToolRun::default() });
        assert!(matches!(say(&mut registry, speaker(1), &named), Reply::Tool(_)));
        assert!(refused(&say(&mut registry, speaker(2), &run(&other, ""))).contains("no other"));
        let kept = status(&registry).tools[0].id.clone();
        for wanted in [&long, &kept] {
            let told = say(&mut registry, speaker(7), &Request::Cancel { tool: wanted.clone() });
            assert!(matches!(told, Reply::Cancel { tool: 1, .. }), "{told:?}");
        }
        say(&mut registry, speaker(1), &Request::ToolEnded(record(&long)));
        registry.peer_lost(1, 200);
        let status = status(&registry);
        assert_eq!((status.tools.len(), status.ended.len(), &status.ended[0].id), (0, 1, &kept));
        assert_eq!(status.ended[0].outcome, json!({ "exited": { "code": 0 } }), "it is not lost");
    }

    #[test]
    fn facts_come_from_the_watch_alone_and_the_last_one_counts() {
        let mut registry = Registry::default();
        let condition = |kind, holds| {
            Request::WatchReport(WatchReport::Condition(super::super::protocol::Condition {
                kind,
                subject: "x".to_owned(),
                holds,
                detail: String::new(),
            }))
        };
        let slow = condition(IncidentKind::Slow, true);
        assert!(refused(&say(&mut registry, speaker(1), &slow)).contains("sexton-watch alone"));
        let Reply::Noted(Some(began)) = say(&mut registry, WATCH, &slow) else { panic!("it begins") };
        assert_eq!((began.kind, began.ended), (IncidentKind::Slow, None));
        assert_eq!(say(&mut registry, WATCH, &slow), Reply::Noted(None), "it goes on");
        let health = Health { reason: "late".into(), ..Health::default() };
        say(&mut registry, WATCH, &Request::WatchReport(WatchReport::Health(health.clone())));
        assert_eq!(status(&registry).health, Some(health));
        let hello = WatchReport::Hello { version: "1".into() };
        let heard = say(&mut registry, WATCH, &Request::WatchReport(hello));
        assert_eq!(heard, Reply::Greeted(vec![began]));
        assert_eq!(status(&registry).health, None);
    }

    #[test]
    fn what_peers_say_is_bounded() {
        let mut registry = Registry::default();
        for key in 0..TOOLS as Key {
            assert!(matches!(say(&mut registry, speaker(key), &run(&key.to_string(), "")), Reply::Tool(_)));
        }
        assert!(refused(&say(&mut registry, speaker(9999), &run("more", ""))).contains("too many"));

        let mut registry = Registry::default();
        let long = ToolRun {
            id: "i".repeat(1000),
            name: "n".repeat(1000),
            argv: vec!["a".repeat(1000); 40],
            ..ToolRun::default()
        };
        say(&mut registry, speaker(1), &Request::ToolBegan(long));
        assert!(serde_json::to_vec(&status(&registry).tools).unwrap().len() < 5000);
        for id in 0..100 {
            let mut record = record(&id.to_string());
            record.more = [("argv".to_owned(), json!("x".repeat(9000))), ("pid".to_owned(), json!(7))].into();
            say(&mut registry, speaker(2), &Request::ToolEnded(record));
        }
        let ended = status(&registry).ended;
        assert_eq!((ended.len(), ended[0].id.as_str(), &ended[0].more["pid"]), (64, "99", &json!(7)));
        assert!(serde_json::to_vec(&ended).unwrap().len() < 64 * RECORD);
    }

    /// What one byte of takes six in JSON, and what one byte of JSON takes a hundred bytes as a value.
    #[test]
    fn what_is_remembered_has_one_bound_however_it_is_spelled() {
        let mut registry = Registry::default();
        let odd = "\u{1}".repeat(256);
        for key in 0..TOOLS as Key {
            let run = ToolRun {
                id: format!("{key}{odd}"),
                name: odd.clone(),
                argv: vec![odd.clone(); 16],
                ..ToolRun::default()
            };
            assert!(matches!(say(&mut registry, speaker(key), &Request::ToolBegan(run)), Reply::Tool(_)));
        }
        for number in 0..100 {
            let mut record = record(&format!("ended-{number}{odd}"));
            let deep = json!([[{ "": [{ "": {} }] }]]);
            record.more = [("pid".to_owned(), json!(7)), ("x".to_owned(), json!(vec![deep; 150]))].into();
            say(&mut registry, speaker(2), &Request::ToolEnded(record));
        }
        for number in 0..100 {
            registry.lock_released(&format!("/{odd}{number}"), 7, 0);
            let condition = super::super::protocol::Condition {
                kind: IncidentKind::LockHeld,
                subject: format!("{number}{odd}"),
                holds: true,
                detail: "\u{1}".repeat(2000),
            };
            registry.incidents().note(condition, 1);
        }
        let status = status(&registry);
        assert_eq!((status.tools.len(), status.ended.len(), status.incidents.len()), (TOOLS, ENDED, 64));
        assert!(status.tools.iter().all(|tool| tool.name.ends_with('…') && !tool.argv[0].is_empty()));
        let length = registry.status_text(Status::default()).len();
        assert!(length < 900 * 1024, "{length}");
    }

    #[test]
    fn sexton_watch_and_clients_are_told_the_same() {
        let mut registry = Registry::default();
        say(&mut registry, speaker(1), &run("t1", "exec"));
        say(&mut registry, speaker(2), &Request::ToolEnded(record("t0")));
        let said = Status { version: "1".to_owned(), ..Status::default() };
        let text = registry.status_text(said);
        let Answer::Status(answer) = serde_json::from_slice(&text).unwrap() else { panic!("no status") };
        let WatchCommand::Status(told) = serde_json::from_slice(&text).unwrap() else { panic!("no status") };
        assert_eq!(answer, told);
        assert_eq!((answer.version.as_str(), answer.tools.len(), answer.ended.len()), ("1", 1, 1));
        assert_eq!([serde_json::to_vec(&Answer::Status(answer)).unwrap()], [text]);
    }

    #[test]
    fn what_is_no_request_is_refused_in_one_line() {
        let mut registry = Registry::default();
        let deep = "[".repeat(60_000);
        for line in ["", "status", "{}", r#"{"op":"dance"}"#, r#"{"op":"cancel"}"#, "\0\u{1}", &deep] {
            let heard = registry.handle_line(speaker(1), line.as_bytes(), 0);
            let why = refused(&heard);
            assert!(why.starts_with("this is no request: ") && !why.contains('\n'), "{line}: {why}");
        }
        for request in [Request::Status, Request::Stop, Request::Reload] {
            assert_eq!(say(&mut registry, speaker(1), &request), Reply::Ask(request));
        }
    }
}
