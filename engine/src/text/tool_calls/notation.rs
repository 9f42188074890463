//! Gemma's notation of a call: `call:NAME{KEY:VALUE,…}`, in which texts stand between marks instead of in quotes, and keys
//! stand bare. Owns: the call that it says, its arguments as JSON. Pure.

use serde_json::{Map, Number, Value};

use crate::text::python_json::{Layout, dumps};

/// Lists and objects inside each other, at most.
const DEPTH_MAX: u32 = 64;

/// The name and the arguments that all of a text says.
pub(super) fn called(text: &str, quote: &str) -> Option<(String, String)> {
    let (name, arguments) = text.trim().strip_prefix("call:")?.split_once('{')?;
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    let mut reader = Reader {
        rest: arguments,
        quote,
    };
    let arguments = reader.object(DEPTH_MAX)?;
    reader.rest.trim().is_empty().then(|| {
        let arguments = dumps(&Value::Object(arguments), Layout::default());
        (name.to_owned(), arguments)
    })
}

/// Where the mark stands that closes a notation, if it came; a mark between quotes is part of a value. Looks on from `at`.
pub(super) fn end(
    text: &str,
    at: &mut usize,
    in_text: &mut bool,
    [quote, close]: [&str; 2],
) -> Option<usize> {
    loop {
        let rest = &text[*at..];
        let next_quote = rest.find(quote);
        let before = &rest[..next_quote.unwrap_or(rest.len())];
        if let Some(found) = before.find(close).filter(|_| !*in_text) {
            return Some(*at + found);
        }
        let Some(found) = next_quote else {
            // The beginning of a mark may stand at the end.
            let most = quote.len().max(close.len()) - 1;
            let seen = text.floor_char_boundary(text.len().saturating_sub(most));
            *at = seen.max(*at);
            return None;
        };
        *in_text = !*in_text;
        *at += found + quote.len();
    }
}

struct Reader<'a> {
    rest: &'a str,
    quote: &'a str,
}

impl Reader<'_> {
    /// Takes what stands next, if it is that.
    fn take(&mut self, what: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(what)?;
        Some(())
    }

    /// What stands between two marks.
    fn text(&mut self) -> Option<String> {
        let inside = self.rest.trim_start().strip_prefix(self.quote)?;
        let (text, rest) = inside.split_once(self.quote)?;
        self.rest = rest;
        Some(text.to_owned())
    }

    /// What stands until one of the characters that may follow.
    fn word(&mut self, end: &[char]) -> Option<String> {
        let length = self.rest.find(end)?;
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        let word = word.trim();
        (!word.is_empty() && !word.contains(self.quote)).then(|| word.to_owned())
    }

    /// After its opening bracket.
    fn object(&mut self, depth: u32) -> Option<Map<String, Value>> {
        let mut object = Map::new();
        if self.take("}").is_some() {
            return Some(object);
        }
        loop {
            let key = self.text().or_else(|| self.word(&[':', ',', '{', '}']))?;
            self.take(":")?;
            object.insert(key, self.value(depth)?);
            if self.take("}").is_some() {
                return Some(object);
            }
            self.take(",")?;
        }
    }

    /// After its opening bracket.
    fn list(&mut self, depth: u32) -> Option<Vec<Value>> {
        let mut list = Vec::new();
        if self.take("]").is_some() {
            return Some(list);
        }
        loop {
            list.push(self.value(depth)?);
            if self.take("]").is_some() {
                return Some(list);
            }
            self.take(",")?;
        }
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        if let Some(text) = self.text() {
            return Some(Value::String(text));
        }
        if self.take("{").is_some() {
            return self.object(depth).map(Value::Object);
        }
        if self.take("[").is_some() {
            return self.list(depth).map(Value::Array);
        }
        let word = self.word(&[',', '}', ']'])?;
        Some(match word.as_str() {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" => Value::Null,
            number => match number.parse::<Number>() {
                Ok(number) => Value::Number(number),
                // A text without its marks.
                Err(_) => Value::String(word),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let call = called(text, "<q>");
        let call = call
            .as_ref()
            .map(|(name, arguments)| (name.as_str(), arguments.as_str()));
        assert_eq!(call, expected, "{text}");
    }

    #[test]
    fn a_notation_is_json_with_other_quotes() {
        for (text, arguments) in [
            ("call:f{}", "{}"),
            (
                "call:f{a:1,b:<q>x, \"y\"}\n<q>}",
                "{\"a\": 1, \"b\": \"x, \\\"y\\\"}\\n\"}",
            ),
            (
                "call:f{a:{b:[1.5,-2,<q><q>],<q>c d<q>:null},e:true}",
                "{\"a\": {\"b\": [1.5, -2, \"\"], \"c d\": null}, \"e\": true}",
            ),
            (
                "call:f{ a : Oslo , b : [] }",
                "{\"a\": \"Oslo\", \"b\": []}",
            ),
        ] {
            check(text, Some(("f", arguments)));
        }
    }

    #[test]
    fn what_is_none_is_told() {
        for text in [
            "f{}",
            "call:{}",
            "call:f",
            "call:f{a}",
            "call:f{a:}",
            "call:f{a:<q>x}",
            "call:f{a:1} b",
            "call:f{a:1,}",
            "call:f{a:1",
        ] {
            check(text, None);
        }
        let deep = format!("call:f{{a:{}{}}}", "[".repeat(100), "]".repeat(100));
        check(&deep, None);
    }
}
