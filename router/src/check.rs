//! A look at a running router from where its clients are. Owns: the questions that `helm test` asks. It needs nothing
//! but the router's address.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lps_api::wellknown::header;
use lps_runtime::tls;
use serde_json::{Value, json};

use crate::discovery::EngineUrl;

/// What is asked, and how long the answers may take.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The router, as http://HOST:PORT or https://HOST:PORT.
    #[arg(long)]
    pub url: EngineUrl,
    /// Authorities of its certificate, as PEM, where it speaks TLS.
    #[arg(long, env = "LPS_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How long an answer may take, a start of an engine included, in seconds.
    #[arg(long, default_value_t = 300)]
    pub timeout: u64,
    /// The API key to ask with.
    #[arg(long, env = "LPS_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// Asks for the models, and each of them for a word. Gives back what was found, for people.
///
/// # Errors
/// When the router does not answer, or a model does not.
pub async fn run(options: &Options) -> anyhow::Result<String> {
    let limit = Duration::from_secs(options.timeout);
    tokio::time::timeout(limit, ask(options))
        .await
        .with_context(|| format!("no answer from {} in {limit:?}", options.url))?
}

async fn ask(options: &Options) -> anyhow::Result<String> {
    let url = &options.url;
    let asker = Asker {
        http: client(options.ca.as_deref())?,
        key: options.key.as_deref(),
    };
    let request = Request::get(url.at("/v1/models"));
    let Some(models) = asker.send(request, Value::Null).await? else {
        return Ok(format!(
            "{url} answers; it asks for an API key (LPS_API_KEY), so no model was asked"
        ));
    };
    let models: Vec<&str> = models["data"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|model| model["id"].as_str())
        .collect();
    for model in &models {
        let body = json!({
            "model": model,
            "messages": [{"role": "user", "content": "Say a word."}],
            "max_tokens": 8,
        });
        let request = Request::post(url.at("/v1/chat/completions"));
        let answer = asker.send(request, body).await?.unwrap_or_default();
        if answer["choices"][0]["message"]["content"]
            .as_str()
            .is_none()
        {
            bail!("model {model} answers {answer}");
        }
    }
    Ok(match models[..] {
        [] => format!("{url} answers; it serves no model yet"),
        _ => format!("{url} answers, and so does {}", models.join(", ")),
    })
}

fn client(ca: Option<&Path>) -> anyhow::Result<Http> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls::trusting(ca)?);
    let connector = builder.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

struct Asker<'a> {
    http: Http,
    key: Option<&'a str>,
}

impl Asker<'_> {
    /// The answer; `None` where a key is asked for and there is none.
    async fn send(&self, request: Builder, body: Value) -> anyhow::Result<Option<Value>> {
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let mut request = request.header(CONTENT_TYPE, "application/json");
        if let Some(key) = self.key {
            request = request.header(header::API_KEY, key);
        }
        let request = request.body(Full::new(body))?;
        let uri = request.uri().clone();
        let response = self.http.request(request).await;
        let response = response.with_context(|| format!("{uri} does not answer"))?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED && self.key.is_none() {
            return Ok(None);
        }
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{uri}: {status}: {}", String::from_utf8_lossy(&body));
        }
        let answer = serde_json::from_slice(&body)
            .with_context(|| format!("{uri} answers with something else"))?;
        Ok(Some(answer))
    }
}
