//! The demo's program. Owns: its calls and what depends on what: a plan, its steps side by side, a join; then an agent
//! that asks a tool. Each call says in headers which program, thread and parents it has; nothing else is special.

use anyhow::Context;
use futures::future::try_join_all;
use lps_api::wellknown::header;
use serde_json::{Value, json};

use super::calculator;
use super::check::Done;
use crate::answer::{Answer, ask as ask_router};
use crate::client::Client;
use crate::console::{self, plain};

const TASK: &str = "a hiking trip";
const QUESTION: &str = "What is 317 * 24 + 9?";
/// Most calls of the agent.
const ROUNDS_MAX: usize = 4;
/// Most tokens of an answer.
const ANSWER_TOKENS: u32 = 160;

/// One run of the program.
#[derive(Debug)]
pub(super) struct Run<'a> {
    client: &'a Client,
    program: &'a str,
    model: String,
    quiet: bool,
    calls: Vec<Done>,
}

/// A call to be made.
struct Ask<'a> {
    call: String,
    thread: &'a str,
    parents: Vec<String>,
    messages: Value,
    tools: Option<Value>,
}

impl<'a> Run<'a> {
    pub(super) fn new(client: &'a Client, program: &'a str, model: String, quiet: bool) -> Self {
        Self {
            client,
            program,
            model,
            quiet,
            calls: Vec::new(),
        }
    }

    /// The calls that were made, with what each used.
    pub(super) fn calls(&self) -> &[Done] {
        &self.calls
    }

    pub(super) async fn play(&mut self) -> anyhow::Result<()> {
        let join = self.plan_steps_join().await?;
        self.agent(&join).await
    }

    /// A plan, its steps side by side, and a summary that waits for all of them; returns the summary's name.
    async fn plan_steps_join(&mut self) -> anyhow::Result<String> {
        let request = format!("Plan {TASK} in three steps.");
        self.say(&format!("plan  | {request}\n"))?;
        let plan = self.ask(Ask::of("plan", &[], &request), true).await?;
        let steps = steps(&plan.content);
        self.say(&format!("\nsteps | {} calls side by side\n", steps.len()))?;
        let asks = steps.iter().enumerate().map(|(index, step)| Ask {
            thread: ["left", "middle", "right"][index % 3],
            ..Ask::of(
                &format!("step-{}", index + 1),
                &["plan"],
                &format!("Task: {TASK}. Step: {step}. Do this step."),
            )
        });
        let run = &*self;
        let answers = try_join_all(asks.map(|ask| async move {
            let answer = run.send(&ask, |_| {}).await?;
            run.say(&format!(
                "      | {}: {}\n",
                ask.call,
                plain(&answer.content)
            ))?;
            anyhow::Ok((ask, answer))
        }))
        .await?;
        let mut results = String::new();
        let mut parents = Vec::new();
        for (ask, answer) in answers {
            results.push_str(&format!("\n- {}", answer.content));
            parents.push(ask.call.clone());
            self.done(ask, &answer)?;
        }
        self.say("\njoin  | waits for all of them\n")?;
        let join = Ask {
            parents,
            ..Ask::of(
                "join",
                &[],
                &format!("Summarise the results for {TASK}:{results}"),
            )
        };
        self.ask(join, true).await?;
        Ok("join".to_owned())
    }

    /// Asks, runs the tools that the model calls, and asks again until it answers in words.
    async fn agent(&mut self, after: &str) -> anyhow::Result<()> {
        self.say(&format!("\nagent | {QUESTION} (it has a calculator)\n"))?;
        let mut messages = vec![json!({"role": "user", "content": QUESTION})];
        let mut parent = after.to_owned();
        for round in 1..=ROUNDS_MAX {
            let call = format!("agent-{round}");
            let ask = Ask {
                call: call.clone(),
                thread: "agent",
                parents: vec![parent],
                messages: json!(messages),
                tools: Some(calculator::tools()),
            };
            let answer = self.ask(ask, true).await?;
            if answer.tool_calls.is_empty() {
                return Ok(());
            }
            messages.push(answer.message());
            for tool_call in &answer.tool_calls {
                let function = &tool_call["function"];
                let result = calculator::run(function);
                self.say(&format!(
                    "      | calls {} {}: {result}\n",
                    plain(function["name"].as_str().unwrap_or_default()),
                    plain(function["arguments"].as_str().unwrap_or_default()),
                ))?;
                messages.push(
                    json!({"role": "tool", "tool_call_id": tool_call["id"], "content": result}),
                );
            }
            parent = call;
        }
        anyhow::bail!("the model still calls tools after {ROUNDS_MAX} rounds")
    }

    /// Makes a call, shows its answer as it comes, and keeps what it used.
    async fn ask(&mut self, ask: Ask<'_>, show: bool) -> anyhow::Result<Answer> {
        let mut at_line_start = true;
        let quiet = self.quiet || !show;
        let answer = self
            .send(&ask, |text| {
                if quiet {
                    return;
                }
                let mut shown = plain(text).replace('\n', "\n      | ");
                if std::mem::take(&mut at_line_start) {
                    shown.insert_str(0, "      | ");
                }
                // The answer is checked at its end; a reader that left is found there.
                let _ = console::piece(&shown);
            })
            .await?;
        if !at_line_start {
            self.say("\n")?;
        }
        self.done(ask, &answer)?;
        Ok(answer)
    }

    async fn send(&self, ask: &Ask<'_>, show: impl FnMut(&str)) -> anyhow::Result<Answer> {
        let mut body = json!({
            "model": self.model, "messages": ask.messages, "temperature": 0, "max_tokens": ANSWER_TOKENS
        });
        if let Some(tools) = &ask.tools {
            body["tools"] = tools.clone();
        }
        let parents = ask.parents.join(",");
        let headers = [
            (header::PROGRAM_ID, self.program),
            (header::THREAD_ID, ask.thread),
            (header::CALL_ID, ask.call.as_str()),
            (header::PARENT_CALL_IDS, parents.as_str()),
        ];
        ask_router(self.client, &body, &headers, show)
            .await
            .with_context(|| format!("call {}", ask.call))
    }

    fn done(&mut self, ask: Ask<'_>, answer: &Answer) -> anyhow::Result<()> {
        let executor_us = answer
            .executor_us
            .with_context(|| format!("call {}: its answer does not say what it used", ask.call))?;
        self.calls.push(Done {
            call: ask.call,
            parents: ask.parents,
            executor_us,
        });
        Ok(())
    }

    fn say(&self, text: &str) -> std::io::Result<()> {
        if self.quiet {
            Ok(())
        } else {
            console::piece(text)
        }
    }
}

impl Ask<'_> {
    /// One message on the main thread.
    fn of(call: &str, parents: &[&str], message: &str) -> Self {
        Self {
            call: call.to_owned(),
            thread: "main",
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            messages: json!([{"role": "user", "content": message}]),
            tools: None,
        }
    }
}

/// The steps of a numbered list; a plan that is none is one step.
fn steps(plan: &str) -> Vec<String> {
    let step = |line: &str| {
        let (number, step) = line.trim().split_once(". ")?;
        number.parse::<u32>().ok()?;
        Some(step.trim().to_owned())
    };
    let mut steps: Vec<String> = plan.lines().filter_map(step).take(8).collect();
    if steps.is_empty() {
        steps.push(plan.lines().next().unwrap_or_default().trim().to_owned());
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_list_is_steps() {
        assert_eq!(
            steps("1. choose the tools\n2. pack the food\nthen"),
            ["choose the tools", "pack the food"]
        );
        assert_eq!(steps("just go"), ["just go"]);
    }
}
