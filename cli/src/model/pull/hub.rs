//! The hub over HTTP. Owns: addresses, the token, redirects, and what an answer that is no success means to a user.

use std::io;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, HeaderMap, HeaderValue, LINK, LOCATION, RANGE, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lps_runtime::causes::with_causes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::address::{Repo, Revision, is_commit};
use super::listing::Entry;
use crate::console;
use crate::token::Token;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long nothing may come.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest pause that the hub may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Redirects of one request.
const REDIRECTS_MAX: usize = 5;
/// Pages of one listing, of 1000 files each.
const PAGES_MAX: usize = 20;
/// Tries after the first that the question for the commit gets at most: whether the hub is there at all shows soon, and
/// either what is in the folder serves until it is, or the pull is begun again by whoever wants it.
const FIRST_TRIES_MAX: usize = 3;
/// Longest answer that is read whole, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why the hub did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is no address.
    #[error("an endpoint is http(s)://HOST[:PORT], not {0:?}")]
    Endpoint(String),
    /// Nothing to check the hub's certificate by.
    #[error("no certificates of authorities on this machine: install the package ca-certificates")]
    Certificates(#[source] io::Error),
    /// The token cannot be sent.
    #[error("the token has characters that no header may have")]
    Token,
    /// A token is needed, or another one.
    #[error("{0}")]
    Forbidden(String),
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
    /// Another refusal.
    #[error("{what}: the hub says {status}: {message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The status.
        status: StatusCode,
        /// What the answer says.
        message: String,
    },
    /// What may pass: worth another try.
    #[error("{what}: {cause}")]
    Transient {
        /// What was asked for.
        what: String,
        /// What happened.
        cause: String,
        /// How long the hub wants to be left alone.
        pause: Duration,
    },
    /// The answer is not the hub's.
    #[error("{what}: the answer is not as a Hugging Face hub's: {reason}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// What may pass.
    pub(super) fn transient(what: &str, cause: impl Into<String>) -> Self {
        Self::Transient {
            what: what.to_owned(),
            cause: cause.into(),
            pause: Duration::ZERO,
        }
    }

    /// The pause that another try needs at least; `None`: no other try helps.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Transient { pause, .. } => Some(*pause),
            _ => None,
        }
    }
}

/// One repository of a hub.
pub(super) struct Hub {
    base: String,
    repo: Repo,
    authorization: Option<HeaderValue>,
    pauses: ExponentialBuilder,
    http: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
}

impl Hub {
    /// A hub at `http(s)://HOST[:PORT][/PATH]`; connects when it is used.
    pub(super) fn new(
        endpoint: &str,
        repo: &Repo,
        token: Option<&Token>,
        pauses: ExponentialBuilder,
    ) -> Result<Self, Error> {
        let base = endpoint.trim_end_matches('/');
        let is_address = base.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some()
                && uri.query().is_none()
        });
        if !is_address {
            return Err(Error::Endpoint(endpoint.chars().take(128).collect()));
        }
        let authorization = match token {
            Some(token) => token.bearer().map_err(|_| Error::Token)?,
            None => None,
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(Error::Certificates)?;
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        Ok(Self {
            base: base.to_owned(),
            repo: repo.clone(),
            authorization,
            pauses,
            http: legacy::Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// The pauses between tries.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        self.pauses.build()
    }

    /// The commit that a revision is now.
    pub(super) async fn commit(&self, revision: &Revision) -> Result<String, Error> {
        let what = format!("revision {revision} of {}", self.repo);
        let segment = revision.as_segment();
        let uri = format!("{}/api/models/{}/revision/{segment}", self.base, self.repo);
        let pauses = self.pauses().take(FIRST_TRIES_MAX);
        let (info, _): (Info, _) = self.json(&uri, &what, pauses).await?;
        if is_commit(&info.sha) {
            return Ok(info.sha);
        }
        let reason = "field `sha` is no commit".to_owned();
        Err(Error::Answer { what, reason })
    }

    /// The files and folders at the root of a commit.
    pub(super) async fn tree(&self, commit: &str) -> Result<Vec<Entry>, Error> {
        let what = format!("the files of {} at {commit}", self.repo);
        let mut uri = format!("{}/api/models/{}/tree/{commit}", self.base, self.repo);
        let mut entries = Vec::new();
        for _ in 0..PAGES_MAX {
            let (page, headers): (Vec<Entry>, _) = self.json(&uri, &what, self.pauses()).await?;
            entries.extend(page);
            match next_page(&headers) {
                None => return Ok(entries),
                Some(next) if next.starts_with(&format!("{}/", self.base)) => uri = next,
                Some(_) => {
                    let reason = "the next page is elsewhere".to_owned();
                    return Err(Error::Answer { what, reason });
                }
            }
        }
        let reason = format!("it has more than {PAGES_MAX} pages");
        Err(Error::Answer { what, reason })
    }

    /// A file's content from a byte on: 200 for all of it, 206 for the rest, 416 for none.
    pub(super) async fn file(
        &self,
        commit: &str,
        name: &str,
        from: u64,
    ) -> Result<Response<Incoming>, Error> {
        let uri = format!("{}/{}/resolve/{commit}/{name}", self.base, self.repo);
        self.get(&uri, &format!("{name} of {}", self.repo), from)
            .await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        uri: &str,
        what: &str,
        mut pauses: impl Iterator<Item = Duration>,
    ) -> Result<(T, HeaderMap), Error> {
        loop {
            let error = match self.json_once(uri, what).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let (Some(least), Some(pause)) = (error.pause(), pauses.next()) else {
                return Err(error);
            };
            tracing::info!("{error}; trying again");
            tokio::time::sleep(pause.max(least)).await;
        }
    }

    async fn json_once<T: DeserializeOwned>(
        &self,
        uri: &str,
        what: &str,
    ) -> Result<(T, HeaderMap), Error> {
        let (head, body) = self.get(uri, what, 0).await?.into_parts();
        let body = read(body, what).await?;
        let value = serde_json::from_slice(&body).map_err(|error| Error::Answer {
            what: what.to_owned(),
            reason: error.to_string(),
        })?;
        Ok((value, head.headers))
    }

    async fn get(&self, uri: &str, what: &str, from: u64) -> Result<Response<Incoming>, Error> {
        let elsewhere = |reason: &str| Error::Answer {
            what: what.to_owned(),
            reason: format!("its redirect {reason}"),
        };
        let first: Uri = uri.parse().map_err(|_| Error::Endpoint(uri.to_owned()))?;
        let mut uri = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.send(&uri, &first, (what, from)).await?;
            let status = answer.status();
            if !status.is_redirection() {
                return match status {
                    StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
                    StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => Ok(answer),
                    _ => Err(self.refusal(what, answer).await),
                };
            }
            let location = answer.headers().get(LOCATION);
            let location = location
                .and_then(|location| location.to_str().ok())
                .ok_or_else(|| elsewhere("names no address"))?;
            let next = join(&uri, location).ok_or_else(|| elsewhere("names no address"))?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(elsewhere("leaves TLS"));
            }
            uri = next;
        }
        Err(elsewhere(&format!("leads on, {REDIRECTS_MAX} times")))
    }

    async fn send(
        &self,
        uri: &Uri,
        first: &Uri,
        (what, from): (&str, u64),
    ) -> Result<Response<Incoming>, Error> {
        let agent = concat!("lps/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::get(uri.clone()).header(USER_AGENT, agent);
        // Large files lie on other machines, whose addresses are signed: the token is the hub's alone.
        let is_hub = uri.scheme() == first.scheme() && uri.authority() == first.authority();
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_hub) {
            request = request.header(AUTHORIZATION, authorization);
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let request = request
            .body(Empty::new())
            .map_err(|_| Error::Endpoint(uri.to_string()))?;
        match tokio::time::timeout(SILENCE_MAX, self.http.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::transient(what, with_causes(&error))),
            Err(_) => Err(Error::transient(what, "no answer")),
        }
    }

    async fn refusal(&self, what: &str, answer: Response<Incoming>) -> Error {
        let (head, body) = answer.into_parts();
        let (repo, base) = (&self.repo, &self.base);
        let body = read(body, what).await.unwrap_or_default();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let code = header("x-error-code").unwrap_or_default();
        match (head.status, code) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, "GatedRepo") => {
                Error::Forbidden(format!(
                    "{repo} is gated: accept its terms at {base}/{repo}, and give a token of that account (HF_TOKEN or --token-file)"
                ))
            }
            (StatusCode::UNAUTHORIZED, _) if self.authorization.is_none() => Error::Forbidden(
                format!("{repo} does not exist, or needs a token: set HF_TOKEN or --token-file"),
            ),
            (StatusCode::UNAUTHORIZED, _) => Error::Forbidden(format!(
                "{repo} does not exist, or the token is wrong or expired"
            )),
            (StatusCode::FORBIDDEN, _) => {
                Error::Forbidden(format!("the token may not read {repo}: {}", said(&body)))
            }
            (StatusCode::NOT_FOUND, "RepoNotFound") => {
                Error::NotFound(format!("{repo} does not exist at {base}"))
            }
            (StatusCode::NOT_FOUND, _) => Error::NotFound(format!("{what} does not exist")),
            (status, _) if is_passing(status) => Error::Transient {
                what: what.to_owned(),
                cause: format!("the hub says {status}"),
                pause: retry_after(&head.headers),
            },
            (status, _) => Error::Refused {
                what: what.to_owned(),
                status,
                message: said(&body),
            },
        }
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

async fn read(body: Incoming, what: &str) -> Result<Bytes, Error> {
    let whole = Limited::new(body, ANSWER_BYTES_MAX).collect();
    match tokio::time::timeout(SILENCE_MAX, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) => Err(Error::transient(what, error.to_string())),
        Err(_) => Err(Error::transient(what, "the answer does not end")),
    }
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
    let seconds = seconds.and_then(|text| text.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or_default()).min(RETRY_AFTER_MAX)
}

fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links
        .split(',')
        .find(|link| link.contains("rel=\"next\""))?;
    let address = next.trim().strip_prefix('<')?.split('>').next()?;
    Some(address.to_owned())
}

/// Where a redirect leads.
fn join(from: &Uri, location: &str) -> Option<Uri> {
    if !location.starts_with('/') {
        let uri: Uri = location.parse().ok()?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        return (is_web && uri.authority().is_some()).then_some(uri);
    }
    Uri::builder()
        .scheme(from.scheme_str()?)
        .authority(from.authority()?.as_str())
        .path_and_query(location)
        .build()
        .ok()
}

/// What a refusal says: the hub's `error`, else the body's beginning.
fn said(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json["error"].as_str());
    let text = match message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    console::plain(text.trim()).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_addresses_only() {
        let from: Uri = "https://hub/a".parse().expect("an address");
        let to = |location| join(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/b?c=d").as_deref(), Some("https://hub/b?c=d"));
        assert_eq!(to("https://cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!((to("ftp://cdn/x"), to("x")), (None, None));
        assert_eq!(to("//cdn/x").as_deref(), Some("https://hub//cdn/x"));
    }

    #[test]
    fn pauses_and_pages_are_read_from_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(
            (retry_after(&headers), next_page(&headers)),
            (Duration::ZERO, None)
        );
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        headers.insert(
            LINK,
            HeaderValue::from_static("<http://h/p?cursor=1>; rel=\"next\""),
        );
        assert_eq!(retry_after(&headers), Duration::from_secs(7));
        assert_eq!(next_page(&headers).as_deref(), Some("http://h/p?cursor=1"));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("99999999"));
        assert_eq!(retry_after(&headers), RETRY_AFTER_MAX);
    }
}
