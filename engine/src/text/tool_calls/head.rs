//! What stands before a call's arguments. Owns: the name, wherever the format has it, and where the arguments begin, in text
//! that may end anywhere. Pure.

use super::format::CALL_ID;
use super::json::SPACE;

/// Of a tool's name. OpenAI takes 64.
const NAME_BYTES_MAX: usize = 256;
/// Of a call before its arguments, from its name or its object's bracket on; an object in which it is longer is read when it is
/// whole.
const HEAD_BYTES_MAX: usize = 1024;
/// Around JSON in an answer that is nothing else.
pub(super) const FENCE: &str = "```";
/// What may follow it in its line, such as `tool_code`.
const LANGUAGE_BYTES_MAX: usize = 16;
/// The keys of arguments. What has both means the one that its format has.
pub(super) const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// More text will tell.
    Open,
    /// It is something else.
    Other,
}

/// What the beginning of a text says, at most so much that it may be read again with each token.
fn early<'a, T>(
    text: &'a str,
    read: impl FnOnce(&'a str) -> Result<T, Unknown>,
) -> Result<T, Unknown> {
    let end = text.floor_char_boundary(HEAD_BYTES_MAX);
    match read(&text[..end]) {
        Err(Unknown::Open) if text.len() > end => Err(Unknown::Other),
        found => found,
    }
}

/// The name that stands first, and where the object after it begins.
pub(super) fn name_before(text: &str, mark: &str) -> Result<(String, usize), Unknown> {
    early(text, |text| named(text, mark))
}

fn named(text: &str, mark: &str) -> Result<(String, usize), Unknown> {
    let is_part = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
    let length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    if length == 0 || length > NAME_BYTES_MAX {
        return Err(Unknown::Other);
    }
    let mut rest = &text[length..];
    let skipped = |rest: &mut &str, mark: &str| match rest.strip_prefix(mark) {
        Some(after) => {
            *rest = after;
            Ok(true)
        }
        None if mark.starts_with(*rest) => Err(Unknown::Open),
        None => Ok(false),
    };
    if skipped(&mut rest, CALL_ID)? {
        let id = rest.find(|c: char| !c.is_alphanumeric());
        if id.unwrap_or(rest.len()) > NAME_BYTES_MAX {
            return Err(Unknown::Other);
        }
        rest = &rest[id.ok_or(Unknown::Open)?..];
    }
    skipped(&mut rest, mark)?;
    match rest.trim_start() {
        "" => Err(Unknown::Open),
        json if json.starts_with('{') => Ok((text[..length].to_owned(), text.len() - json.len())),
        _ => Err(Unknown::Other),
    }
}

/// The name in a call's object, and where the object of its arguments begins, if only short texts stand before it. These are
/// under that key: under the other, what comes later may be meant.
pub(super) fn name_within<'a>(text: &'a str, key: &str) -> Result<(&'a str, usize), Unknown> {
    early(text, |text| Head { rest: text }.read(key))
}

/// An object's first key is one that calls have, so that other JSON need not wait for its end.
pub(super) fn begins_like_a_call(text: &str) -> Result<(), Unknown> {
    early(text, has_a_key_of_calls)
}

fn has_a_key_of_calls(text: &str) -> Result<(), Unknown> {
    let inside = text.strip_prefix('{').ok_or(Unknown::Other)?.trim_start();
    let keys = ["\"name\"", "\"type\"", "\"parameters\"", "\"arguments\""];
    if keys.iter().any(|key| inside.starts_with(key)) {
        return Ok(());
    }
    let is_open = keys.iter().any(|key| key.starts_with(inside));
    Err(if is_open {
        Unknown::Open
    } else {
        Unknown::Other
    })
}

/// Where JSON begins, after a fence and the rest of its line.
pub(super) fn fenced(text: &str) -> Result<usize, Unknown> {
    early(text, after_fence)
}

fn after_fence(text: &str) -> Result<usize, Unknown> {
    let line = text.find('\n');
    let language = &text[FENCE.len()..line.unwrap_or(text.len())];
    let is_word = language.chars().all(|c| c.is_alphanumeric() || c == '_');
    if language.len() > LANGUAGE_BYTES_MAX || !is_word {
        return Err(Unknown::Other);
    }
    let begin = line.ok_or(Unknown::Open)? + 1;
    match text[begin..].trim_start() {
        "" => Err(Unknown::Open),
        rest => Ok(text.len() - rest.len()),
    }
}

/// A call's object up to its arguments, of which this is left.
struct Head<'a> {
    rest: &'a str,
}

impl<'a> Head<'a> {
    fn read(mut self, own_key: &str) -> Result<(&'a str, usize), Unknown> {
        let length = self.rest.len();
        self.take("{")?;
        let mut name = None;
        loop {
            let key = self.word()?;
            self.take(":")?;
            if ARGUMENTS.contains(&key) && key != own_key {
                return Err(Unknown::Other);
            }
            if key == own_key {
                self.take("{")?;
                let begin = length - self.rest.len() - 1;
                return Ok((name.ok_or(Unknown::Other)?, begin));
            }
            let value = self.word()?;
            if key == "name" {
                name = Some(value);
            }
            self.take(",")?;
        }
    }

    /// Takes what stands next, after white space, if it is that.
    fn take(&mut self, what: &str) -> Result<(), Unknown> {
        let rest = self.rest.trim_start_matches(SPACE);
        if rest.is_empty() {
            return Err(Unknown::Open);
        }
        self.rest = rest.strip_prefix(what).ok_or(Unknown::Other)?;
        Ok(())
    }

    /// A text in quotes, without escapes.
    fn word(&mut self) -> Result<&'a str, Unknown> {
        self.take("\"")?;
        let ends = |c: char| c == '"' || c == '\\' || c < ' ';
        let end = self.rest.find(ends).ok_or(Unknown::Open)?;
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix('"').ok_or(Unknown::Other)?;
        Ok(word)
    }
}
