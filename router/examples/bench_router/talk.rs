//! Conversations of a client that says nothing of programs. Owns: how one begins, goes on and ends: what its messages say is
//! all that tells which calls belong together. Must not know how calls are sent.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::pieces::ANSWER;

/// Calls of a conversation, after which another begins.
const CALLS: u32 = 8;

/// What a client says: one conversation after the other.
#[derive(Debug)]
pub(crate) struct Talk<'a> {
    opening: &'a Value,
    client: u32,
    calls: u32,
    /// The last request.
    request: Value,
}

impl<'a> Talk<'a> {
    /// Conversations that begin with this request, each in its own words.
    pub(crate) fn new(opening: &'a Value, client: u32) -> Self {
        Self {
            opening,
            client,
            calls: 0,
            request: Value::Null,
        }
    }

    /// The body of the next request: the one before with its answer, and what is said to that.
    pub(crate) fn next_body(&mut self) -> Bytes {
        let (number, turn) = (self.calls / CALLS, self.calls % CALLS);
        if turn == 0 {
            self.request = self.opening.clone();
            // All differ from here on: what the system says many share.
            let words = &mut self.request["messages"][1]["content"];
            let own = words.as_str().unwrap_or_default();
            *words = json!(format!("Task {number} of {}. {own}", self.client));
        } else if let Some(messages) = self.request["messages"].as_array_mut() {
            messages.push(json!({"role": "assistant", "content": ANSWER}));
            messages.push(json!({"role": "user", "content": format!("Go on with step {turn}.")}));
        }
        self.calls += 1;
        Bytes::from(self.request.to_string())
    }
}
