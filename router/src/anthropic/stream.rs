//! A chat's stream as a message's events. Owns: which events come of a chunk, and which are the last: `message_stop`, or
//! `error`.

use lps_api::openai::{ChatChunk, ErrorBody, Object, Usage};
use serde_json::{Value, json};

use crate::anthropic::answer::{self, Ending};
use crate::anthropic::error;
use crate::translation::stream::{Events, Target};

/// A message, and how much of it was told.
#[derive(Debug)]
pub struct Message {
    id: String,
    has_begun: bool,
    /// Blocks that are closed.
    blocks: u32,
    /// What the block after them grows by, where one is open; a tool's call comes whole.
    open: Option<Growing>,
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
            let thoughts = (Growing::Thoughts, choice.delta.reasoning_content);
            for (kind, text) in [thoughts, (Growing::Text, choice.delta.content)] {
                if let Some(text) = text.filter(|text| !text.is_empty()) {
                    self.grow(kind, &text, events);
                }
            }
            for call in &choice.delta.tool_calls {
                let input = answer::input(call);
                self.close_open(events);
                self.start(&answer::tool_block(call, &Object::new()), events);
                let json = serde_json::to_string(&input).expect("an object has text keys");
                let delta = json!({"type": "input_json_delta", "partial_json": json});
                self.delta(&delta, events);
                self.close(events);
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

    fn start(&self, block: &Value, events: &mut Events) {
        events.tell(
            &json!({"type": "content_block_start", "index": self.blocks, "content_block": block}),
        );
    }

    fn delta(&self, delta: &Value, events: &mut Events) {
        events.tell(&json!({"type": "content_block_delta", "index": self.blocks, "delta": delta}));
    }

    fn close_open(&mut self, events: &mut Events) {
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
