//! What load is put on. Owns: the flags, alike for all studies, that say which model is asked, what its server understands,
//! and how long it may take.

use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;

use super::wire::Wire;
use crate::chat::first_model;
use crate::client::Client;
use crate::token::Token;

/// Flags of every study that makes calls.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Which model; by default the first that the server has
    #[arg(long, short)]
    pub model: Option<String>,
    /// The server is any that speaks OpenAI's API: no ids in headers, text instead of token ids
    #[arg(long)]
    pub plain: bool,
    /// With --plain: ask for answers of exactly the wanted length (`ignore_eos`, as vLLM and SGLang know it)
    #[arg(long)]
    pub ignore_eos: bool,
    /// Seconds that a call may take; an answer that is not complete by then counts as failed
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = time)]
    pub timeout: Micros,
    /// The key that the server wants, where none is given by --key; better in the environment, since a command line is seen by others
    #[arg(
        long,
        value_name = "KEY",
        env = "OPENAI_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<Token>,
}

impl Target {
    /// The way to its model, whose clock starts now.
    ///
    /// # Errors
    /// When no model is named and the server does not say which it has.
    pub(super) async fn wire<'a>(&self, client: &'a Client) -> anyhow::Result<Wire<'a>> {
        let model = match &self.model {
            Some(model) => model.clone(),
            None => first_model(client).await?,
        };
        Ok(Wire {
            client,
            clock: Clock::start(),
            model,
            plain: self.plain,
            timeout: self.timeout,
            exact_output: !self.plain || self.ignore_eos,
        })
    }
}

/// A flag's seconds.
pub(super) fn time(text: &str) -> Result<Micros, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let time = Micros::from_secs_f64(seconds).filter(|_| seconds <= 1e6);
    time.ok_or_else(|| "its range is 0..=1000000 seconds".to_owned())
}
