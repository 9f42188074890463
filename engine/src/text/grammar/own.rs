//! A grammar that a client wrote. Owns: what in it is refused or made fit before `llguidance` sees it, because the library
//! would work on it without bounds: intersections and complements of words, what is long, and schemas.

use serde_json::Value;

use super::cost::PATTERN_BYTES_MAX;
use super::{GrammarError, cost, numbers};

/// Of all of it: what may be left out costs as in a pattern, and there is more to write around it.
const BYTES_MAX: usize = 64 << 10;

/// The grammar, or why it is none.
///
/// # Errors
/// Where it has an intersection or a complement, a schema that is refused, or is too long.
pub(super) fn checked(text: &str) -> Result<String, GrammarError> {
    if text.len() > BYTES_MAX {
        return Err(GrammarError::TooLong(text.len(), BYTES_MAX));
    }
    let mut fit = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => quoted(rest, '"'),
            '/' if rest.starts_with("//") => line(rest),
            '/' => match quoted(rest, '/') {
                0..=PATTERN_BYTES_MAX => quoted(rest, '/'),
                bytes => return Err(GrammarError::TooLong(bytes, PATTERN_BYTES_MAX)),
            },
            '#' => line(rest),
            '<' => rest
                .find(['>', ' ', '\n'])
                .map_or(rest.len(), |end| end + 1),
            '&' => return refused("&"),
            // A number of times may follow it, too.
            '~' if !rest[1..]
                .trim_start()
                .starts_with(|c: char| c.is_ascii_digit()) =>
            {
                return refused("~");
            }
            _ if rest.starts_with(JSON) => {
                let after = &rest[JSON.len()..];
                let mut schemas = serde_json::Deserializer::from_str(after).into_iter::<Value>();
                if let Some(Ok(mut schema)) = schemas.next() {
                    cost::check(&schema)?;
                    numbers::fit(&mut schema)?;
                    fit.push_str(JSON);
                    fit.push_str(&schema.to_string());
                    rest = &after[schemas.byte_offset()..];
                    continue;
                }
                JSON.len()
            }
            c => c.len_utf8(),
        };
        fit.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Ok(fit)
}

/// What a schema stands after.
const JSON: &str = "%json";

fn refused<T>(what: &str) -> Result<T, GrammarError> {
    Err(GrammarError::Form(format!(
        "a grammar of one's own cannot have `{what}`: how long it takes to follow has no bound"
    )))
}

/// Bytes of a text that stands in these marks; all, where nothing ends it.
fn quoted(text: &str, mark: char) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == mark && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}
