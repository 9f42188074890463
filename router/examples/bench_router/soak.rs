//! Clients of many kinds of programs, for as many calls as are wanted. Owns: sending what a program does, and counting what
//! came of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures::future::join_all;
use lps_api::wellknown::header;
use lps_runtime::task;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::programs::{CALLS, Call, End, Fate, Kind, Program, THREADS, tool_result};
use crate::wire::Wire;

/// An answer that takes longer is lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Whoever leaves or cancels does so after this time.
const PATIENCE: Duration = Duration::from_millis(60);
/// How long programs live without a call: a day in minutes.
const TTL_S: f64 = 3.0;
/// Calls between two lines.
const CALLS_PER_LINE: u32 = 500;

/// What is asked, of whom, and how much.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Who is asked, as HOST:PORT.
    #[arg(long)]
    to: SocketAddr,
    /// Programs, of ten calls each.
    #[arg(long)]
    programs: u32,
    /// Programs at once.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// What programs do follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What came of a call.
#[derive(Debug, Clone)]
enum Outcome {
    Answered,
    Left,
    Cancelled,
    /// It has no answer, and why.
    Failed(String),
}

/// What came of all of them.
#[derive(Debug, Default)]
struct Sums {
    calls: u32,
    answered: u32,
    left: u32,
    cancelled: u32,
    failed: u32,
    error: Option<String>,
}

/// What all clients share.
struct Plan {
    options: Options,
    begun: AtomicU32,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (outcomes, mut told) = mpsc::unbounded_channel();
    let clients = options.clients;
    let plan = Arc::new(Plan {
        options,
        begun: AtomicU32::new(0),
        outcomes,
    });
    for _ in 0..clients {
        task::spawn("client", client(Arc::clone(&plan)));
    }
    drop(plan);
    let mut sums = Sums::default();
    while let Some(outcome) = told.recv().await {
        sums.add(outcome);
        if sums.calls.is_multiple_of(CALLS_PER_LINE) {
            writeln!(std::io::stdout(), "{}", sums.told())?;
        }
    }
    writeln!(std::io::stdout(), "{}", sums.told())?;
    Ok(())
}

async fn client(plan: Arc<Plan>) {
    let mut wires: Vec<Option<Wire>> = (0..THREADS).map(|_| None).collect();
    loop {
        let number = plan.begun.fetch_add(1, Ordering::Relaxed);
        if number >= plan.options.programs {
            return;
        }
        let program = Program::new(plan.options.seed, number);
        plan.play(program, &mut wires).await;
    }
}

impl Plan {
    async fn play(&self, mut program: Program, wires: &mut [Option<Wire>]) {
        let name = match program.kind {
            Kind::Tools => self.tools(&mut program, &mut wires[0]).await,
            Kind::Steps => self.steps(&mut program, &mut wires[0]).await,
            Kind::Threads => self.threads(&mut program, wires).await,
        };
        let Some(name) = name else { return };
        let (path, body) = match program.end {
            End::Said => (format!("/v1/programs/{name}/end"), json!({})),
            End::Cancelled => (format!("/v1/programs/{name}/cancel"), json!({})),
            // Opened again, a program lives as long as is said now.
            End::Expired => (
                "/v1/programs".to_owned(),
                json!({"id": name, "ttl_s": TTL_S}),
            ),
        };
        self.tell(&program, &path, &body).await;
    }

    async fn steps(&self, program: &mut Program, wire: &mut Option<Wire>) -> Option<String> {
        for number in 0..CALLS {
            let call = program.call(number);
            let headers = call.headers(program, None, &[]);
            self.call((program, &call), (headers, &[]), wire).await;
        }
        Some(program.name.clone())
    }

    async fn threads(&self, program: &mut Program, wires: &mut [Option<Wire>]) -> Option<String> {
        let (mut number, mut parents) = (0, Vec::new());
        while number < CALLS {
            let joins = number % (THREADS + 1) == THREADS;
            let count = if joins {
                1
            } else {
                THREADS.min(CALLS - number)
            };
            let calls: Vec<Call> = (0..count).map(|each| program.call(number + each)).collect();
            let program = &*program;
            let sent = calls.iter().zip(wires.iter_mut()).enumerate();
            let sent = sent.map(|(thread, (call, wire))| {
                let thread = (!joins).then_some(thread as u32);
                let headers = call.headers(program, thread, &parents);
                async move { self.call((program, call), (headers, &[]), wire).await }
            });
            join_all(sent).await;
            parents = calls.into_iter().map(|call| call.name).collect();
            number += count;
        }
        Some(program.name.clone())
    }

    /// Gives back the name that the router gave it.
    async fn tools(&self, program: &mut Program, wire: &mut Option<Wire>) -> Option<String> {
        let (mut before, mut name) = (Vec::new(), None);
        for number in 0..CALLS {
            let call = program.call(number);
            let headers = call.headers(program, None, &[]);
            let answer = self.call((program, &call), (headers, &before), wire).await;
            let Some((head, body)) = answer else { continue };
            name = name.or_else(|| named(&head));
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let id = body["choices"][0]["message"]["tool_calls"][0]["id"].as_str();
            before.extend(id.into_iter().flat_map(tool_result));
        }
        name
    }

    /// One call, whatever befalls it; its answer, where it has one.
    async fn call(
        &self,
        (program, call): (&Program, &Call),
        (headers, before): (String, &[Value]),
        wire: &mut Option<Wire>,
    ) -> Option<(String, Bytes)> {
        let request = self.request("/v1/chat/completions", &headers, &call.body(before));
        let exchange = tokio::time::timeout(ANSWER_LIMIT, exchange(self.options.to, wire, request));
        let (outcome, answer) = match call.fate {
            Fate::Answered => told(exchange.await.map_err(anyhow::Error::from).flatten()),
            Fate::Left => match tokio::time::timeout(PATIENCE, exchange).await {
                Err(_) => (Outcome::Left, None),
                Ok(answer) => told(answer.map_err(anyhow::Error::from).flatten()),
            },
            Fate::Cancelled => {
                let cancel = async {
                    tokio::time::sleep(PATIENCE).await;
                    let path = format!("/v1/calls/{}/cancel", call.name);
                    self.tell(program, &path, &json!({})).await;
                };
                let (answer, ()) = futures::future::join(exchange, cancel).await;
                match told(answer.map_err(anyhow::Error::from).flatten()) {
                    // It says in its status, or its last event, that it was cancelled.
                    (Outcome::Failed(_), _) => (Outcome::Cancelled, None),
                    answered => answered,
                }
            }
        };
        if !matches!(outcome, Outcome::Answered) {
            *wire = None;
        }
        // Whoever counts waits for all of them.
        let _ = self.outcomes.send(outcome);
        answer
    }

    /// Something else than a call; what is answered does not matter.
    async fn tell(&self, program: &Program, path: &str, body: &Value) {
        let headers = format!("{}: {}\r\n", header::TENANT_ID, program.tenant);
        let request = self.request(path, &headers, body);
        let mut wire = None;
        let told = exchange(self.options.to, &mut wire, request);
        let _ = tokio::time::timeout(ANSWER_LIMIT, told).await;
    }

    fn request(&self, path: &str, headers: &str, body: &Value) -> (Bytes, Bytes) {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            self.options.to,
            body.len()
        );
        (Bytes::from(head), Bytes::from(body))
    }
}

/// The head and the body of an answer.
async fn exchange(
    to: SocketAddr,
    wire: &mut Option<Wire>,
    request: (Bytes, Bytes),
) -> anyhow::Result<(String, Bytes)> {
    // An exchange that is given up leaves no connection behind that could be used again.
    let mut open = match wire.take() {
        Some(open) => open,
        None => Wire::open(to).await?,
    };
    let (head, length) = open.ask(request).await?;
    let body = open.rest(length).await?.freeze();
    *wire = Some(open);
    Ok((head, body))
}

/// An answer is whole if its status says so and, where it is a stream, its last event.
fn told(answer: anyhow::Result<(String, Bytes)>) -> (Outcome, Option<(String, Bytes)>) {
    let (head, body) = match answer {
        Ok(answer) => answer,
        Err(error) => return (Outcome::Failed(format!("{error:#}")), None),
    };
    let is_whole = body.ends_with(b"}") || body.ends_with(b"data: [DONE]\n\n");
    if head.starts_with("HTTP/1.1 200 ") && is_whole {
        return (Outcome::Answered, Some((head, body)));
    }
    let status = head.lines().next().unwrap_or_default();
    let last = String::from_utf8_lossy(&body[body.len().saturating_sub(200)..]).into_owned();
    (Outcome::Failed(format!("{status}: {last}")), None)
}

/// The program's name, as the router tells it.
fn named(head: &str) -> Option<String> {
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(header::PROGRAM_ID)
            .then_some(value)
    })?;
    Some(line.trim().to_owned())
}

impl Sums {
    fn add(&mut self, outcome: Outcome) {
        self.calls += 1;
        match outcome {
            Outcome::Answered => self.answered += 1,
            Outcome::Left => self.left += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Failed(error) => {
                self.failed += 1;
                self.error.get_or_insert(error);
            }
        }
    }

    fn told(&self) -> Value {
        json!({
            "calls": self.calls,
            "answered": self.answered,
            "left": self.left,
            "cancelled": self.cancelled,
            "failed": self.failed,
            "error": self.error,
        })
    }
}
