//! Clients, each of which sends one request after the other. Owns: when requests are begun, and the figures.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures::future::join_all;
use lps_api::wellknown::header;
use lps_runtime::clock::Clock;
use lps_runtime::task;
use serde_json::{Value, json};

use crate::talk::Talk;
use crate::wire::Wire;

/// An answer that takes longer has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(20);

/// What is sent, to whom, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Who is asked, as HOST:PORT.
    #[arg(long)]
    to: SocketAddr,
    /// File with the request's body.
    #[arg(long)]
    body: PathBuf,
    /// Clients; each keeps its connection.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// How long requests are begun; those that are under way then are waited for.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Programs of one call each, after which no more are begun. Unset: each client is one program.
    #[arg(long)]
    programs: Option<u32>,
    /// Clients say nothing of programs: each has conversations that begin with the body's messages and grow.
    #[arg(long, conflicts_with = "programs")]
    unnamed: bool,
}

/// What all clients share.
struct Plan {
    to: SocketAddr,
    body: Bytes,
    /// What conversations begin with whose clients say nothing of programs.
    opening: Option<Value>,
    programs: Option<u32>,
    begun: AtomicU32,
    clock: Clock,
    until: Duration,
}

/// What one client saw, or all of them.
#[derive(Debug, Default)]
struct Seen {
    answers_us: Vec<f64>,
    ages_us: Vec<u64>,
    errors: u32,
    error: Option<String>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let clock = Clock::start();
    let body = Bytes::from(std::fs::read(&options.body)?);
    let opening = options.unnamed.then(|| serde_json::from_slice(&body));
    let plan = Arc::new(Plan {
        to: options.to,
        opening: opening.transpose()?,
        body,
        programs: options.programs,
        begun: AtomicU32::new(0),
        clock,
        until: Duration::from_secs_f64(options.seconds),
    });
    let clients = (0..options.connections)
        .map(|number| task::spawn("client", client(Arc::clone(&plan), number)));
    let mut seen = Seen::default();
    for one in join_all(clients).await {
        seen.add(one?);
    }
    writeln!(std::io::stdout(), "{}", seen.told(clock.now()))?;
    Ok(())
}

async fn client(plan: Arc<Plan>, number: u32) -> Seen {
    let mut seen = Seen::default();
    let mut wire = None;
    let mut talk = plan.opening.as_ref().map(|it| Talk::new(it, number));
    while let Some(program) = plan.next_program(number) {
        let request = match &mut talk {
            Some(talk) => plan.request("", talk.next_body()),
            None => plan.request(&program_header(&program), plan.body.clone()),
        };
        let exchange = plan.exchange(&mut wire, request, &mut seen);
        let failed = match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no whole answer in {} s", ANSWER_LIMIT.as_secs()),
        };
        wire = None;
        seen.errors += 1;
        seen.error.get_or_insert(failed);
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

impl Plan {
    /// Whose call is next; `None` when no more are begun.
    fn next_program(&self, client: u32) -> Option<String> {
        match self.programs {
            None => (self.clock.now() < self.until).then(|| format!("bench-client-{client}")),
            Some(count) => {
                let number = self.begun.fetch_add(1, Ordering::Relaxed);
                (number < count).then(|| format!("bench-program-{number}"))
            }
        }
    }

    /// A call's head, with these lines, and its body.
    fn request(&self, lines: &str, body: Bytes) -> (Bytes, Bytes) {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{lines}\
             content-length: {}\r\n\r\n",
            self.to,
            body.len()
        );
        (Bytes::from(head), body)
    }

    /// One call; a new connection is not part of its time.
    async fn exchange(
        &self,
        wire: &mut Option<Wire>,
        request: (Bytes, Bytes),
        seen: &mut Seen,
    ) -> anyhow::Result<()> {
        let wire = match wire {
            Some(wire) => wire,
            None => wire.insert(Wire::open(self.to).await?),
        };
        let begun = self.clock.now();
        wire.exchange(request, &mut seen.ages_us).await?;
        let took = self.clock.now().saturating_sub(begun);
        seen.answers_us.push(took.as_secs_f64() * 1e6);
        Ok(())
    }
}

fn program_header(program: &str) -> String {
    format!("{}: {program}\r\n", header::PROGRAM_ID)
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.answers_us.extend(other.answers_us);
        self.ages_us.extend(other.ages_us);
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
    }

    fn told(mut self, took: Duration) -> Value {
        self.answers_us.sort_by(f64::total_cmp);
        self.ages_us.sort_unstable();
        json!({
            "seconds": took.as_secs_f64(),
            "requests": self.answers_us.len(),
            "errors": self.errors,
            "error": self.error,
            "p50_us": quantile(&self.answers_us, 50),
            "p99_us": quantile(&self.answers_us, 99),
            "chunks": self.ages_us.len(),
            "chunk_p50_us": quantile(&self.ages_us, 50),
            "chunk_p99_us": quantile(&self.ages_us, 99),
        })
    }
}

/// Of values in their order; `None` where there are none.
fn quantile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[last * percent / 100])
}
