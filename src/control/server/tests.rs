//! The server with real sockets and no sexton around it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::super::protocol::IncidentKind;
use super::super::socket_path;
use super::*;
use crate::os::{poll, seqpacket};

struct House {
    server: Server,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

fn house() -> House {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let server = Server::new(Some(socket_path::bind(&path).unwrap())).unwrap();
    House { server, path, _directory: directory }
}

impl House {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Turns until there is nothing to do, and answers what sexton would.
    fn settle(&mut self) -> Vec<ServerEvent> {
        let mut all = Vec::new();
        while poll::until(self.server.waits_for().as_fd(), Some(clock::now())).unwrap() {
            if let Some(asked) = self.server.turn() {
                if let ServerEvent::Request(key, request) = &asked {
                    let status = Status { version: "x".repeat(1000), ..Status::default() };
                    let answer = match request {
                        Request::Status | Request::Subscribe => Answer::Status(Box::new(status)),
                        _ => Answer::Done(String::new()),
                    };
                    self.server.answer(*key, answer);
                }
                all.push(asked);
            }
        }
        all
    }
}

const TOOL: &[u8] = b"{\"op\":\"tool-began\",\"id\":\"t\",\"name\":\"\",\"argv\":[],\"supervisor\":1,\"pid\":2,\"began\":3}\n";
const STATUS: &[u8] = b"{\"op\":\"status\"}\n";

fn is_closed(mut stream: &UnixStream) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn a_turn_does_one_thing() {
    let mut house = house();
    let streams: Vec<UnixStream> = (0..3).map(|_| house.connect()).collect();
    for stream in &streams {
        (&mut &*stream).write_all(&[STATUS, STATUS].concat()).unwrap();
    }
    // Three connections and six lines take at least as many turns.
    for turn in 0..9 {
        assert!(poll::until(house.server.waits_for().as_fd(), Some(clock::now())).unwrap(), "{turn}");
        if let Some(ServerEvent::Request(key, _)) = house.server.turn() {
            house.server.answer(key, Answer::Done("x".to_owned()));
        }
    }
    assert!(!poll::until(house.server.waits_for().as_fd(), Some(clock::now())).unwrap());
    for stream in &streams {
        let mut said = [0; 100];
        let length = (&mut &*stream).read(&mut said).unwrap();
        assert_eq!(&said[..length], b"{\"done\":\"x\"}\n{\"done\":\"x\"}\n");
    }
}

#[test]
fn who_takes_no_reply_is_asked_for_nothing_more_and_dropped_in_the_end() {
    let mut house = house();
    let stream = house.connect();
    let mut sent = 0;
    while (&mut &stream).write(STATUS).is_ok() {
        sent += 1;
    }
    let asked = house.settle().len();
    assert!(asked < sent, "{asked} of {sent}: the reply that is not taken holds the rest up");
    let soon = clock::now().after(PULSE);
    house.server.publish_tick(soon);
    assert_eq!(house.server.clients.len(), 1);
    house.server.publish_tick(soon.after(IDLE_TIMEOUT));
    assert_eq!(house.server.clients.len(), 0);
    assert!(is_closed(&stream));
}

#[test]
fn the_quietest_gives_way_and_tools_and_the_talkative_stay() {
    let mut house = house();
    let tool = house.connect();
    (&mut &tool).write_all(TOOL).unwrap();
    let first = house.connect();
    let second = house.connect();
    house.settle();
    (&mut &first).write_all(STATUS).unwrap();
    house.settle();
    let others: Vec<UnixStream> = (0..CLIENTS - 1)
        .map(|_| {
            let stream = house.connect();
            house.settle();
            stream
        })
        .collect();
    assert_eq!(house.server.clients.len(), CLIENTS + 1);
    assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&tool));
    assert!(others.iter().all(|stream| !is_closed(stream)));
    assert_eq!(known(&house).tools.len(), 1);
}

/// What is told of tools.
fn known(house: &House) -> Status {
    let text = house.server.registry.status_text(Status::default());
    let Answer::Status(status) = serde_json::from_slice(&text).unwrap() else { panic!("{text:?}") };
    *status
}

/// Its client has waited no longer for the answer, and runs its tool.
#[test]
fn a_tool_that_hung_up_before_it_was_answered_is_forgotten_and_not_lost() {
    let mut house = house();
    let tool = house.connect();
    (&mut &tool).write_all(TOOL).unwrap();
    drop(tool);
    assert_eq!(house.settle(), []);
    let status = known(&house);
    assert_eq!((status.tools.len(), status.ended.len()), (0, 0), "its end is not known");
}

#[test]
fn a_tool_that_is_found_gone_when_it_is_told_something_is_lost_all_the_same() {
    let mut house = house();
    let tool = house.connect();
    (&mut &tool).write_all(TOOL).unwrap();
    house.settle();
    let key = *house.server.clients.iter().find(|(_, client)| client.role == Role::Tool).unwrap().0;
    drop(tool);
    house.server.answer(key, Answer::Cancelled("pid 1".to_owned()));
    assert!(house.server.next_deadline().is_some_and(|due| due <= clock::now()), "it is told of at once");
    // Whether the socket has more to say of it or not.
    let mut asked = house.settle();
    asked.extend(house.server.take_lost());
    assert!(asked.iter().any(|event| matches!(event, ServerEvent::Lost(run) if run.id == "t")), "{asked:?}");
}

#[test]
fn a_line_that_is_too_long_is_answered_and_ends_it() {
    let mut house = house();
    let stream = house.connect();
    for _ in 0..20 {
        let _ = (&mut &stream).write(&[b'x'; 8192]);
        house.settle();
    }
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("{\"refused\":\"a line has at most 16384 bytes"), "{answer}");
    assert!(house.server.clients.is_empty());
}

/// How many bytes of replies are kept that were not taken.
fn kept(house: &House) -> usize {
    let replies = house.server.clients.values().filter(|client| client.has_reply());
    let texts: BTreeMap<_, _> =
        replies.map(|client| (Rc::as_ptr(&client.reply), client.reply.len())).collect();
    texts.values().sum()
}

#[test]
fn all_replies_that_are_not_taken_have_one_bound_and_the_latest_is_kept() {
    let mut house = house();
    let mut streams = Vec::new();
    for number in 0..10 {
        let stream = house.connect();
        (&mut &stream).write_all(STATUS).unwrap();
        while poll::until(house.server.waits_for().as_fd(), Some(clock::now())).unwrap() {
            if let Some(ServerEvent::Request(key, _)) = house.server.turn() {
                // Each is told something else, which is larger than what the kernel takes.
                let version = format!("{number}").repeat(1_200_000);
                house.server.answer(key, Answer::Status(Box::new(Status { version, ..Status::default() })));
            }
        }
        assert!(kept(&house) <= REPLIES, "{number}: {}", kept(&house));
        streams.push(stream);
    }
    let (last, others) = streams.split_last().unwrap();
    assert!(!is_closed(last) && others.iter().all(is_closed));
    assert_eq!(house.server.clients.len(), 1);
}

#[test]
fn who_is_told_the_same_shares_it() {
    let mut house = house();
    let streams: Vec<UnixStream> = (0..5).map(|_| house.connect()).collect();
    for stream in &streams {
        (&mut &*stream).write_all(STATUS).unwrap();
    }
    while poll::until(house.server.waits_for().as_fd(), Some(clock::now())).unwrap() {
        if let Some(ServerEvent::Request(key, _)) = house.server.turn() {
            let status = Status { version: "x".repeat(900_000), ..Status::default() };
            house.server.answer(key, Answer::Status(Box::new(status)));
        }
    }
    assert_eq!(house.server.clients.len(), 5, "one text is kept, for all of them");
    assert!((700_000..1_000_000).contains(&kept(&house)));
}

#[test]
fn all_lines_that_are_not_complete_have_one_bound() {
    let mut house = house();
    let streams: Vec<UnixStream> = (0..CLIENTS)
        .map(|_| {
            let stream = house.connect();
            (&mut &stream).write_all(&[b'x'; LONGEST - 1]).unwrap();
            house.settle();
            stream
        })
        .collect();
    let held: usize = house.server.clients.values().map(Client::held).sum();
    assert!(held <= LINES, "{held}");
    let open = streams.iter().filter(|stream| !is_closed(stream)).count();
    assert_eq!(open, LINES / LONGEST, "those that began last");
    assert!(!is_closed(streams.last().unwrap()));
}

#[test]
fn a_tool_that_takes_nothing_is_told_once_to_end() {
    let mut house = house();
    let tool = house.connect();
    (&mut &tool).write_all(b"{\"op\":\"tool-began\",\"id\":\"t\",\"name\":\"\",\"argv\":[],\"supervisor\":1,\"pid\":2,\"began\":3}\n").unwrap();
    house.settle();
    let (key, client) = house.server.clients.iter_mut().next().unwrap();
    let key = *key;
    // The kernel takes nothing more for it.
    while unix_socket::send(client.socket.as_fd(), &[b'x'; 4096]).is_ok() {}
    let other = house.connect();
    for _ in 0..100 {
        (&mut &other).write_all(b"{\"op\":\"cancel\",\"tool\":\"t\"}\n").unwrap();
        house.settle();
    }
    let waits = house.server.clients[&key].reply.len();
    assert!((1..100).contains(&waits), "{waits} bytes");
    let mut said = String::new();
    let mut reader = BufReader::new(&other);
    for _ in 0..100 {
        said.clear();
        reader.read_line(&mut said).unwrap();
        assert_eq!(said, "{\"done\":\"t was told to end\"}\n");
    }
    // A tool that goes with something still to be taken is lost all the same.
    drop(tool);
    assert!(matches!(&house.settle()[..], [ServerEvent::Lost(_)]) || house.server.take_lost().is_some());
}

/// A packet of sexton-watch's, and what it is told in return.
fn packet(watch: &OwnedFd, text: &str) {
    seqpacket::send(watch.as_fd(), text.as_bytes(), None).unwrap();
}

fn told(watch: &OwnedFd) -> Vec<WatchCommand> {
    let mut buffer = [0; 4096];
    let packets = std::iter::from_fn(|| {
        let (packet, _) = seqpacket::receive(watch.as_fd(), &mut buffer)?;
        Some(serde_json::from_slice(packet).unwrap())
    });
    packets.collect()
}

#[test]
fn sexton_watch_tells_facts_and_is_told_of_incidents() {
    let mut server = Server::new(None).unwrap();
    let (ours, theirs) = seqpacket::pair().unwrap();
    server.attach_watch(ours).unwrap();
    let mut house = House { server, path: Default::default(), _directory: tempfile::tempdir().unwrap() };
    let condition =
        r#"{"op":"watch-report","report":"condition","kind":"slow","subject":"","holds":true,"detail":"d"}"#;
    packet(&theirs, condition);
    packet(&theirs, condition);
    packet(&theirs, "garbage");
    packet(&theirs, r#"{"op":"status"}"#);
    let asked = house.settle();
    assert!(
        matches!(&asked[..], [ServerEvent::Noted(one), ServerEvent::Request(_, Request::Status)] if one.kind == IncidentKind::Slow),
        "{asked:?}"
    );
    let said = told(&theirs);
    assert!(matches!(&said[..], [WatchCommand::Status(_)]), "{said:?}");

    // What sexton itself finds is told as well.
    let ceiling =
        |holds| Condition { kind: IncidentKind::RestartLimit, subject: "".into(), holds, detail: "".into() };
    let incident = house.server.note(ceiling(true), 1).unwrap();
    assert_eq!(house.server.note(ceiling(true), 2), None, "it goes on");
    house.server.tell_watch(&WatchCommand::Incident(incident.clone()));
    assert_eq!(told(&theirs), [WatchCommand::Incident(incident)]);

    // Another one takes its place. No process waits for the end of the first one.
    let (ours, other) = seqpacket::pair().unwrap();
    house.server.attach_watch(ours).unwrap();
    packet(&other, r#"{"op":"watch-report","report":"hello","version":"2"}"#);
    let greeted = house.settle();
    assert!(matches!(&greeted[..], [ServerEvent::Greeted(lasted)] if lasted.len() == 1), "{greeted:?}");
    assert_eq!(house.server.next_deadline(), None);
    drop(other);
    house.settle();
    assert!(house.server.watch.is_none() && house.server.clients.is_empty());
}
