//! An engine in this process, and a client for it. Owns: starting, asking and ending; knows nothing of what a test wants.

use std::time::Duration;

use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lps_api::protocol::EngineEvent;
use lps_engine::config::Config;
use lps_engine::server::{Error, Host, Server};
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::{Shutdown, ShutdownTrigger};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Longer than anything here takes; whoever waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An engine that runs.
pub(crate) struct Engine {
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) finished: JoinHandle<Result<(), Error>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Engine {
    /// Starts one on free ports with these flags besides.
    pub(crate) async fn start(flags: &str) -> Self {
        Self::start_model("builtin:sim", flags).await
    }

    /// The same of another model.
    pub(crate) async fn start_model(model: &str, flags: &str) -> Self {
        let fixed = [
            "lps-engine",
            "--model",
            model,
            "--port",
            "0",
            "--kv-cache-size",
            "4Mi",
        ];
        let config = Config::try_parse_from(fixed.into_iter().chain(flags.split_whitespace()));
        let (trigger, shutdown) = Shutdown::manual();
        let host = Host {
            shutdown,
            clock: Clock::start(),
            started: Duration::from_secs(1),
            telemetry: None,
        };
        let server = Server::start(config.unwrap(), host).await.unwrap();
        Self {
            url: format!("http://{}", server.http),
            admin: format!("http://{}", server.admin),
            trigger,
            finished: lps_runtime::task::spawn("engine", server.finish()),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        url: String,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        self.client.request(request).await.unwrap()
    }

    /// Posts JSON and gives the response as it comes.
    pub(crate) async fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Response<Incoming> {
        let url = format!("{}{path}", self.url);
        self.send(
            Method::POST,
            url,
            headers,
            serde_json::to_vec(body).unwrap(),
        )
        .await
    }

    /// Posts JSON and gives the whole answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        whole(self.open(path, &[], body).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        whole(
            self.send(Method::GET, format!("{}{path}", self.url), &[], Vec::new())
                .await,
        )
        .await
    }

    /// The events of a stream: their JSON, and whether `[DONE]` came.
    pub(crate) async fn stream(&self, path: &str, body: &Value) -> (Vec<Value>, bool) {
        let response = self.open(path, &[], body).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        events(std::str::from_utf8(&bytes).unwrap())
    }

    /// The event stream of the router's protocol.
    pub(crate) async fn lines(&self) -> Lines {
        let url = format!("{}/internal/v1/events", self.url);
        let response = self.send(Method::GET, url, &[], Vec::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        Lines {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }

    /// Ends it as a signal would.
    pub(crate) async fn end(self) {
        self.trigger.drain();
        let finished = tokio::time::timeout(PATIENCE, self.finished).await;
        finished.expect("it ends").unwrap().unwrap();
    }
}

pub(crate) async fn whole(response: Response<Incoming>) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes);
    (
        status,
        json.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
    )
}

fn events(text: &str) -> (Vec<Value>, bool) {
    let mut data: Vec<_> = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect();
    let done = data.last() == Some(&"[DONE]");
    if done {
        data.pop();
    }
    (
        data.into_iter()
            .map(|json| serde_json::from_str(json).unwrap())
            .collect(),
        done,
    )
}

/// JSON lines as they come.
pub(crate) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<EngineEvent> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame())
                .await
                .expect("a line");
            self.buffer.extend(frame?.unwrap().into_data().unwrap());
        }
    }

    /// The first line that the closure takes.
    pub(crate) async fn until<T>(&mut self, mut take: impl FnMut(EngineEvent) -> Option<T>) -> T {
        loop {
            if let Some(taken) = take(self.next().await.expect("the stream goes on")) {
                return taken;
            }
        }
    }
}

/// A chat with one message, and further fields.
pub(crate) fn chat(fields: Value) -> Value {
    let mut body =
        json!({"model": "sim", "messages": [{"role": "user", "content": "hi"}], "temperature": 0});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}
