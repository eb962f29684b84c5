//! GET, and what the answer says. A connection for each question: one that is kept would not show that new ones
//! are no longer taken. Redirects are answers like any other, and not followed.

use std::error::Error as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sexton::control::protocol::EventLoop;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf, Take, join};

use super::Outcome;

/// The largest body of an answer that is read, in bytes.
const LARGEST: usize = 64 * 1024;
/// The most that is read of one connection, in bytes: the body, whatever its encoding adds to it, and what stands before
/// it. hyper passes over informational answers as long as they come, and a task that does so stops all the others.
const LONGEST: u64 = 256 * 1024;

/// Asks `url`; well is what has this status and these fields.
pub async fn get(url: &str, status: u16, fields: &[(String, Value)]) -> (Outcome, Option<EventLoop>) {
    match exchange(url).await {
        Ok((got, body)) => {
            let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
            (judge(got, status, &json, &body, fields), event_loop(&json))
        }
        Err(why) => (Outcome::Bad(why), None),
    }
}

async fn exchange(url: &str) -> Result<(StatusCode, Bytes), String> {
    let uri: Uri = url.parse().map_err(|error| format!("'{url}' is no address: {error}"))?;
    let host = match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(host)) => format!("{host}:{}", uri.port_u16().unwrap_or(80)),
        _ => return Err(format!("'{url}' is not of the form http://HOST[:PORT]/PATH")),
    };
    let stream = super::connect(&host).await.map_err(|error| format!("cannot connect to {host}: {error}"))?;
    let broken = |error: hyper::Error| match error.source() {
        Some(cause) => format!("the connection to {host} broke: {cause}"),
        None => format!("the connection to {host} broke: {error}"),
    };
    let (reading, writing) = stream.into_split();
    let stream = TokioIo::new(join(Bounded(reading.take(LONGEST)), writing));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, uri.authority().map_or(host.as_str(), |authority| authority.as_str()))
        .header(USER_AGENT, concat!("sexton-watch/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("'{url}' cannot be asked for: {error}"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        Ok((status, body_of(response).await?))
    };
    // The connection moves only while it is polled, and goes away with this question.
    let (mut connection, mut answer) = (pin!(connection), pin!(answer));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

/// What says so when more was to be read than may be.
struct Bounded<T>(Take<T>);

impl<T: AsyncRead + Unpin> AsyncRead for Bounded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.limit() == 0 {
            return Poll::Ready(Err(io::Error::other(
                "the answer is longer than 256 KiB with all that stands before it",
            )));
        }
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

async fn body_of(response: Response<Incoming>) -> Result<Bytes, String> {
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| format!("the answer's body: {error}"))
}

fn judge(got: StatusCode, wanted: u16, json: &Value, body: &[u8], fields: &[(String, Value)]) -> Outcome {
    if got.as_u16() != wanted {
        if got == StatusCode::SERVICE_UNAVAILABLE && drains(json, body) {
            return Outcome::Draining;
        }
        // As OpenClaw's /startupz says it.
        if got == StatusCode::SERVICE_UNAVAILABLE && status(json) == Some("starting") {
            return Outcome::Starting;
        }
        let failing = failing(json);
        let said = if failing.is_empty() { String::new() } else { format!(" ({})", failing.join(", ")) };
        return Outcome::Bad(format!("status {}{said} instead of {wanted}", got.as_u16()));
    }
    for (path, wanted) in fields {
        match field(json, path) {
            Some(found) if same(found, wanted) => {}
            Some(found) => return Outcome::Bad(format!("{path} is {} instead of {wanted}", short(found))),
            None => return Outcome::Bad(format!("the answer has no field {path}")),
        }
    }
    Outcome::Good
}

/// What OpenClaw's `/readyz` says of what is not ready.
fn failing(json: &Value) -> Vec<&str> {
    let list = json.get("unhealthy").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).take(8).collect()
}

/// Whether a 503 means that no new work is taken: OpenClaw's `/readyz` names `gateway-draining` among what is
/// failing, its `/startupz` has the status `draining`, and to a stranger it says no more than a word.
fn drains(json: &Value, body: &[u8]) -> bool {
    failing(json).iter().any(|word| word.contains("draining"))
        || status(json) == Some("draining")
        || (json.is_null() && String::from_utf8_lossy(body).contains("gateway-draining"))
}

fn status(json: &Value) -> Option<&str> {
    json.get("status").and_then(Value::as_str)
}

/// The field that a dotted path leads to; a number leads into a list.
fn field<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(json, |value, step| match value {
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        value => value.get(step),
    })
}

/// Whether they are the same to a reader: 1 is 1.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}

fn short(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(60) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// What OpenClaw says of its event loop.
fn event_loop(json: &Value) -> Option<EventLoop> {
    let said = json.get("eventLoop")?.as_object()?;
    Some(EventLoop {
        degraded: said.get("degraded").and_then(Value::as_bool)?,
        delay_p99_ms: said.get("delayP99Ms").and_then(Value::as_f64),
        utilization: said.get("utilization").and_then(Value::as_f64),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(status: u16, body: &Value, fields: &[(&str, Value)]) -> Outcome {
        let fields: Vec<_> = fields.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, 200, body, body.to_string().as_bytes(), &fields)
    }

    #[test]
    fn fields_are_found_by_their_path() {
        let body = json!({"ready": true, "deep": {"list": [{"n": 1}]}});
        let good = [("ready", json!(true)), ("deep.list.0.n", json!(1.0))];
        assert_eq!(judged(200, &body, &good), Outcome::Good);
        let Outcome::Bad(why) = judged(200, &body, &[("deep.list", json!(1))]) else { panic!() };
        assert_eq!(why, r#"deep.list is [{"n":1}] instead of 1"#);
        let Outcome::Bad(why) = judged(200, &body, &[("deep.none.x", json!(1))]) else { panic!() };
        assert_eq!(why, "the answer has no field deep.none.x");
    }

    #[test]
    fn draining_is_told_from_not_ready() {
        for body in [
            json!({"ready": false, "unhealthy": ["gateway-draining"]}),
            json!({"ok": false, "status": "draining", "version": "1"}),
        ] {
            assert_eq!(judged(503, &body, &[]), Outcome::Draining, "{body}");
            assert!(matches!(judged(500, &body, &[]), Outcome::Bad(_)));
        }
        let starting = json!({"ok": false, "status": "starting", "version": "1"});
        assert_eq!(judged(503, &starting, &[]), Outcome::Starting);
        assert!(matches!(judged(500, &starting, &[]), Outcome::Bad(_)));
        let text = judge(StatusCode::SERVICE_UNAVAILABLE, 200, &Value::Null, b"gateway-draining\n", &[]);
        assert_eq!(text, Outcome::Draining);
        let Outcome::Bad(why) = judged(503, &json!({"ready": false, "unhealthy": ["startup", "x"]}), &[])
        else {
            panic!()
        };
        assert_eq!(why, "status 503 (startup, x) instead of 200");
        assert!(matches!(judged(301, &json!(null), &[]), Outcome::Bad(_)));
    }

    #[test]
    fn the_event_loop_is_read_as_openclaw_writes_it() {
        let body = json!({"ready": true, "eventLoop": {"degraded": true, "reasons": ["cpu"], "delayP99Ms": 21.5,
            "delayMaxMs": 30, "utilization": 0.5}});
        let read = event_loop(&body).unwrap();
        assert_eq!(read, EventLoop { degraded: true, delay_p99_ms: Some(21.5), utilization: Some(0.5) });
        assert_eq!(event_loop(&json!({"eventLoop": 1})), None);
    }
}
