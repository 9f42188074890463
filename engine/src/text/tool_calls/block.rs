//! What follows a mark, as calls. Owns: where a block of calls ends and what it says, in text that grows. Pure.

use serde_json::Value;

use super::format::{Body, CALL_ID, Called, ToolCallFormat};
use super::notation;
use crate::text::python_json::{Layout, dumps};

/// Text of one block, at most; a longer one is text.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Of a tool's name. OpenAI takes 64.
const NAME_BYTES_MAX: usize = 256;
/// Around JSON in an answer that is nothing else.
pub(super) const FENCE: &str = "```";
/// What may follow it in its line, such as `tool_code`.
const LANGUAGE_BYTES_MAX: usize = 16;

/// What is known of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It goes on.
    More,
    /// Its calls, and where in the text it ends.
    Calls(Vec<Called>, usize),
    /// It is none.
    Not,
}

/// A block that is being read. What was looked at is not looked at again.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Where it begins in the text, after the mark.
    begin: usize,
    is_marked: bool,
    /// The name, where it stands before the arguments, and where JSON begins.
    head: Option<(Option<String>, usize)>,
    json: Json,
    /// Where a notation's end is looked for.
    searched: usize,
}

impl Block {
    pub(super) fn new(begin: usize, is_marked: bool) -> Self {
        Self {
            begin,
            is_marked,
            head: None,
            json: Json::default(),
            searched: begin,
        }
    }

    /// Where it begins in the text.
    pub(super) fn begin(&self) -> usize {
        self.begin
    }

    /// Whether a mark stands before it.
    pub(super) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Reads on; the text is that of before, or longer.
    pub(super) fn read(&mut self, text: &str, format: &ToolCallFormat) -> Read {
        let read = match format.body {
            Body::Notation { quote } => self.notation(text, quote, format.close_mark()),
            Body::Object { .. } | Body::Named { .. } => self.json(text, format),
        };
        match read {
            Read::More if text.len() - self.begin > BLOCK_BYTES_MAX => Read::Not,
            read => read,
        }
    }

    fn notation(&mut self, text: &str, quote: &str, close: &str) -> Read {
        while let Some(at) = text[self.searched..].find(close) {
            let (end, after) = (self.searched + at, self.searched + at + close.len());
            match notation::called(&text[self.begin..end], quote) {
                Some(called) => return Read::Calls(vec![called], after),
                None if notation::ends_in_text(&text[self.begin..end], quote) => {
                    self.searched = after;
                }
                None => return Read::Not,
            }
        }
        let again = text.len().saturating_sub(close.len());
        self.searched = self.searched.max(text.floor_char_boundary(again));
        Read::More
    }

    fn json(&mut self, text: &str, format: &ToolCallFormat) -> Read {
        if self.head.is_none() {
            match self.find_json(text, format.body) {
                Ok(head) => self.head = Some(head),
                Err(read) => return read,
            }
        }
        let Some((name, begin)) = &self.head else {
            return Read::More;
        };
        let end = match self.json.read(&text[*begin..]) {
            Extent::Open => return Read::More,
            Extent::Broken => return Read::Not,
            Extent::Ended(end) => begin + end,
        };
        let close = match (self.is_marked, text[self.begin..].starts_with('{')) {
            (true, _) => format.close_mark(),
            (false, true) => "",
            (false, false) => FENCE,
        };
        let after = match closed(&text[end..], close) {
            Ok(length) => end + length,
            Err(read) => return read,
        };
        let Ok(value) = serde_json::from_str(&text[*begin..end]) else {
            return Read::Not;
        };
        let calls = match name {
            Some(name) => Some(vec![Called {
                name: name.clone(),
                arguments: dumps(&value, Layout::default()),
            }]),
            None => all_called(&value, self.is_marked),
        };
        calls.map_or(Read::Not, |calls| Read::Calls(calls, after))
    }

    /// Where JSON begins, and what name stands before it.
    fn find_json(&self, text: &str, body: Body) -> Result<(Option<String>, usize), Read> {
        let rest = text[self.begin..].trim_start();
        let at = text.len() - rest.len();
        let begins_like_json = rest.starts_with(['{', '[']);
        match body {
            _ if rest.is_empty() => Err(Read::More),
            _ if begins_like_json => {
                if !self.is_marked {
                    begins_like_a_call(rest)?;
                }
                Ok((None, at))
            }
            Body::Named { mark } => {
                let (name, begin) = name_before(rest, mark)?;
                Ok((Some(name), at + begin))
            }
            _ if !self.is_marked && rest.starts_with(FENCE) => {
                let inside = fenced(rest)?;
                begins_like_a_call(&rest[inside..])?;
                Ok((None, at + inside))
            }
            _ => Err(Read::Not),
        }
    }
}

/// What closes a block, after white space: where it ends.
fn closed(text: &str, close: &str) -> Result<usize, Read> {
    let rest = text.trim_start();
    if close.is_empty() {
        Ok(0)
    } else if rest.starts_with(close) {
        Ok(text.len() - rest.len() + close.len())
    } else if close.starts_with(rest) {
        Err(Read::More)
    } else {
        Err(Read::Not)
    }
}

/// An object's first key is one that calls have, so that other JSON need not wait for its end.
fn begins_like_a_call(text: &str) -> Result<(), Read> {
    let Some(inside) = text.strip_prefix('{') else {
        return Err(Read::Not);
    };
    let inside = inside.trim_start();
    let keys = ["\"name\"", "\"type\"", "\"parameters\"", "\"arguments\""];
    if keys.iter().any(|key| inside.starts_with(key)) {
        return Ok(());
    }
    let is_open = keys.iter().any(|key| key.starts_with(inside));
    Err(if is_open { Read::More } else { Read::Not })
}

/// Where the second line begins, after a fence.
fn fenced(text: &str) -> Result<usize, Read> {
    let line = text.find('\n');
    let language = &text[FENCE.len()..line.unwrap_or(text.len())];
    let is_word = language.chars().all(|c| c.is_alphanumeric() || c == '_');
    if language.len() > LANGUAGE_BYTES_MAX || !is_word {
        return Err(Read::Not);
    }
    let begin = line.ok_or(Read::More)? + 1;
    match text[begin..].trim_start() {
        "" => Err(Read::More),
        rest => Ok(text.len() - rest.len()),
    }
}

/// The name that stands first, and where the object after it begins.
fn name_before(text: &str, mark: &str) -> Result<(String, usize), Read> {
    let is_part = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
    let length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    if length == 0 || length > NAME_BYTES_MAX {
        return Err(Read::Not);
    }
    let mut rest = &text[length..];
    let skipped = |rest: &mut &str, mark: &str| match rest.strip_prefix(mark) {
        Some(after) => {
            *rest = after;
            Ok(true)
        }
        None if mark.starts_with(*rest) => Err(Read::More),
        None => Ok(false),
    };
    if skipped(&mut rest, CALL_ID)? {
        let id = rest.find(|c: char| !c.is_alphanumeric());
        let id = id.ok_or(Read::More)?;
        if id > NAME_BYTES_MAX {
            return Err(Read::Not);
        }
        rest = &rest[id..];
    }
    skipped(&mut rest, mark)?;
    match rest.trim_start() {
        "" => Err(Read::More),
        json if json.starts_with('{') => Ok((text[..length].to_owned(), text.len() - json.len())),
        _ => Err(Read::Not),
    }
}

/// The calls that an object or a list of objects says. What no mark told from text has both name and arguments.
fn all_called(value: &Value, is_marked: bool) -> Option<Vec<Called>> {
    match value {
        Value::Array(calls) if is_marked && !calls.is_empty() => calls.iter().map(called).collect(),
        Value::Object(call)
            if is_marked || call.contains_key("parameters") || call.contains_key("arguments") =>
        {
            Some(vec![called(value)?])
        }
        _ => None,
    }
}

fn called(call: &Value) -> Option<Called> {
    let name = call.get("name")?.as_str()?.to_owned();
    let arguments = match call.get("arguments").or_else(|| call.get("parameters")) {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(object) => dumps(object, Layout::default()),
    };
    Some(Called { name, arguments })
}

/// Follows an object or a list to its end, as far as brackets and quotes tell it.
#[derive(Debug, Clone, Default)]
struct Json {
    at: usize,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

/// How far a value goes.
#[derive(Debug, PartialEq, Eq)]
enum Extent {
    Open,
    Ended(usize),
    /// There is something that no JSON has there.
    Broken,
}

impl Json {
    fn read(&mut self, text: &str) -> Extent {
        if self.at > 0 && self.depth == 0 {
            return Extent::Ended(self.at);
        }
        for &byte in &text.as_bytes()[self.at..] {
            self.at += 1;
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Extent::Ended(self.at);
                    }
                }
                b',' | b':' | b'-' | b'+' | b'.' => {}
                byte if byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() => {}
                _ => return Extent::Broken,
            }
        }
        Extent::Open
    }
}
