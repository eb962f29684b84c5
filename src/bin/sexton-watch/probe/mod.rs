//! Asking the gateway, once: each question ends by its timeout, whatever it is.

mod answer;
mod command;
mod command_guard;
mod heartbeat;
mod http;
mod tcp;

use std::time::Duration;

use sexton::config::watch_settings::{Probe, ProbeKind};
use sexton::control::protocol::EventLoop;
use sexton::os::clock;
use sexton::types::MonoTime;
use tokio::net::TcpStream;

pub use answer::{Answer, Outcome};
pub use command::{End, Heard, hear, run};
pub use command_guard::asked_for as guard_asked_for;

/// What came of a question.
pub struct Asked {
    /// For the state machine; `None` if we ourselves stood still meanwhile, so that nothing can be said of the
    /// gateway.
    pub answer: Option<Answer>,
    /// OpenClaw's own account of its event loop, if the answer has one.
    pub event_loop: Option<EventLoop>,
}

/// A question whose end comes this much after its timeout was not held up by the gateway.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// Asks, and times the answer. `up` is for how long the gateway runs, if that is known.
pub async fn ask(probe: &Probe, up: Option<Duration>) -> Asked {
    let asked = clock::now();
    let question = async {
        match &probe.ask {
            ProbeKind::Http { url, status, fields } => http::get(url, *status, fields).await,
            ProbeKind::Tcp { address } => (tcp::connect(address).await, None),
            ProbeKind::Heartbeat { file, max_age } => (heartbeat::look(file, *max_age, up).await, None),
            ProbeKind::Command { argv } => (command::ask(argv, probe.timeout).await, None),
        }
    };
    let ended = tokio::time::timeout(probe.timeout, question).await;
    let took = clock::now().since(asked);
    let (outcome, latency, event_loop) = match ended {
        Ok((outcome, event_loop)) => (outcome, took, event_loop),
        Err(_) => {
            let why = format!("no answer within {}", humantime::format_duration(probe.timeout));
            (Outcome::Bad(why), probe.timeout, None)
        }
    };
    let answer = answer(asked, latency, outcome).filter(|_| took <= probe.timeout + STOOD_STILL);
    Asked { answer, event_loop }
}

fn answer(asked: MonoTime, latency: Duration, outcome: Outcome) -> Option<Answer> {
    Some(Answer { asked, latency, outcome })
}

/// Connects to `host:port`. Nothing is looked up for what needs no looking up: a lookup takes a thread.
async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let Some(port) = address.strip_prefix("localhost:") else {
        return TcpStream::connect(address).await;
    };
    match TcpStream::connect(format!("127.0.0.1:{port}")).await {
        Ok(stream) => Ok(stream),
        Err(_) => TcpStream::connect(format!("[::1]:{port}")).await,
    }
}
