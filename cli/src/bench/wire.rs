//! One call on the wire. Owns: the request, the times at which its pieces came, and what it used. Streams, so that the
//! first token has a time.

use anyhow::Context;
use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use serde_json::{Value, json};

use super::prompt::{Answer, Palette, Said, WORDS};
use crate::client::{Client, Error, Header};

/// Calls that tell a server's tokens from words.
const PROBE_WORDS: [usize; 2] = [16, 144];

/// How calls are made.
#[derive(Debug, Clone)]
pub(super) struct Wire<'a> {
    pub(super) client: &'a Client,
    pub(super) clock: Clock,
    pub(super) model: String,
    /// Whether the server is any that speaks OpenAI's API: text only, and no word that OpenAI does not know.
    pub(super) plain: bool,
    /// How long a call may take; an answer that is not complete by then counts as failed.
    pub(super) timeout: Micros,
    /// Whether answers have exactly the wanted length (`ignore_eos`, which plain servers may not know).
    pub(super) exact_output: bool,
}

/// What became of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) sent: Micros,
    pub(super) first_token: Option<Micros>,
    pub(super) end: Micros,
    pub(super) prompt_tokens: u32,
    pub(super) cached_tokens: u32,
    pub(super) executor: Option<Micros>,
    pub(super) answer: Answer,
    pub(super) error: Option<Failure>,
}

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether the server refuses the call itself (400, 413, 422), as with a prompt that is longer than its context;
    /// trying again would not help.
    pub(super) is_refusal: bool,
    pub(super) message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_refusal = matches!(
            &error,
            Error::Refused { status, .. } if [400, 413, 422].contains(&status.as_u16())
        );
        Self {
            is_refusal,
            message: error.to_string(),
        }
    }
}

impl Wire<'_> {
    fn now(&self) -> Micros {
        self.clock.now().into()
    }

    /// Makes a call and waits for its end.
    pub(super) async fn call(&self, said: &Said, output: u32, headers: &[Header<'_>]) -> Outcome {
        let mut outcome = Outcome {
            sent: self.now(),
            ..Outcome::default()
        };
        let streaming = self.stream(said, output, headers, &mut outcome);
        let result = tokio::time::timeout(self.timeout.as_duration(), streaming).await;
        outcome.end = self.now();
        outcome.error = match result {
            Ok(result) => result.err().map(Failure::from),
            Err(_) => Some(Failure {
                is_refusal: false,
                message: format!(
                    "no complete answer within {} s (--timeout)",
                    self.timeout.as_secs_f64()
                ),
            }),
        };
        outcome
    }

    async fn stream(
        &self,
        said: &Said,
        output: u32,
        headers: &[Header<'_>],
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let (path, body) = self.request(said, output);
        let mut events = self.client.stream(path, &body, headers).await?;
        while let Some(chunk) = events.next().await? {
            if outcome.take(&chunk) && outcome.first_token.is_none() {
                outcome.first_token = Some(self.now());
            }
        }
        Ok(())
    }

    fn request(&self, said: &Said, output: u32) -> (&'static str, Value) {
        let mut body = json!({
            "model": self.model, "max_tokens": output.max(1), "temperature": 0,
            "stream": true, "stream_options": {"include_usage": true},
        });
        if !self.plain {
            body["return_token_ids"] = json!(true);
        }
        if self.exact_output {
            body["ignore_eos"] = json!(true);
        }
        match said {
            Said::Ids(ids) => {
                body["prompt"] = json!(ids);
                ("/v1/completions", body)
            }
            Said::Text { text, .. } => {
                body["messages"] = json!([{"role": "user", "content": text}]);
                ("/v1/chat/completions", body)
            }
        }
    }

    /// What prompts are made of on this server.
    ///
    /// # Errors
    /// When it does not answer, or in a way that tells nothing.
    pub(super) async fn palette(&self) -> anyhow::Result<Palette> {
        if self.plain {
            return self.words().await;
        }
        let text = WORDS.join(" ");
        let body = json!({"model": self.model, "prompt": text, "add_special_tokens": false});
        let answer = self.client.post("/tokenize", &body).await;
        let answer = answer.context("the server does not tokenize; --plain sends it text")?;
        let mut ids: Vec<u32> = serde_json::from_value(answer["tokens"].clone())
            .context("the server's tokens are no list of ids; --plain sends it text")?;
        ids.sort_unstable();
        ids.dedup();
        anyhow::ensure!(
            ids.len() >= 2,
            "the server knows fewer than two tokens of {text:?}"
        );
        Ok(Palette::Ids(ids))
    }

    /// Tokens of a word, and of what the template adds, from two short calls.
    async fn words(&self) -> anyhow::Result<Palette> {
        let mut counted = Vec::new();
        for count in PROBE_WORDS {
            let words: Vec<_> = WORDS.iter().cycle().take(count).copied().collect();
            let said = Said::Text {
                text: words.join(" "),
                tokens: 0.0,
            };
            let outcome = self.call(&said, 1, &[]).await;
            if let Some(failure) = outcome.error {
                anyhow::bail!("the first call, to count its tokens: {}", failure.message);
            }
            anyhow::ensure!(
                outcome.prompt_tokens > 0,
                "the server does not say how many tokens a prompt has (usage with stream_options)"
            );
            counted.push(f64::from(outcome.prompt_tokens));
        }
        let more = (PROBE_WORDS[1] - PROBE_WORDS[0]) as f64;
        let tokens = ((counted[1] - counted[0]) / more).max(0.1);
        let overhead = (counted[0] - tokens * PROBE_WORDS[0] as f64).max(0.0);
        Ok(Palette::Words { tokens, overhead })
    }
}

impl Outcome {
    /// Takes a chunk; returns whether it brought something of the answer.
    pub(super) fn take(&mut self, chunk: &Value) -> bool {
        if let Some(usage) = chunk["usage"].as_object() {
            let count = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
            let of = |name: &str| usage.get(name).and_then(count);
            self.prompt_tokens = of("prompt_tokens").unwrap_or(self.prompt_tokens);
            self.answer.tokens = of("completion_tokens").unwrap_or(self.answer.tokens);
            let cached = &chunk["usage"]["prompt_tokens_details"]["cached_tokens"];
            self.cached_tokens = count(cached).unwrap_or(self.cached_tokens);
        }
        if let Some(executor_us) = chunk["lps"]["executor_us"].as_u64() {
            self.executor = Some(Micros(executor_us));
        }
        let choice = &chunk["choices"][0];
        let ids = choice["token_ids"].as_array();
        let ids = ids.into_iter().flatten().filter_map(Value::as_u64);
        let before = self.answer.ids.len();
        self.answer
            .ids
            .extend(ids.filter_map(|id| u32::try_from(id).ok()));
        let text = choice["text"]
            .as_str()
            .or(choice["delta"]["content"].as_str());
        let text = text.unwrap_or_default();
        self.answer.text.push_str(text);
        !text.is_empty() || self.answer.ids.len() > before
    }
}
