//! An engine that speaks the protocol and does nothing by itself: each call is handed to the test, which answers it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lps_api::ids::CallId;
use lps_api::protocol::{
    CallCommand, CallCommandResults, CallCommands, CallProgress, CallState, CallUsage, EngineEvent,
    Hello, Load, VERSION,
};
use lps_api::quantity::{Attempt, Micros, Tokens};
use lps_api::wellknown::path;
use lps_runtime::task;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::support::{model, soon};

type Part = Result<Frame<Bytes>, std::io::Error>;
type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// A running fake.
pub(crate) struct Engine {
    pub(crate) id: String,
    pub(crate) addr: SocketAddr,
    calls: mpsc::Receiver<Call>,
    commands: mpsc::Receiver<CallCommand>,
    events: broadcast::Sender<EngineEvent>,
    end: CancellationToken,
}

/// A call that arrived, and waits for the test's answer.
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) path: String,
    answer: mpsc::Sender<Start>,
}

/// How an answer begins.
struct Start {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    parts: mpsc::Receiver<Part>,
}

/// A streamed answer under way.
pub(crate) struct Stream {
    parts: mpsc::Sender<Part>,
}

struct Shared {
    hello: Hello,
    calls: mpsc::Sender<Call>,
    commands: mpsc::Sender<CallCommand>,
    events: broadcast::Sender<EngineEvent>,
}

pub(crate) const USAGE: CallUsage = CallUsage {
    prompt_tokens: Tokens(7),
    cached_tokens: Tokens(3),
    output_tokens: Tokens(2),
    executor_us: Micros(1_500),
};

impl Engine {
    /// An engine of model `m` with so many slots.
    pub(crate) async fn start(id: &str, slots: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (calls_tell, calls) = mpsc::channel(64);
        let (commands_tell, commands) = mpsc::channel(64);
        let (events, _) = broadcast::channel(64);
        let end = CancellationToken::new();
        let hello = Hello {
            protocol: VERSION,
            engine: id.parse().unwrap(),
            model: model("m"),
            incarnation: u64::from(addr.port()),
            max_num_seqs: slots,
            max_model_len: Tokens(4096),
            max_batched_tokens: Tokens(512),
            block_tokens: Tokens(16),
            kv_blocks_total: 10_000,
        };
        let shared = Arc::new(Shared {
            hello,
            calls: calls_tell,
            commands: commands_tell,
            events: events.clone(),
        });
        let stop = end.clone();
        task::spawn("fake-engine", async move {
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                task::spawn(
                    "fake-connection",
                    serve(stream, Arc::clone(&shared), stop.clone()),
                );
            }
        });
        Self {
            id: id.to_owned(),
            addr,
            calls,
            commands,
            events,
            end,
        }
    }

    /// The next call that arrives here.
    pub(crate) async fn call(&mut self) -> Call {
        soon("a call at the engine", self.calls.recv())
            .await
            .unwrap()
    }

    /// The next command.
    pub(crate) async fn command(&mut self) -> CallCommand {
        soon("a command at the engine", self.commands.recv())
            .await
            .unwrap()
    }

    /// Reports a call's figures.
    pub(crate) fn progress(&self, call: &Call, state: CallState, usage: CallUsage) {
        let progress = CallProgress {
            call: call.wire(),
            attempt: call.attempt(),
            state,
            usage,
        };
        let _ = self.events.send(EngineEvent::Progress {
            calls: vec![progress],
        });
    }

    /// Ends as a killed process does: every connection is cut, and the port refuses.
    pub(crate) fn kill(&self) {
        self.end.cancel();
    }
}

impl Call {
    /// Its name on the wire.
    pub(crate) fn wire(&self) -> CallId {
        self.header("x-call-id").parse().unwrap()
    }

    pub(crate) fn attempt(&self) -> Attempt {
        Attempt(self.header("x-lps-attempt").parse().unwrap())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Resolves when the router dropped the call.
    pub(crate) async fn dropped(&self) {
        soon("the router to drop the call", self.answer.closed()).await;
    }

    /// Answers whole.
    pub(crate) async fn answer(
        self,
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: &Value,
    ) {
        let (parts, receiver) = mpsc::channel(1);
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = headers;
        headers.push(("content-type", "application/json".to_owned()));
        self.answer
            .send(Start {
                status,
                headers,
                parts: receiver,
            })
            .await
            .ok()
            .unwrap();
        parts
            .send(Ok(Frame::data(Bytes::from(body.to_string()))))
            .await
            .unwrap();
    }

    /// Answers as a completed call does.
    pub(crate) async fn complete(self, text: &str) {
        let body = json!({"choices": [{"message": {"content": text}}], "lps": USAGE});
        self.answer(200, Vec::new(), &body).await;
    }

    /// Begins a streamed answer.
    pub(crate) async fn stream(self) -> Stream {
        let (parts, receiver) = mpsc::channel(1);
        let headers = vec![("content-type", "text/event-stream".to_owned())];
        let start = Start {
            status: StatusCode::OK,
            headers,
            parts: receiver,
        };
        self.answer.send(start).await.ok().unwrap();
        Stream { parts }
    }
}

impl Stream {
    /// Sends bytes; a router that has dropped the stream does not take them.
    pub(crate) async fn send(&self, text: &str) {
        let _ = self
            .parts
            .send(Ok(Frame::data(Bytes::from(text.to_owned()))))
            .await;
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.parts.is_closed()
    }

    /// Cuts the connection in the middle.
    pub(crate) async fn cut(self) {
        let _ = self.parts.send(Err(std::io::Error::other("cut"))).await;
    }

    /// Resolves when the router dropped the call.
    pub(crate) async fn dropped(&self) {
        soon("the router to drop the stream", self.parts.closed()).await;
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    tokio::select! {
        () = stop.cancelled() => {}
        _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Answer {
    match request.uri().path() {
        path::EVENTS => events(shared),
        path::CALLS => {
            let commands: CallCommands = read(request).await;
            let found = vec![true; commands.commands.len()];
            for command in commands.commands {
                let _ = shared.commands.send(command).await;
            }
            whole(&json!(CallCommandResults { found }))
        }
        path::RELEASE | path::DRAIN => whole(&json!({})),
        "/tokenize" => whole(&json!({"tokens": [1, 2, 3], "count": 3, "by": shared.hello.engine})),
        _ => inference(request, shared).await,
    }
}

async fn inference(request: Request<Incoming>, shared: &Shared) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (answer, mut start) = mpsc::channel(1);
    let path = head.uri.path().to_owned();
    let call = Call {
        headers: head.headers,
        body,
        path,
        answer,
    };
    shared.calls.send(call).await.ok().unwrap();
    match start.recv().await {
        Some(Start {
            status,
            headers,
            parts,
        }) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response
                .body(StreamBody::new(ReceiverStream::new(parts)).boxed())
                .unwrap()
        }
        // The test dropped the call: the connection breaks before any byte.
        None => broken(),
    }
}

fn broken() -> Answer {
    let cut = futures::stream::once(async { Err(std::io::Error::other("cut")) });
    Response::new(StreamBody::new(cut).boxed())
}

fn events(shared: &Shared) -> Answer {
    let (lines, receiver) = mpsc::channel(16);
    let (hello, mut events) = (shared.hello.clone(), shared.events.subscribe());
    task::spawn("fake-events", async move {
        let mut line = serde_json::to_string(&EngineEvent::Hello(hello)).unwrap();
        loop {
            line.push('\n');
            if lines
                .send(Ok(Frame::data(Bytes::from(line))))
                .await
                .is_err()
            {
                return;
            }
            let heartbeat = std::time::Duration::from_millis(100);
            let event = match tokio::time::timeout(heartbeat, events.recv()).await {
                Ok(Ok(event)) => event,
                _ => EngineEvent::Heartbeat(Load::default()),
            };
            line = serde_json::to_string(&event).unwrap();
        }
    });
    Response::new(StreamBody::new(ReceiverStream::new(receiver)).boxed())
}

async fn read<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> T {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

fn whole(json: &Value) -> Answer {
    Response::new(
        Full::new(Bytes::from(json.to_string()))
            .map_err(|never| match never {})
            .boxed(),
    )
}
