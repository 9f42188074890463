//! Connections and plain requests. Owns: the pool of connections to engines and its bounds. Small packets are sent at
//! once on all of them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lps_api::protocol;
use lps_api::wellknown::header;

use crate::engine_client::secure::{Connector, Secured};

/// An engine that does not take a connection in this time is not there.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A connection that is not used is kept this long.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Most unused connections to one engine.
const IDLE_PER_ENGINE_MAX: usize = 256;
/// Longest time for a small request (commands, release, drain, tokenize).
const SMALL_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer that is read whole.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why an engine's answer is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it failed.
    #[error("engine at {uri} does not answer: {source}")]
    Connection {
        /// Where.
        uri: Uri,
        /// What failed.
        source: Box<hyper_util::client::legacy::Error>,
    },
    /// It answers too slowly.
    #[error("engine at {uri} gave no answer in {} s", SMALL_LIMIT.as_secs())]
    Slow {
        /// Where.
        uri: Uri,
    },
    /// The answer broke off, or is too large.
    #[error("answer of engine at {uri} cannot be read: {source}")]
    Body {
        /// Where.
        uri: Uri,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An answer that was read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its `content-type`.
    pub content_type: Option<HeaderValue>,
    /// Its body.
    pub body: Bytes,
}

/// Connections to engines; clones share them.
#[derive(Debug, Clone)]
pub struct Connections {
    client: Client<Connector, Full<Bytes>>,
}

impl Connections {
    /// Connections as they are to be secured; `None`: in plain HTTP.
    pub fn new(secured: Option<Secured>) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_LIMIT));
        http.enforce_http(secured.is_none());
        let connector = Connector { http, secured };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_PER_ENGINE_MAX)
            .build(connector);
        Self { client }
    }

    /// Sends a request and returns when the answer's head is there.
    ///
    /// # Errors
    /// When there is no connection, or it failed before the head.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let uri = request.uri().clone();
        let sent = self.client.request(request).await;
        sent.map_err(|source| Error::Connection {
            uri,
            source: Box::new(source),
        })
    }

    /// Opens an answer without end, such as the event stream.
    ///
    /// # Errors
    /// As [`Connections::send`].
    pub async fn get(&self, uri: Uri) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        request
            .headers_mut()
            .insert(header::PROTOCOL, HeaderValue::from(protocol::VERSION));
        self.send(request).await
    }

    /// Posts JSON and reads the whole answer, both within a fixed time.
    ///
    /// # Errors
    /// When there is no complete answer in that time.
    pub async fn post(&self, uri: Uri, body: Bytes) -> Result<Answer, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::PROTOCOL, HeaderValue::from(protocol::VERSION));
        let exchange = async {
            let response = self.send(request).await?;
            read_whole(&uri, response).await
        };
        let limited = tokio::time::timeout(SMALL_LIMIT, exchange).await;
        limited.unwrap_or_else(|_| Err(Error::Slow { uri: uri.clone() }))
    }
}

/// Reads an answer's body to its end.
///
/// # Errors
/// When it breaks off, or is larger than [`ANSWER_BYTES_MAX`].
pub async fn read_whole(uri: &Uri, response: Response<Incoming>) -> Result<Answer, Error> {
    let (head, body) = response.into_parts();
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = collected
        .map_err(|source| Error::Body {
            uri: uri.clone(),
            source,
        })?
        .to_bytes();
    let content_type = head.headers.get(CONTENT_TYPE).cloned();
    Ok(Answer {
        status: head.status,
        content_type,
        body,
    })
}
