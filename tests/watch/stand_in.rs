//! A gateway's stand-in: one thread that takes connections one after another, as an event loop does. When it is
//! told to hang, the port stays bound and the kernel still takes connections.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub enum Mood {
    /// It answers with this status and body.
    Answers(u16, String),
    /// It answers 200, this much later.
    Late(Duration),
    /// It does nothing.
    Hangs,
    /// It sends a body that never ends.
    Babbles,
    /// It says 200 after far more informational answers (RFC 9110, 15.2) than any server has a use for.
    Announces,
    Over,
}

pub struct StandIn {
    pub port: u16,
    mood: Arc<(Mutex<Mood>, Condvar)>,
    /// What was asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    pub fn start() -> StandIn {
        StandIn::at(0)
    }

    /// The same at a port that an earlier one had.
    pub fn at(port: u16) -> StandIn {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mood = Arc::new((Mutex::new(Mood::Answers(200, "{\"ready\":true}".into())), Condvar::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (theirs, noted) = (Arc::clone(&mood), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut now = theirs.0.lock().unwrap();
                while *now == Mood::Hangs {
                    now = theirs.1.wait(now).unwrap();
                }
                let mood = now.clone();
                drop(now);
                if mood == Mood::Over {
                    return;
                }
                let _ = answer(stream, &mood, &noted);
            }
        });
        StandIn { port, mood, asked, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn be(&self, mood: Mood) {
        *self.mood.0.lock().unwrap() = mood;
        self.mood.1.notify_all();
    }

    pub fn answers(&self, status: u16, body: &str) {
        self.be(Mood::Answers(status, body.to_owned()));
    }
}

fn answer(mut stream: TcpStream, mood: &Mood, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        request.push(byte[0]);
    }
    if request.is_empty() {
        return Ok(());
    }
    asked.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    let (status, body) = match mood {
        Mood::Answers(status, body) => (*status, body.clone()),
        Mood::Late(pause) => {
            std::thread::sleep(*pause);
            (200, "{\"ready\":true}".into())
        }
        Mood::Babbles => {
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
        Mood::Announces => {
            // 2.5 MB: more than sexton-watch reads of any answer.
            stream.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000))?;
            (200, "{\"ready\":true}".into())
        }
        Mood::Hangs | Mood::Over => return Ok(()),
    };
    let location = if status == 302 { "Location: /elsewhere\r\n" } else { "" };
    write!(stream, "HTTP/1.1 {status} X\r\n{location}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.be(Mood::Over);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().unwrap().join();
    }
}
