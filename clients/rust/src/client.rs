//! The way to a router. Owns: how it is found, and what is said when a program is opened.

use async_openai::config::OpenAIConfig;

use crate::error::Error;
use crate::program::{Opening, Program};
use crate::wire::Wire;

/// Talks to one router. Cloning it is cheap, and clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    wire: Wire,
}

impl Client {
    /// A client for `http://HOST:PORT`, or for a path there; `/v1` at its end may be left out. Connects when it is used.
    /// `https` needs a feature of `reqwest` that brings TLS.
    pub fn new(url: &str) -> Self {
        let url = url.trim_end_matches('/').trim_end_matches("/v1");
        let config = OpenAIConfig::new().with_api_base(format!("{url}/v1"));
        Self::with(config, reqwest::Client::new())
    }

    /// A client with a key, a timeout and whatever else these two know.
    pub fn with(config: OpenAIConfig, http: reqwest::Client) -> Self {
        Self {
            wire: Wire { config, http },
        }
    }

    /// Opens a program; one of that id that is live goes on.
    ///
    /// # Errors
    /// When no router answers, or it refuses.
    pub async fn open(&self, opening: &Opening) -> Result<Program, Error> {
        Program::open(self.wire.clone(), opening).await
    }
}
