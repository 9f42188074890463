//! What the engine writes: answers in one piece, streams, and the event stream for routers of ours. Owns: the bytes, and
//! when they go out.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use hyper::HeaderMap;
use hyper::body::Frame;
use lps_api::ids::CallId;
use lps_api::protocol::{
    Beginning, CHECKPOINT, CallProgress, CallState, CallUsage, Checkpoint, EngineEvent, HEARTBEAT,
    Hello, Load, VERSION,
};
use lps_api::quantity::{Attempt, Micros, Tokens};
use lps_api::tool_call;
use lps_api::wellknown::header;
use tokio::time::{Interval, interval};

use crate::ledger::Ledger;
use crate::stamp;

/// What the one model is called.
pub(crate) const MODEL: &str = "bench";
/// What it answers in one piece.
pub(crate) const ANSWER: &str = "An answer.";
/// Pieces of a stream that come at once.
pub(crate) const BURST: u32 = 8;
/// Pieces of a stream that come one after another.
pub(crate) const PACED: u32 = 40;
/// Time between two of those.
pub(crate) const PIECE_PERIOD: Duration = Duration::from_millis(25);
/// Of those, from one report about a running call to the next: 250 ms, as engines do it.
const PIECES_PER_REPORT: u32 = 10;
/// A step of the engine, after which it reports.
const STEP: Duration = Duration::from_millis(10);

const USAGE: CallUsage = CallUsage {
    prompt_tokens: Tokens(256),
    cached_tokens: Tokens(128),
    output_tokens: Tokens(8),
    executor_us: Micros(1_000),
};

/// One part of a body.
pub(crate) type Part = Result<Frame<Bytes>, Infallible>;

/// A call of a router of ours, which is told more than others are.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    call: CallId,
    attempt: Attempt,
    ledger: Ledger,
}

impl Told {
    /// `None` for a call of anyone else.
    pub(crate) fn read(headers: &HeaderMap, ledger: &Ledger) -> Option<Self> {
        let text = |name| headers.get(name)?.to_str().ok();
        Some(Self {
            call: text(header::CALL_ID)?.parse().ok()?,
            attempt: Attempt(text(header::ATTEMPT)?.parse().ok()?),
            ledger: ledger.clone(),
        })
    }

    /// The id of a tool call of it.
    pub(crate) fn tool(&self) -> String {
        tool_call::id(&self.call, 0, 0)
    }

    /// Reports a state.
    pub(crate) fn is(&self, state: CallState) {
        self.ledger.report(CallProgress {
            call: self.call.clone(),
            attempt: self.attempt,
            state,
            usage: USAGE,
        });
    }
}

/// An answer in one piece, which asks for a tool where that is to have an id.
pub(crate) fn completion(tool: Option<String>) -> Bytes {
    let usage = json(&USAGE);
    let tool = tool.map_or(String::new(), |id| {
        format!(
            ",\"tool_calls\":[{{\"id\":\"{id}\",\"type\":\"function\",\"function\":{{\"name\":\"look\",\"arguments\":\"{{}}\"}}}}]"
        )
    });
    Bytes::from(format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{ANSWER}\"{tool}}},\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":256,\"completion_tokens\":8,\"total_tokens\":264}},\"lps\":{usage}}}"
    ))
}

/// A streamed answer under way.
struct Stage {
    number: u32,
    count: u32,
    period: Option<Interval>,
    told: Option<Told>,
}

/// A streamed answer of so many pieces, each of which says when it was sent; all at once, or by the period.
pub(crate) fn stream_of(
    count: u32,
    period: Option<Duration>,
    told: Option<Told>,
) -> impl Stream<Item = Part> {
    let stage = Stage {
        number: 0,
        count,
        period: period.map(interval),
        told,
    };
    stream::unfold(stage, Stage::next)
}

impl Stage {
    async fn next(mut self) -> Option<(Part, Self)> {
        if self.number > self.count {
            return None;
        }
        if let Some(period) = &mut self.period {
            period.tick().await;
        }
        let closes = self.number == self.count;
        if let Some(told) = &self.told {
            if closes {
                told.is(CallState::Finished);
            } else if self.number.is_multiple_of(PIECES_PER_REPORT) {
                told.is(CallState::Running);
            }
        }
        let text = self.checkpoint(closes) + &self.event(closes);
        self.number += 1;
        Some((Ok(Frame::data(Bytes::from(text))), self))
    }

    fn event(&self, closes: bool) -> String {
        let (delta, finish, more) = if closes {
            let more = format!(",\"lps\":{}", json(&USAGE));
            ("{}".to_owned(), "\"stop\"", more)
        } else {
            let stamp = stamp::now_us();
            let delta = format!("{{\"role\":\"assistant\",\"content\":\"{stamp}\"}}");
            (delta, "null", String::new())
        };
        let done = if closes { "data: [DONE]\n\n" } else { "" };
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{MODEL}\",\
             \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]{more}}}\n\n{done}"
        )
    }

    /// What only routers of ours get.
    fn checkpoint(&self, closes: bool) -> String {
        if self.told.is_none() {
            return String::new();
        }
        let checkpoint = Checkpoint {
            beginning: (self.number == 0).then_some(Beginning {
                created: 1,
                seed: 1,
            }),
            tokens: if closes {
                Vec::new()
            } else {
                vec![self.number]
            },
            closes,
        };
        format!("{CHECKPOINT}{}\n", json(&checkpoint))
    }
}

impl Drop for Stage {
    /// Before its end the connection was closed.
    fn drop(&mut self) {
        if let Some(told) = &self.told
            && self.number <= self.count
        {
            told.is(CallState::Cancelled);
        }
    }
}

/// The event stream under way; it has no steps before its first line.
struct Lines {
    ledger: Ledger,
    steps: Option<Interval>,
    steps_to_heartbeat: u32,
}

/// The event stream of a router of ours, as an engine writes it: a line a step about calls, and heartbeats.
pub(crate) fn events(ledger: Ledger) -> impl Stream<Item = Part> {
    let lines = Lines {
        ledger,
        steps: None,
        steps_to_heartbeat: 0,
    };
    stream::unfold(lines, Lines::next)
}

impl Lines {
    async fn next(mut self) -> Option<(Part, Self)> {
        let event = self.event().await;
        let line = json(&event) + "\n";
        Some((Ok(Frame::data(Bytes::from(line))), self))
    }

    async fn event(&mut self) -> EngineEvent {
        let Some(steps) = &mut self.steps else {
            self.steps = Some(interval(STEP));
            return EngineEvent::Hello(hello());
        };
        loop {
            steps.tick().await;
            if self.steps_to_heartbeat == 0 {
                let apart = HEARTBEAT.as_duration().as_millis() / STEP.as_millis();
                self.steps_to_heartbeat = u32::try_from(apart).unwrap_or(1);
                return EngineEvent::Heartbeat(Load::default());
            }
            self.steps_to_heartbeat -= 1;
            let calls = self.ledger.take_reports();
            if !calls.is_empty() {
                return EngineEvent::Progress { calls };
            }
        }
    }
}

/// An engine with room for all that a measurement sends at once.
fn hello() -> Hello {
    Hello {
        protocol: VERSION,
        engine: "bench-engine".parse().expect("an id"),
        model: MODEL.parse().expect("a name"),
        incarnation: u64::from(std::process::id()),
        max_num_seqs: 1_024,
        max_model_len: Tokens(1 << 20),
        max_batched_tokens: Tokens(8_192),
        block_tokens: Tokens(16),
        kv_blocks_total: 1 << 24,
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("protocol messages have text keys only")
}
