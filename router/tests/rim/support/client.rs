//! A plain HTTP client: what a test sends is what goes over the wire.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::support::soon;

#[derive(Clone)]
pub(crate) struct Client {
    addr: SocketAddr,
    /// Sent with every request.
    key: Option<&'static str>,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// An answer that is being read.
pub(crate) struct Stream {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Stream {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let frame = soon("the stream's next bytes", self.body.frame()).await?;
        Some(
            frame
                .expect("the stream is not cut")
                .into_data()
                .expect("no trailers"),
        )
    }

    /// What is left, as text.
    pub(crate) async fn rest(&mut self) -> String {
        let mut text = String::new();
        while let Some(bytes) = self.next().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        text
    }
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let key = None;
        Self { addr, key, http }
    }

    /// The same with an API key, or without one.
    pub(crate) fn with_key(&self, key: Option<&'static str>) -> Self {
        Self {
            key,
            ..self.clone()
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, (&[], Bytes::new())).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.ask(Method::POST, path, (headers, Bytes::from(body.to_string())))
            .await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        (headers, body): (&[(&str, &str)], Bytes),
    ) -> Answer {
        let response = self.send(method, path, (headers, body)).await;
        let (head, body) = response.into_parts();
        let body = soon("the answer's body", body.collect())
            .await
            .unwrap()
            .to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Posts, and returns when the answer begins.
    pub(crate) async fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Stream {
        let body = Bytes::from(body.to_string());
        self.begin(Method::POST, path, (headers, body)).await
    }

    /// Asks, and returns when the answer begins.
    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
        sent: (&[(&str, &str)], Bytes),
    ) -> Stream {
        let (head, body) = self.send(method, path, sent).await.into_parts();
        Stream {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        (headers, body): (&[(&str, &str)], Bytes),
    ) -> Response<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addr))
            .header("content-type", "application/json");
        if let Some(key) = self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        soon("an answer", self.http.request(request)).await.unwrap()
    }
}
