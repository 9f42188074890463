//! What programs of `make soak` do. Owns: the kinds of programs, whose are which, and what befalls their calls; all of it
//! follows from a seed and the program's number. Must not know how calls are sent.

use lps_api::wellknown::header;
use serde_json::{Value, json};

use crate::engine::SLOW;
use crate::pieces::MODEL;

/// Tenants that programs are spread over.
const TENANTS: u64 = 4;
/// Calls of a program.
pub(crate) const CALLS: u32 = 10;
/// Threads of a program that has some; their calls run at once.
pub(crate) const THREADS: u32 = 3;

/// How a program's calls belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One call after the other, by the program's name.
    Steps,
    /// Threads side by side, and a call whose parents are all of them; and again.
    Threads,
    /// An agent that says nothing of programs: each call brings the result of the tool that the one before asked for.
    Tools,
}

/// What ends a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its client says so.
    Said,
    /// Its client cancels it.
    Cancelled,
    /// Nobody calls it any more.
    Expired,
}

/// What befalls a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Answered,
    /// Its client leaves before the answer's end.
    Left,
    /// Its client cancels it, by its name.
    Cancelled,
}

/// One program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) kind: Kind,
    pub(crate) end: End,
    dice: Dice,
}

/// One call of it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) fate: Fate,
    pub(crate) streams: bool,
    pub(crate) is_slow: bool,
}

impl Program {
    pub(crate) fn new(seed: u64, number: u32) -> Self {
        let mut dice = Dice(seed ^ (u64::from(number) << 32));
        let kind = match dice.below(10) {
            0..5 => Kind::Steps,
            5..8 => Kind::Threads,
            _ => Kind::Tools,
        };
        let end = match dice.below(10) {
            0..4 => End::Said,
            4..6 => End::Cancelled,
            _ => End::Expired,
        };
        Self {
            name: format!("soak-{seed}-{number}"),
            tenant: format!("tenant-{}", dice.below(TENANTS)),
            kind,
            end,
            dice,
        }
    }

    /// Its call of this number. Of a hundred six are slow, of which most do not come to their end.
    pub(crate) fn call(&mut self, number: u32) -> Call {
        // A tool's call has to be answered, or there would be no next one.
        let is_slow = self.kind != Kind::Tools && self.dice.below(100) < 6;
        let fate = match self.dice.below(10) {
            _ if !is_slow => Fate::Answered,
            0..4 => Fate::Left,
            4..8 => Fate::Cancelled,
            _ => Fate::Answered,
        };
        Call {
            name: format!("{}-{number}", self.name),
            fate,
            streams: self.kind != Kind::Tools && self.dice.below(2) == 0,
            is_slow,
        }
    }
}

impl Call {
    /// The body of its request, after what an agent did before.
    pub(crate) fn body(&self, before: &[Value]) -> Value {
        let pace = if self.is_slow { SLOW } else { "at once" };
        let mut messages =
            vec![json!({"role": "user", "content": format!("Look {pace}, {}", self.name)})];
        messages.extend_from_slice(before);
        json!({"model": MODEL, "messages": messages, "stream": self.streams, "max_tokens": 8})
    }

    /// The headers by which it belongs to a program.
    pub(crate) fn headers(
        &self,
        program: &Program,
        thread: Option<u32>,
        parents: &[String],
    ) -> String {
        let mut headers = format!("{}: {}\r\n", header::TENANT_ID, program.tenant);
        let mut add = |name: &str, value: &str| headers += &format!("{name}: {value}\r\n");
        if program.kind != Kind::Tools {
            add(header::PROGRAM_ID, &program.name);
            add(header::CALL_ID, &self.name);
        }
        if let Some(thread) = thread {
            add(header::THREAD_ID, &format!("thread-{thread}"));
        }
        if !parents.is_empty() {
            add(header::PARENT_CALL_IDS, &parents.join(","));
        }
        headers
    }
}

/// What a tool of this id answered, as the next request says it.
pub(crate) fn tool_result(id: &str) -> [Value; 2] {
    let function = json!({"name": "look", "arguments": "{}"});
    let calls = json!([{"id": id, "type": "function", "function": function}]);
    [
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
        json!({"role": "tool", "tool_call_id": id, "content": "nothing new"}),
    ]
}

/// Numbers that look like chance and are the same each time (splitmix64).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
