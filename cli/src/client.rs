//! HTTP to a router. Owns: requests, answers, and errors that say what to do. It talks HTTP, over TLS where the address says
//! so, to a router on this machine, elsewhere or through a forwarded port, or goes through a cluster's API server.

mod events;

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lps_api::ids::TenantId;
use lps_api::wellknown::header;
use lps_runtime::causes::with_causes;
use lps_runtime::tls::{provider, trusting};
use lps_runtime::watched::Problem;
use serde_json::Value;

use crate::cluster::{self, Body, Proxy};
use crate::token::Token;
pub use events::Events;

/// Longest answer that is read whole, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one.
    #[error(
        "a router's address is http://HOST:PORT or https://HOST:PORT, with a path where it has one, not {0:?}"
    )]
    Address(String),
    /// The file of authorities.
    #[error("--ca: {0}")]
    Ca(#[from] Problem),
    /// No authorities.
    #[error(
        "this machine knows no certificate authorities ({0}); name the router's with --ca FILE"
    )]
    NoAuthorities(std::io::Error),
    /// Nobody vouches for the router.
    #[error(
        "the router at {url} is not believed to be it ({cause}); name the authority of its certificate with --ca FILE"
    )]
    Disbelieved {
        /// Where.
        url: String,
        /// What is wrong with its certificate.
        cause: String,
    },
    /// The key cannot be sent.
    #[error("the API key has characters that no header may have")]
    Key,
    /// Nobody listens.
    #[error(
        "cannot reach the router at {url} ({cause}): start it with `make run` or `lps up FILE`, or name another with --url"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What the system says.
        cause: String,
    },
    /// Nobody answers in the cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The router says no.
    #[error("{message} ({status})")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its reason.
        message: String,
    },
    /// The answer broke off.
    #[error("the router's answer broke off: {0}")]
    Broken(String),
    /// The answer is not what was asked for.
    #[error("the address {url} answers, but not as a router does: {reason}")]
    NotARouter {
        /// Where.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

/// A header of a request.
pub type Header<'a> = (&'static str, &'a str);

/// The way to the router.
#[derive(Debug, Clone)]
enum Transport {
    /// Its own port.
    Direct(Http),
    /// The API server of its cluster.
    Cluster(Proxy),
}

type Http = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Talks to one router.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    transport: Transport,
    key: Option<Key>,
    /// In whose name it asks, where that is said.
    tenant: Option<TenantId>,
}

/// What the server knows its user by.
#[derive(Debug, Clone)]
struct Key {
    token: Token,
    header: (HeaderName, HeaderValue),
}

impl Key {
    /// What the server says, without the key that it may repeat.
    fn hidden(key: Option<&Self>, said: &str) -> String {
        key.map_or_else(|| said.to_owned(), |key| key.token.hide_in(said))
    }
}

impl Client {
    /// A client for `http(s)://HOST:PORT`, or for a path there; `/v1` at its end may be left out. Connects when it is used.
    /// Over TLS it believes the authorities in `ca`, else those of this machine.
    ///
    /// # Errors
    /// When the address is not one, or there are no authorities.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, Error> {
        let base = base(url).ok_or_else(|| Error::Address(url.chars().take(128).collect()))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let tls = HttpsConnectorBuilder::new();
        let tls = if ca.is_none() && base.starts_with("https:") {
            let known = tls.with_provider_and_native_roots(provider());
            known.map_err(Error::NoAuthorities)?
        } else {
            tls.with_tls_config(trusting(ca)?)
        };
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            base,
            transport: Transport::Direct(http),
            key: None,
            tenant: None,
        })
    }

    /// The same with an API key; one that it has stays. The header `authorization` is the API server's where a router is in a cluster, so there
    /// the key has its own.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn with_key(mut self, key: Option<&Token>) -> Result<Self, Error> {
        let Some(token) = key.filter(|_| self.key.is_none()) else {
            return Ok(self);
        };
        let (name, value) = if self.is_in_cluster() {
            (HeaderName::from_static(header::API_KEY), token.bare())
        } else {
            (AUTHORIZATION, token.bearer())
        };
        if let Some(value) = value.map_err(|_| Error::Key)? {
            self.key = Some(Key {
                token: token.clone(),
                header: (name, value),
            });
        }
        Ok(self)
    }

    /// A client for a router in a cluster.
    pub fn through(proxy: Proxy) -> Self {
        Self {
            base: format!("Service {}", proxy.name()),
            transport: Transport::Cluster(proxy),
            key: None,
            tenant: None,
        }
    }

    /// The same in the name of a tenant.
    pub fn of_tenant(self, tenant: Option<TenantId>) -> Self {
        Self { tenant, ..self }
    }

    /// The router's address, or its Service.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether the router is in a cluster.
    pub fn is_in_cluster(&self) -> bool {
        matches!(self.transport, Transport::Cluster(_))
    }

    /// The JSON answer of a GET.
    ///
    /// # Errors
    /// When there is none, or it is a refusal.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        self.get_with(path, &[]).await
    }

    /// The JSON answer of a GET with headers.
    ///
    /// # Errors
    /// When there is none, or it is a refusal.
    pub async fn get_with(&self, path: &str, headers: &[Header<'_>]) -> Result<Value, Error> {
        let answer = self.send(Method::GET, path, Bytes::new(), headers).await?;
        self.whole(answer).await
    }

    /// The status of a GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn status(&self, path: &str) -> Result<StatusCode, Error> {
        match self.send(Method::GET, path, Bytes::new(), &[]).await {
            Ok(answer) => Ok(answer.status()),
            Err(Error::Refused { status, .. }) => Ok(status),
            Err(error) => Err(error),
        }
    }

    /// The JSON answer of a POST.
    ///
    /// # Errors
    /// When there is none, or it is a refusal.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.post_with(path, body, &[]).await
    }

    /// The JSON answer of a POST with headers.
    ///
    /// # Errors
    /// When there is none, or it is a refusal.
    pub async fn post_with(
        &self,
        path: &str,
        body: &Value,
        headers: &[Header<'_>],
    ) -> Result<Value, Error> {
        let body = Bytes::from(body.to_string());
        let answer = self.send(Method::POST, path, body, headers).await?;
        self.whole(answer).await
    }

    /// The events of a POST that streams.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal.
    pub async fn stream(
        &self,
        path: &str,
        body: &Value,
        headers: &[Header<'_>],
    ) -> Result<Events, Error> {
        let body = Bytes::from(body.to_string());
        let answer = self.send(Method::POST, path, body, headers).await?;
        Ok(Events::new(answer.into_body(), self.key.clone()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[Header<'_>],
    ) -> Result<Response<Body>, Error> {
        let base = match self.transport {
            Transport::Direct(_) => self.base.as_str(),
            Transport::Cluster(_) => "",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            let (name, value) = key.header.clone();
            request = request.header(name, value);
        }
        let tenant = self
            .tenant
            .iter()
            .map(|it| (header::TENANT_ID, it.as_str()));
        for (name, value) in tenant.chain(headers.iter().copied()) {
            let value = HeaderValue::from_str(value)
                .map_err(|_| Error::Broken(format!("{value:?} cannot stand in header {name}")))?;
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request
            .body(body)
            .map_err(|_| Error::Address(format!("{base}{path}")))?;
        let answer = match &self.transport {
            Transport::Direct(http) => self.ask(http, request).await?,
            Transport::Cluster(proxy) => proxy.send(request).await?,
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = read(answer).await?;
        Err(Error::Refused {
            status,
            message: match refusal(&body) {
                none if none.is_empty() => format!("{} refuses and does not say why", self.base),
                said => Key::hidden(self.key.as_ref(), &said),
            },
        })
    }

    async fn ask(&self, http: &Http, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let answer = http.request(request.map(Full::new)).await;
        let answer = answer.map_err(|source| {
            let (url, cause) = (self.base.clone(), innermost(&source));
            if !source.is_connect() {
                Error::Broken(with_causes(&source))
            } else if cause.contains("certificate") {
                Error::Disbelieved { url, cause }
            } else {
                Error::Unreachable { url, cause }
            }
        })?;
        Ok(answer.map(|body| body.map_err(|error| with_causes(&error)).boxed_unsync()))
    }

    async fn whole(&self, answer: Response<Body>) -> Result<Value, Error> {
        let body = read(answer).await?;
        serde_json::from_slice(&body).map_err(|error| Error::NotARouter {
            url: self.base.clone(),
            reason: format!("its answer is no JSON: {error}"),
        })
    }
}

/// The address up to where paths begin; OpenAI's clients are given it with the `/v1` that stands in our paths.
fn base(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?.as_str();
    // A name and password in it would be kept wherever the address is.
    let scheme = uri
        .scheme_str()
        .filter(|scheme| ["http", "https"].contains(scheme))?;
    if authority.contains('@') || uri.query().is_some() || url.contains('#') {
        return None;
    }
    let path = uri.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    Some(format!(
        "{scheme}://{authority}{}",
        path.trim_end_matches('/')
    ))
}

async fn read(answer: Response<Body>) -> Result<Bytes, Error> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let whole = body
        .collect()
        .await
        .map_err(|error| Error::Broken(error.to_string()))?;
    Ok(whole.to_bytes())
}

/// What a refusal says: OpenAI's `error.message`, a Kubernetes Status' `message`, else the body's beginning.
fn refusal(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| {
        let is_api_server = json["kind"] == "Status";
        let own = json["message"].as_str().filter(|_| is_api_server);
        json["error"]["message"].as_str().or(own)
    });
    match message {
        // The API server's words, when no router holds the Lease.
        Some(message) if message.starts_with("no endpoints available") => format!(
            "{message}: no router works; see kubectl get pods -A -l app.kubernetes.io/name=lps-router"
        ),
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body)
            .trim()
            .chars()
            .take(200)
            .collect(),
    }
}

/// An id as one part of a path: what is not plainly harmless is escaped.
pub fn path_part(id: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    id.bytes().map(escape).collect()
}

fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => innermost(cause),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_or_without_tls_and_a_path() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://a:1/v1", "http://a:1"),
            ("https://a/v1", "https://a"),
            ("http://a:1/v1/", "http://a:1"),
            ("http://a:1/prefix", "http://a:1/prefix"),
            ("http://a:1/pre/fix//v1/", "http://a:1/pre/fix"),
            ("http://a:1/av1", "http://a:1/av1"),
        ] {
            assert_eq!(base(url).as_deref(), Some(expected));
        }
        for bad in [
            "",
            "127.0.0.1:8080",
            "ftp://a:1",
            "http://a:1/?b=c",
            "http://a:1/#b",
            "http://user:password@a:1",
            "http://a b:1",
        ] {
            assert_eq!(base(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_routers_words() {
        assert_eq!(
            refusal(br#"{"error": {"message": "no such model"}}"#),
            "no such model"
        );
        assert_eq!(refusal(b"Bad Gateway\n"), "Bad Gateway");
        assert_eq!(
            refusal(br#"{"kind": "Status", "message": "forbidden"}"#),
            "forbidden"
        );
        let none = refusal(br#"{"kind": "Status", "message": "no endpoints available"}"#);
        assert!(none.contains("no router works"), "{none}");
    }

    #[test]
    fn an_id_stays_one_part_of_the_path() {
        assert_eq!(path_part("run-7"), "run-7");
        assert_eq!(path_part("a/b?c d"), "a%2Fb%3Fc%20d");
    }

    #[tokio::test]
    async fn who_is_not_there_is_named_with_the_remedy() {
        let client = Client::new("http://127.0.0.1:1", None).expect("an address");
        let error = client
            .get("/v1/models")
            .await
            .expect_err("nobody listens on port 1");
        assert!(error.to_string().contains("lps up FILE"), "{error}");
    }
}
