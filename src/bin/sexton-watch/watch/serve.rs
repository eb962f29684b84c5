//! The HTTP listener: `/livez`, `/readyz`, `/status`, `/metrics`, and a page for people.
//!
//! It answers GET and HEAD, and reads no body. Connections are bounded in number and in time. When the number is
//! reached, the quietest connection is closed for the next one. Silent clients must not keep a liveness probe out: its
//! caller would restart a healthy gateway.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use sexton::control::processes;
use sexton::control::protocol::Status;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::prometheus::Format;
use super::state::SharedState;
use super::{blocking, metrics, page};

/// The most connections at one time.
const CONNECTIONS: usize = 64;
/// How long a client may take for its first request. A client connects because it has one to send.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// How long a client may take for a request, and be idle between two.
const PATIENCE: Duration = Duration::from_secs(75);
/// How long any connection may last.
const LIFE: Duration = Duration::from_secs(600);
/// How long to wait before an address that another process uses is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a look at the processes may take before that is worth a line.
const DEADLINE: Duration = Duration::from_secs(10);
/// Scripts, pictures and styles from elsewhere are not for this page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// Takes the address if it is free at this moment.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // What an earlier sexton-watch has left in the kernel does not matter.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

/// Serves for ever.
pub async fn serve_for_ever(known: SharedState, address: SocketAddr) {
    let mut said = false;
    let listener = loop {
        match bind(address) {
            Ok(listener) => break listener,
            Err(error) if !said => {
                said = true;
                warn!(name: "listen-failed", %address, %error,
                    "cannot listen on {address}: {error}; it is tried again, or name another with [watch] listen");
            }
            Err(_) => {}
        }
        sleep(AGAIN).await;
    };
    known.outbox.listens(listener.local_addr().unwrap_or(address).to_string());
    let open = Rc::new(RefCell::new(Connections::default()));
    let mut tasks = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptors left, say. To ask again at once would not make any.
                debug!(name: "accept-failed", %error, "a connection could not be taken: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        open.borrow_mut().make_room();
        let key = open.borrow_mut().next_key();
        let task = tasks.spawn_local(serve(Rc::clone(&known), stream, Rc::clone(&open), key));
        open.borrow_mut().add(key, task);
        // A request that has come with the connection is answered before the next connection can push this one out.
        yield_now().await;
    }
}

/// Answers one client until it goes, or its time is over.
async fn serve(known: SharedState, stream: TcpStream, open: Rc<RefCell<Connections>>, key: u64) {
    let service = service_fn(|request| async {
        open.borrow_mut().note(key, true);
        let response = answer(&known, request).await;
        open.borrow_mut().note(key, false);
        response
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 * 1024);
    let served = timeout(LIFE, server.serve_connection(TokioIo::new(stream), service));
    let mute = async {
        sleep(FIRST_REQUEST).await;
        if open.borrow().has_asked(key) {
            std::future::pending::<()>().await;
        }
    };
    // A client may break off at any time; that is no error.
    tokio::select! {
        _ = served => {}
        () = mute => {}
    }
    open.borrow_mut().remove(key);
}

/// The connections that there are.
#[derive(Default)]
struct Connections {
    open: BTreeMap<u64, Client>,
    last: u64,
}

/// What is known of one.
struct Client {
    task: AbortHandle,
    /// A request of its is being answered.
    busy: bool,
    /// It has sent a request.
    asked: bool,
    /// Since when.
    since: Instant,
}

impl Connections {
    fn next_key(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn add(&mut self, key: u64, task: AbortHandle) {
        self.open.insert(key, Client { task, busy: false, asked: false, since: Instant::now() });
    }

    /// A request has come over a connection, or was answered.
    fn note(&mut self, key: u64, busy: bool) {
        if let Some(client) = self.open.get_mut(&key) {
            (client.busy, client.asked, client.since) = (busy, true, Instant::now());
        }
    }

    fn has_asked(&self, key: u64) -> bool {
        self.open.get(&key).is_some_and(|client| client.asked)
    }

    fn remove(&mut self, key: u64) {
        self.open.remove(&key);
    }

    /// Ends connections until there is room for one more: the one that has been quiet for longest, and one of which a
    /// request is being answered only if there is no other.
    fn make_room(&mut self) {
        while self.open.len() >= CONNECTIONS {
            let quietest = self.open.iter().min_by_key(|(_, client)| (client.busy, client.since));
            let Some(key) = quietest.map(|(key, _)| *key) else { return };
            if let Some(client) = self.open.remove(&key) {
                client.task.abort();
                debug!(name: "connection-evicted", "there are too many connections; the quietest one was ended");
            }
        }
    }
}

async fn answer(
    known: &SharedState,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused =
            reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are answered\n".to_owned());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    Ok(match request.uri().path() {
        "/livez" => reply(StatusCode::OK, TEXT, "sexton-watch lives\n".to_owned()),
        "/readyz" => ready(known),
        "/status" => match known.status().await {
            Some(status) => {
                let status = whole(known, &status).await;
                reply(StatusCode::OK, JSON, serde_json::to_string(&status).unwrap_or_default() + "\n")
            }
            None => reply(
                StatusCode::SERVICE_UNAVAILABLE,
                JSON,
                "{\"error\":\"sexton has not answered\"}\n".to_owned(),
            ),
        },
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::accepted(accept.unwrap_or_default());
            let status = known.status().await;
            match metrics::page(known, status.as_deref(), format) {
                Ok(page) => reply(StatusCode::OK, format.content_type(), page),
                Err(_) => reply(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    "a value cannot be written as a metric\n".to_owned(),
                ),
            }
        }
        "/" => {
            let status = match known.status().await {
                Some(status) => Some(whole(known, &status).await),
                None => None,
            };
            reply(StatusCode::OK, "text/html; charset=utf-8", page::page(known, status.as_ref()))
        }
        _ => reply(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /, /livez, /readyz, /status and /metrics\n".to_owned(),
        ),
    })
}

/// The status with our own newer knowledge and with the processes, which sexton does not read itself.
async fn whole(known: &SharedState, status: &Status) -> Status {
    let status = known.merge_status(status);
    // A look into /proc can hang with a process; one that does is enough.
    let _one = known.looking.lock().await;
    let Some(sexton) = known.sexton else { return status };
    let mut looked_at = status.clone();
    let look = move || {
        processes::add(&mut looked_at, sexton.raw());
        looked_at
    };
    blocking::run("the list of processes", DEADLINE, look).await.unwrap_or(status)
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// 200 as long as the gateway gives good answers, even if slowly. There is only one gateway: sending it no requests
/// does not make it faster.
fn ready(known: &SharedState) -> Response<Full<Bytes>> {
    let state = known.state.borrow();
    let status = if state.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let health = &state.health;
    let json = json!({"ready": state.ready(), "state": health.state, "since": health.since, "reason": health.reason});
    reply(status, JSON, format!("{json}\n"))
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .body(Full::new(Bytes::from(body)));
    // Nothing of this can be refused: the names and the values are those above.
    response.unwrap_or_default()
}
