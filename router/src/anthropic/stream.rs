//! A chat's stream as a message's events. Owns: which events come of a chunk, and which are the last: `message_stop`, or
//! `error`.

use lps_api::openai::{ChatChunk, ErrorBody, Object, ToolCall, Usage};
use serde_json::{Value, json};

use crate::anthropic::answer::{self, Ending};
use crate::anthropic::error;
use crate::translation::stream::{Events, Part, Target, parts};

/// A message, and how much of it was told.
#[derive(Debug)]
pub struct Message {
    id: String,
    has_begun: bool,
    /// Blocks that are closed.
    blocks: u32,
    /// What the block after them grows by, where one is open.
    open: Option<Growing>,
    /// The call whose block is open instead, with as much of its arguments as is not told.
    call: Option<ToolCall>,
    /// Whether they are an object: clients know nothing else.
    is_object: bool,
    ending: Ending,
}

/// What comes piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growing {
    Thoughts,
    Text,
}

impl Target for Message {
    fn chunk(&mut self, chunk: ChatChunk, events: &mut Events) {
        if !self.has_begun {
            self.has_begun = true;
            let blank = (&Ending::default(), Usage::default());
            let message = answer::object((&self.id, &chunk.model), Vec::new(), blank);
            events.tell(&json!({"type": "message_start", "message": message}));
        }
        for choice in chunk.choices {
            for part in parts(&choice.delta) {
                match part {
                    Part::Arguments(more) => self.arguments(more, events),
                    Part::Thoughts(text) => self.grow(Growing::Thoughts, text, events),
                    Part::Text(text) => self.grow(Growing::Text, text, events),
                    Part::Call(call) => self.begin_call(call, events),
                }
            }
            if let Some(finish) = choice.finish_reason {
                self.close_open(events);
                self.ending = Ending::new(finish, choice.stop_reason);
            }
        }
        if let Some(usage) = chunk.usage {
            let (delta, usage) = (&self.ending, answer::usage(usage));
            let mut last = json!({"type": "message_delta", "delta": delta, "usage": usage});
            if let Some(figures) = chunk.lps {
                last["lps"] = json!(figures);
            }
            events.tell(&last);
        }
    }

    fn done(&mut self, events: &mut Events) {
        events.tell(&json!({"type": "message_stop"}));
    }

    fn fail(&mut self, error: ErrorBody, events: &mut Events) {
        events.tell(&error::translated(&error));
    }
}

impl Message {
    /// The message `id`.
    pub fn new(id: String) -> Self {
        Self {
            id,
            has_begun: false,
            blocks: 0,
            open: None,
            call: None,
            is_object: false,
            ending: Ending::default(),
        }
    }

    fn grow(&mut self, kind: Growing, text: &str, events: &mut Events) {
        let (blank, delta) = match kind {
            Growing::Thoughts => (
                answer::thinking_block("", ""),
                json!({"type": "thinking_delta", "thinking": text}),
            ),
            Growing::Text => (
                answer::text_block(""),
                json!({"type": "text_delta", "text": text}),
            ),
        };
        if self.open != Some(kind) {
            self.close_open(events);
            self.open = Some(kind);
            self.start(&blank, events);
        }
        self.delta(&delta, events);
    }

    fn begin_call(&mut self, mut call: ToolCall, events: &mut Events) {
        self.close_open(events);
        self.start(&answer::tool_block(&call, &Object::new()), events);
        let arguments = std::mem::take(&mut call.function.arguments);
        self.is_object = false;
        self.call = Some(call);
        self.arguments(&arguments, events);
    }

    fn arguments(&mut self, more: &str, events: &mut Events) {
        let Some(call) = &mut self.call else { return };
        let untold = &mut call.function.arguments;
        untold.push_str(more);
        self.is_object |= untold.trim_start().starts_with('{');
        if self.is_object && !untold.is_empty() {
            let json = std::mem::take(untold);
            self.input(&json, events);
        }
    }

    fn close_call(&mut self, events: &mut Events) {
        let Some(call) = self.call.take() else { return };
        if !self.is_object {
            let input = answer::input(&call);
            let json = serde_json::to_string(&input).expect("an object has text keys");
            self.input(&json, events);
        }
        self.close(events);
    }

    fn input(&self, json: &str, events: &mut Events) {
        self.delta(
            &json!({"type": "input_json_delta", "partial_json": json}),
            events,
        );
    }

    fn start(&self, block: &Value, events: &mut Events) {
        events.tell(
            &json!({"type": "content_block_start", "index": self.blocks, "content_block": block}),
        );
    }

    fn delta(&self, delta: &Value, events: &mut Events) {
        events.tell(&json!({"type": "content_block_delta", "index": self.blocks, "delta": delta}));
    }

    fn close_open(&mut self, events: &mut Events) {
        self.close_call(events);
        let Some(kind) = self.open.take() else {
            return;
        };
        if kind == Growing::Thoughts {
            let signature = json!({"type": "signature_delta", "signature": answer::SIGNATURE});
            self.delta(&signature, events);
        }
        self.close(events);
    }

    fn close(&mut self, events: &mut Events) {
        events.tell(&json!({"type": "content_block_stop", "index": self.blocks}));
        self.blocks += 1;
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
