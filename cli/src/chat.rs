//! `lps chat`. Owns: one message, or a conversation; a conversation is one program with one thread.

use std::io::{IsTerminal, stdin};

use anyhow::Context;
use lps_api::wellknown::header;
use serde_json::{Value, json};

use crate::answer::{Answer, ask};
use crate::client::Client;
use crate::console;

/// Flags of `lps chat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The message; without one, a conversation: a line a message, until Ctrl-D.
    pub message: Vec<String>,
    /// Which model; by default the first that the router serves.
    #[arg(long, short)]
    pub model: Option<String>,
    /// What the model is told before all messages.
    #[arg(long, short)]
    pub system: Option<String>,
    /// Most tokens of an answer.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// 0 always takes the likeliest token.
    #[arg(long)]
    pub temperature: Option<f64>,
}

/// Chats.
///
/// # Errors
/// When there is no router, no model, or no complete answer.
pub async fn run(args: Args, client: &Client, json: bool) -> anyhow::Result<()> {
    let mut conversation = Conversation::begin(&args, client).await?;
    if !args.message.is_empty() {
        let said = conversation
            .say(&args.message.join(" "), client, json)
            .await;
        conversation.end(client).await;
        return said;
    }
    let prompts = stdin().is_terminal();
    loop {
        if prompts {
            console::piece("> ")?;
        }
        let Some(line) = next_line().await.context("standard input")? else {
            break;
        };
        if line.trim().is_empty() {
            continue;
        }
        if let Err(error) = conversation.say(line.trim(), client, json).await {
            // A conversation survives a failed answer; a script does not.
            if !prompts {
                return Err(error);
            }
            console::line(&format!("\n{error:#}"))?;
        }
    }
    if prompts {
        console::line("")?;
    }
    conversation.end(client).await;
    Ok(())
}

struct Conversation {
    program: String,
    body: Value,
}

impl Conversation {
    async fn begin(args: &Args, client: &Client) -> anyhow::Result<Self> {
        let model = match &args.model {
            Some(model) => model.clone(),
            None => first_model(client).await?,
        };
        let mut body = json!({"model": model, "messages": []});
        if let Some(system) = &args.system {
            body["messages"] = json!([{"role": "system", "content": system}]);
        }
        if let Some(max_tokens) = args.max_tokens {
            body["max_tokens"] = json!(max_tokens);
        }
        if let Some(temperature) = args.temperature {
            body["temperature"] = json!(temperature);
        }
        Ok(Self {
            program: fresh_id("chat"),
            body,
        })
    }

    /// Says a message and shows the answer; both are kept only when it is complete.
    async fn say(&mut self, message: &str, client: &Client, json: bool) -> anyhow::Result<()> {
        let mut body = self.body.clone();
        push(&mut body, json!({"role": "user", "content": message}));
        let headers = [(header::PROGRAM_ID, self.program.as_str())];
        // Nobody reading is no reason to keep the engine busy, but the answer is short: errors are found at its end.
        let show = |text: &str| drop((!json).then(|| console::piece(&console::plain(text))));
        let answer = ask(client, &body, &headers, show).await?;
        push(&mut body, answer.message());
        self.body = body;
        self.print_end(&answer, json)
    }

    fn print_end(&self, answer: &Answer, json: bool) -> anyhow::Result<()> {
        if json {
            let mut value = answer.message();
            value["finish_reason"] = json!(answer.finish_reason);
            value["program"] = json!(self.program);
            return Ok(console::json(&value)?);
        }
        for call in &answer.tool_calls {
            console::piece(&console::plain(&call["function"].to_string()))?;
        }
        if answer.finish_reason == "length" {
            console::piece(" […]")?;
        }
        Ok(console::line("")?)
    }

    async fn end(&self, client: &Client) {
        // The program ends by itself a little later when this cannot be said.
        let _ = client
            .post(&format!("/v1/programs/{}/end", self.program), &json!({}))
            .await;
    }
}

/// Reads a line on a thread of its own, so that nothing else waits for the user.
async fn next_line() -> anyhow::Result<Option<String>> {
    let read = || stdin().lines().next().transpose();
    Ok(tokio::task::spawn_blocking(read).await??)
}

fn push(body: &mut Value, message: Value) {
    if let Some(messages) = body["messages"].as_array_mut() {
        messages.push(message);
    }
}

/// The first model that the router serves.
///
/// # Errors
/// When it serves none.
pub async fn first_model(client: &Client) -> anyhow::Result<String> {
    let models = client.get("/v1/models").await?;
    let first = models["data"][0]["id"].as_str();
    first
        .map(str::to_owned)
        .with_context(|| format!("the router at {} serves no model", client.url()))
}

/// An id that no other run of this tool has.
pub fn fresh_id(prefix: &str) -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{prefix}-{:08x}", random & 0xffff_ffff)
}
