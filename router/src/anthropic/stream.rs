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
    /// Whether the block after them is open; only a text's is, for a tool's call comes whole.
    in_text: bool,
    ending: Ending,
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
            if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                self.text(&text, events);
            }
            for call in &choice.delta.tool_calls {
                let input = answer::input(call);
                self.close_text(events);
                self.open(&answer::tool_block(call, &Object::new()), events);
                let json = serde_json::to_string(&input).expect("an object has text keys");
                let delta = json!({"type": "input_json_delta", "partial_json": json});
                self.delta(&delta, events);
                self.close(events);
            }
            if let Some(finish) = choice.finish_reason {
                self.close_text(events);
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
            in_text: false,
            ending: Ending::default(),
        }
    }

    fn text(&mut self, text: &str, events: &mut Events) {
        if !self.in_text {
            self.in_text = true;
            self.open(&answer::text_block(""), events);
        }
        self.delta(&json!({"type": "text_delta", "text": text}), events);
    }

    fn open(&self, block: &Value, events: &mut Events) {
        events.tell(
            &json!({"type": "content_block_start", "index": self.blocks, "content_block": block}),
        );
    }

    fn delta(&self, delta: &Value, events: &mut Events) {
        events.tell(&json!({"type": "content_block_delta", "index": self.blocks, "delta": delta}));
    }

    fn close_text(&mut self, events: &mut Events) {
        if self.in_text {
            self.in_text = false;
            self.close(events);
        }
    }

    fn close(&mut self, events: &mut Events) {
        events.tell(&json!({"type": "content_block_stop", "index": self.blocks}));
        self.blocks += 1;
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
