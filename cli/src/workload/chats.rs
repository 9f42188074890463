//! A workload's calls as chats of an unchanged client. Owns: the request's body, with the whole conversation before it, and
//! nothing that says which program it is of.

use lps_api::quantity::Micros;
use serde_json::{Value, json};

use super::content::kept_before;
use super::{ProgramSpec, Workload};

/// Classes whose calls have tools: who asks next brings a tool's result.
const AGENTS: [&str; 4] = ["react", "swe-bench", "coding", "deep-research"];
/// A longer gap is a person's, who reads an answer and asks again.
const TOOL_GAP_MAX: Micros = Micros::from_secs(20);

/// How chats are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chats {
    /// All that begins, or goes on from the same call, asks the same.
    pub alike: bool,
}

impl Chats {
    /// The body of a call's request. `id` tells of a call before it the id of the tool call that it was answered with.
    pub fn body(
        self,
        workload: &Workload,
        (program, call): (usize, usize),
        id: impl Fn(usize) -> Option<String>,
    ) -> Vec<u8> {
        let spec = &workload.programs[program];
        let mut way = vec![call];
        while let Some(earlier) = kept_before(spec, *way.last().expect("it has a call")) {
            way.push(earlier);
        }
        way.reverse();
        let system = format!("You are one of {}.", spec.class);
        let mut messages = vec![json!({"role": "system", "content": system})];
        let first = self.asks((program, way[0]), 0);
        messages.push(json!({"role": "user", "content": first}));
        for (turn, pair) in way.windows(2).enumerate() {
            let (before, next) = (pair[0], pair[1]);
            let asks = self.asks((program, next), turn + 1);
            let answer = format!("Answer {program}.{before}.");
            let id = id(before).filter(|_| is_tools(spec, next));
            messages.extend(match id {
                None => [
                    json!({"role": "assistant", "content": answer}),
                    json!({"role": "user", "content": asks}),
                ],
                Some(id) => [
                    json!({"role": "assistant", "content": null, "tool_calls": [
                        {"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}}]}),
                    json!({"role": "tool", "tool_call_id": id, "content": asks}),
                ],
            });
        }
        let mut body = json!({"model": "unit", "messages": messages});
        if has_tools(spec) {
            let look = json!({"name": "look", "parameters": {"type": "object"}});
            body["tools"] = json!([{"type": "function", "function": look}]);
        }
        Value::to_string(&body).into_bytes()
    }

    fn asks(self, (program, call): (usize, usize), turn: usize) -> String {
        if self.alike {
            format!("Question {turn}?")
        } else {
            format!("Question {program}.{call}?")
        }
    }
}

fn has_tools(spec: &ProgramSpec) -> bool {
    AGENTS.contains(&spec.class.as_str())
}

/// Whether a call brings what a tool found.
fn is_tools(spec: &ProgramSpec, call: usize) -> bool {
    has_tools(spec) && spec.calls[call].gap <= TOOL_GAP_MAX
}
