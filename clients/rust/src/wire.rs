//! How a router is spoken to. Owns: the headers of a call, which `async-openai` takes with its configuration once for all
//! tries; and the requests about programs, which it does not know.

use async_openai::config::{Config as _, OpenAIConfig};
use async_openai::error::{ApiError, ApiErrorResponse, OpenAIError, WrappedError};
use lps_api::ids::{CallId, ProgramId, ThreadId};
use lps_api::wellknown::header;
use reqwest::{RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// An address and its connections.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) config: OpenAIConfig,
    pub(crate) http: reqwest::Client,
}

/// Where a call belongs.
pub(crate) struct Headers<'a> {
    pub(crate) program: &'a ProgramId,
    pub(crate) thread: &'a ThreadId,
    pub(crate) call: &'a CallId,
    pub(crate) parents: &'a [CallId],
}

impl Wire {
    /// OpenAI's client for one call.
    pub(crate) fn client_of(
        &self,
        headers: &Headers<'_>,
    ) -> Result<async_openai::Client<OpenAIConfig>, Error> {
        let parents: Vec<&str> = headers.parents.iter().map(CallId::as_str).collect();
        let config = self.config.clone();
        let config = config
            .with_header(header::PROGRAM_ID, headers.program.as_str())?
            .with_header(header::THREAD_ID, headers.thread.as_str())?
            .with_header(header::CALL_ID, headers.call.as_str())?
            .with_header(header::PARENT_CALL_IDS, parents.join(","))?
            // Another try while the first still runs is the same call.
            .with_header("idempotency-key", headers.call.as_str())?;
        Ok(async_openai::Client::build(self.http.clone(), config))
    }

    pub(crate) async fn get<Row: DeserializeOwned>(&self, path: &str) -> Result<Row, Error> {
        self.row(self.http.get(self.config.url(path))).await
    }

    pub(crate) async fn post<Row: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Row, Error> {
        let request = self.http.post(self.config.url(path));
        self.row(request.json(body)).await
    }

    async fn row<Row: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Row, Error> {
        let answer = request.headers(self.config.headers()).send().await;
        let answer = answer.map_err(|error| self.explained(error.into()))?;
        let status_code = answer.status();
        let bytes = answer.bytes().await.map_err(OpenAIError::from)?;
        if let (true, Ok(row)) = (status_code.is_success(), serde_json::from_slice(&bytes)) {
            return Ok(row);
        }
        match serde_json::from_slice::<WrappedError>(&bytes) {
            Ok(WrappedError { error: api_error }) if knows_programs(status_code, &api_error) => {
                let refused = ApiErrorResponse {
                    status_code,
                    api_error,
                };
                Err(Error::Refused(OpenAIError::ApiError(refused)))
            }
            _ => Err(Error::NotARouter {
                url: self.config.api_base().to_owned(),
                status: status_code,
            }),
        }
    }

    /// OpenAI's error; that of nobody being there in words that help.
    pub(crate) fn explained(&self, error: OpenAIError) -> Error {
        match error {
            OpenAIError::Reqwest(source) if source.is_connect() => Error::Unreachable {
                url: self.config.api_base().to_owned(),
                source,
            },
            other => Error::Refused(other),
        }
    }
}

/// Whether a server misses a program and not the path.
fn knows_programs(status: StatusCode, error: &ApiError) -> bool {
    status != StatusCode::NOT_FOUND || error.code.as_deref() == Some("program_not_found")
}
