//! Tool calls in a choice's text. Owns: telling calls from text in pieces of any size, whatever their format. What is no call
//! after all stays text. Pure.

/// What a block of calls says.
mod block;
/// What stands before a call's arguments.
mod head;
/// Where JSON ends.
mod json;
/// What a call's JSON says.
mod whole;
/// Gemma's way to write a call.
mod notation;
/// The formats.
pub mod format;

#[cfg(test)]
mod tests;

use lps_api::ids::CallId;
use lps_api::openai::{FunctionDelta, ToolCallDelta};
use lps_api::tool_call;

use self::block::{Block, Read, Said};
use self::format::ToolCallFormat;
use self::head::FENCE;

/// How tool calls are told.
#[derive(Debug, Clone)]
pub struct ToolRules {
    /// How the model writes them.
    pub format: &'static ToolCallFormat,
    /// The call that ids are made from.
    pub call: CallId,
    /// The names of the tools that are offered.
    pub offered: Vec<String>,
    /// Whether calls after the first are dropped.
    pub only_one: bool,
}

impl ToolRules {
    fn offers(&self, name: &str) -> bool {
        self.offered.iter().any(|offered| offered == name)
    }
}

/// What may stand between calls that no mark tells from text.
const UNMARKED_BETWEEN: [char; 5] = [' ', '\n', '\r', '\t', ';'];

/// Splits a choice's text into text and calls.
#[derive(Debug, Clone)]
pub(super) struct ToolCallParser {
    rules: ToolRules,
    /// Which choice ids are made from.
    choice: u32,
    calls: u32,
    /// Of those, the ones that came to their end.
    complete: u32,
    /// Whether what is said now is left out.
    is_dropped: bool,
    /// Text that may belong to a call, and white space before it.
    held: String,
    /// What follows the mark in it.
    block: Option<Block>,
    /// Whether there was text since the last call.
    text_shown: bool,
    /// Whether what looked like a call without a mark was none.
    is_marked_only: bool,
}

/// What is certain after a piece.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parsed {
    /// Text outside of calls.
    pub(super) text: String,
    /// What is new of calls, one entry a call: what continues one stands before the text, what begins one after it.
    pub(super) calls: Vec<ToolCallDelta>,
}

impl ToolCallParser {
    pub(super) fn new(rules: &ToolRules, choice: u32) -> Self {
        Self {
            is_marked_only: !rules.format.goes_unmarked,
            rules: rules.clone(),
            choice,
            calls: 0,
            complete: 0,
            is_dropped: false,
            held: String::new(),
            block: None,
            text_shown: false,
        }
    }

    /// Whether the choice called something, and all of it came to its end.
    pub(super) fn has_whole_calls(&self) -> bool {
        self.has_calls() && self.complete == self.calls
    }

    fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Takes the next piece of text.
    pub(super) fn push(&mut self, piece: &str) -> Parsed {
        self.held.push_str(piece);
        let mut parsed = Parsed::default();
        loop {
            if let Some(mut block) = self.block.take() {
                let mut said = Vec::new();
                let read = block.read(&self.held, &self.rules, &mut said);
                self.say(said, &mut parsed.calls);
                match read {
                    Read::More => {
                        self.block = Some(block);
                        return parsed;
                    }
                    Read::Ended(end) => drop(self.held.drain(..end)),
                    Read::Not => match block.told() {
                        Some(told) => drop(self.held.drain(..told)),
                        None if block.is_marked() => self.show(block.begin(), &mut parsed.text),
                        None => self.is_marked_only = true,
                    },
                }
            } else if let Some((before, block)) = self.begin() {
                self.show(before, &mut parsed.text);
                self.block = Some(block);
            } else {
                self.show(self.certain_len(), &mut parsed.text);
                return parsed;
            }
        }
    }

    /// What is held back, when nothing more comes: calls as far as they came, the rest as text.
    pub(super) fn finish(&mut self) -> Parsed {
        let mut parsed = Parsed::default();
        if let Some(block) = self.block.take() {
            let mut said = Vec::new();
            let told = block.finish(&self.held, &mut said);
            self.say(said, &mut parsed.calls);
            self.held.drain(..told);
        }
        if !self.has_calls() || !self.held.trim().is_empty() {
            self.show(self.held.len(), &mut parsed.text);
        }
        parsed
    }

    /// Shows the beginning of what is held. White space between calls is theirs.
    fn show(&mut self, length: usize, shown: &mut String) {
        let text: String = self.held.drain(..length).collect();
        let text = if self.text_shown || !self.has_calls() {
            text.as_str()
        } else {
            text.trim_start()
        };
        if !text.is_empty() {
            self.text_shown = true;
            shown.push_str(text);
        }
    }

    /// The text before a block that begins in what is held, without white space, and the block.
    fn begin(&self) -> Option<(usize, Block)> {
        let format = self.rules.format;
        if let Some(rest) = self.unmarked()
            && (rest.starts_with('{') || rest.starts_with(FENCE))
        {
            return Some((0, Block::new(self.held.len() - rest.len(), false, format)));
        }
        let mark = format.mark;
        let at = self.held.find(mark)?;
        let before = self.held[..at].trim_end().len();
        Some((before, Block::new(at - before + mark.len(), true, format)))
    }

    /// What is held, where a call may begin without a mark.
    fn unmarked(&self) -> Option<&str> {
        let may = !self.is_marked_only && !self.text_shown;
        may.then(|| match self.has_calls() {
            true => self.held.trim_start_matches(UNMARKED_BETWEEN),
            false => self.held.trim_start(),
        })
    }

    /// All but a possible beginning of a call and white space before it.
    fn certain_len(&self) -> usize {
        if self.unmarked().is_some_and(|rest| FENCE.starts_with(rest)) {
            return 0;
        }
        let mark = self.rules.format.mark;
        let most = (mark.len() - 1).min(self.held.len());
        let beginning = (1..=most)
            .rev()
            .find(|length| self.held.ends_with(&mark[..*length]))
            .unwrap_or(0);
        self.held[..self.held.len() - beginning].trim_end().len()
    }

    fn say(&mut self, said: Vec<Said>, calls: &mut Vec<ToolCallDelta>) {
        for said in said {
            match said {
                Said::Call(name) => {
                    self.text_shown = false;
                    self.is_dropped = self.rules.only_one && self.has_calls();
                    if !self.is_dropped {
                        calls.push(self.call(name));
                    }
                }
                _ if self.is_dropped => {}
                Said::Arguments(more) => add(calls, self.more(more)),
                Said::Complete => self.complete += 1,
            }
        }
    }

    /// The first that is said of a call.
    fn call(&mut self, name: String) -> ToolCallDelta {
        let index = self.calls;
        self.calls += 1;
        ToolCallDelta {
            index,
            id: Some(tool_call::id(&self.rules.call, self.choice, index)),
            r#type: Some("function".to_owned()),
            function: FunctionDelta {
                name: Some(name),
                arguments: String::new(),
            },
        }
    }

    fn more(&self, arguments: String) -> ToolCallDelta {
        ToolCallDelta {
            index: self.calls - 1,
            function: FunctionDelta {
                name: None,
                arguments,
            },
            ..ToolCallDelta::default()
        }
    }
}

/// Adds what is new of a call to what was new before: clients expect one entry a call.
pub(super) fn add(calls: &mut Vec<ToolCallDelta>, delta: ToolCallDelta) {
    match calls.last_mut() {
        Some(call) if call.index == delta.index => {
            call.function.arguments += &delta.function.arguments;
        }
        _ if delta.id.is_none() && delta.function.arguments.is_empty() => {}
        _ => calls.push(delta),
    }
}
