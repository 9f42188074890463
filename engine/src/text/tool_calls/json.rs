//! Where JSON ends in text that grows. Owns: following an object or a list byte by byte, each once, and the first place that no
//! JSON has. Pure.

/// What JSON has between its parts.
pub(super) const SPACE: [char; 4] = [' ', '\n', '\r', '\t'];

/// Follows an object or a list to its end.
#[derive(Debug, Clone)]
pub(super) struct Json {
    /// How far it was read.
    at: usize,
    /// What closes the objects and lists that are open, the innermost last: one byte for each that was read, so a block's bound
    /// is theirs.
    open: Vec<u8>,
    next: Next,
    /// Whether the text that is open, or was, is a key.
    is_key: bool,
}

/// How far a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Open,
    /// It ended before this place.
    Ended(usize),
    /// At this place is something that no JSON has there; what stands before it is the beginning of some.
    Broken(usize),
}

/// What may stand next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Value,
    /// Or the end of the list.
    FirstValue,
    Key,
    /// Or the end of the object.
    FirstKey,
    Colon,
    /// A comma or an end.
    Comma,
    /// More of a text.
    Text,
    /// What a backslash escapes.
    Escape,
    /// So many digits of an escape.
    Hex(u8),
    /// This rest of a literal.
    Literal(&'static [u8]),
    /// More of a number.
    Number(Number),
}

/// What of a number stands last.
#[derive(Debug, Clone, Copy)]
enum Number {
    Sign,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    ExponentSign,
    Exponent,
}

impl Json {
    /// A value whose first bracket stands there.
    pub(super) fn new(at: usize) -> Self {
        Self {
            at,
            open: Vec::new(),
            next: Next::Value,
            is_key: false,
        }
    }

    /// An object of which one field or more was read, up to there.
    pub(super) fn inside(at: usize) -> Self {
        Self {
            open: vec![b'}'],
            next: Next::Comma,
            ..Self::new(at)
        }
    }

    /// Reads on; the text is that of before, or longer.
    pub(super) fn read(&mut self, text: &str) -> Extent {
        for &byte in &text.as_bytes()[self.at..] {
            let Some(next) = self.after(byte) else {
                return Extent::Broken(self.at);
            };
            self.next = next;
            self.at += 1;
            if self.open.is_empty() {
                return Extent::Ended(self.at);
            }
        }
        Extent::Open
    }

    /// What may stand after a byte; `None`: it may not stand here.
    fn after(&mut self, byte: u8) -> Option<Next> {
        let next = match (self.next, byte) {
            (Next::Text, b'"') if self.is_key => Next::Colon,
            (Next::Text, b'"') => Next::Comma,
            (Next::Text, b'\\') => Next::Escape,
            (Next::Text, b' '..) => Next::Text,
            (Next::Escape, b'u') => Next::Hex(4),
            (Next::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Next::Text,
            (Next::Hex(left), _) if byte.is_ascii_hexdigit() => match left {
                1 => Next::Text,
                _ => Next::Hex(left - 1),
            },
            (Next::Literal(rest), _) => match rest.strip_prefix(&[byte])? {
                [] => Next::Comma,
                rest => Next::Literal(rest),
            },
            (Next::Number(number), _) => match number.after(byte) {
                Some(number) => Next::Number(number),
                None if number.may_end() => {
                    self.next = Next::Comma;
                    self.after(byte)?
                }
                None => return None,
            },
            (Next::Text | Next::Escape | Next::Hex(_), _) => return None,
            (between, _) if SPACE.contains(&char::from(byte)) => between,
            (Next::Key | Next::FirstKey, b'"') => self.text(true),
            (Next::Colon, b':') => Next::Value,
            (Next::Comma, b',') => match self.open.last()? {
                b'}' => Next::Key,
                _ => Next::Value,
            },
            (Next::FirstKey | Next::FirstValue | Next::Comma, b'}' | b']') => {
                self.open.pop_if(|close| *close == byte)?;
                Next::Comma
            }
            (Next::Value | Next::FirstValue, _) => self.value(byte)?,
            _ => return None,
        };
        Some(next)
    }

    /// What may stand after a value's first byte.
    fn value(&mut self, byte: u8) -> Option<Next> {
        Some(match byte {
            b'{' => {
                self.open.push(b'}');
                Next::FirstKey
            }
            b'[' => {
                self.open.push(b']');
                Next::FirstValue
            }
            b'"' => self.text(false),
            b't' => Next::Literal(b"rue"),
            b'f' => Next::Literal(b"alse"),
            b'n' => Next::Literal(b"ull"),
            b'-' => Next::Number(Number::Sign),
            _ => Next::Number(Number::Sign.after(byte)?),
        })
    }

    fn text(&mut self, is_key: bool) -> Next {
        self.is_key = is_key;
        Next::Text
    }
}

impl Number {
    /// With one more byte; `None`: that is no part of it.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Sign, b'0') => Self::Zero,
            (Self::Sign, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::ExponentSign,
            (Self::E | Self::ExponentSign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Whole | Self::Fraction | Self::Exponent
        )
    }
}

/// Whether `serde_json` takes a text, or takes it for the beginning of one that it takes.
#[cfg(test)]
pub(super) fn begins_json(text: &str) -> bool {
    let may_go_on = |text: &str| match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => true,
        Err(error) => error.is_eof(),
    };
    // It calls a number wrong that lacks its digits yet.
    may_go_on(text) || may_go_on(&format!("{text}0"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// How far `serde_json` takes a text that begins with a bracket: it is asked about each beginning.
    fn by_serde(text: &str) -> Extent {
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            if serde_json::from_str::<IgnoredAny>(&text[..end]).is_ok() {
                return Extent::Ended(end);
            }
            if !begins_json(&text[..end]) {
                return Extent::Broken(at);
            }
        }
        Extent::Open
    }

    /// At once, and as it grows.
    #[track_caller]
    fn check(text: &str) -> Extent {
        let expected = by_serde(text);
        assert_eq!(Json::new(0).read(text), expected, "{text:?}");
        let mut json = Json::new(0);
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        let extents = ends.map(|end| json.read(&text[..end]));
        let told = { extents }.find(|extent| *extent != Extent::Open);
        assert_eq!(told.unwrap_or(Extent::Open), expected, "{text:?}");
        expected
    }

    #[test]
    fn what_no_json_has_is_told_where_it_stands() {
        for (told, rest) in [
            ("{\"x\": \"a", "\nb\"}"),
            ("{\"x\": \"a", "\tb\"}"),
            ("{\"x\": ", "True}"),
            ("{\"x\": ", "}"),
            ("{\"x\": tru", "}"),
            ("{\"x\": 1,", "}"),
            ("{\"x\": 0", "1}"),
            ("{\"x\": -", "}"),
            ("{\"x\": ", "+1}"),
            ("{\"x\": ", ".5}"),
            ("{\"x\": 1.", "}"),
            ("{\"x\": 1.5", ".2}"),
            ("{\"x\": 1e", "}"),
            ("{\"x\": 1e+", "-1}"),
            ("{\"x\": [1", "}"),
            ("{\"x\": [", ",]}"),
            ("{\"x\": [1,", "]}"),
            ("{\"x\"", ", 1}"),
            ("{\"x\" ", "\"y\"}"),
            ("{\"x\": \"y\" ", "\"z\"}"),
            ("{\"x\": \"\\", "x\"}"),
            ("{\"x\": \"\\", "é\"}"),
            ("{", "x: 1}"),
            ("{", ",}"),
            ("{", "'x': 1}"),
            ("{ ", "\u{a0}}"),
            ("{", "[]}"),
            ("{\"x\": 1 ", "// one\n}"),
        ] {
            let found = check(&format!("{told}{rest}"));
            assert_eq!(found, Extent::Broken(told.len()), "{told:?} {rest:?}");
        }
    }

    /// `serde_json` looks at four digits at once.
    #[test]
    fn an_escape_breaks_at_its_digit() {
        for told in ["{\"x\": \"\\u", "{\"\\u12", "[\"\\u00e"] {
            for rest in ["g\"", "\"", "é", "\\"] {
                let found = Json::new(0).read(&format!("{told}{rest}"));
                assert_eq!(found, Extent::Broken(told.len()), "{told:?} {rest:?}");
            }
        }
    }

    #[test]
    fn json_ends_with_its_last_bracket() {
        for text in [
            "{}",
            "{ }",
            "[[], [ ], {}, [{}]]",
            "{\"x\": \"}\\\"]\", \"x\": [\"\", \"é🌍\u{7f}\"]}",
            "{\"\\u00e9\\ud800\": \"\\b\\f\\n\\r\\t\\/\\\\\"}",
            "[0, -0, 1, -10, 0.0, 1.50, 1e1, 1E+05, -2.5e-10, 1e999]",
            "\t[true, false,\r\nnull ] ",
        ] {
            let text = text.trim_start();
            let end = text.trim_end().len();
            assert_eq!(check(text), Extent::Ended(end));
            assert_eq!(check(&format!("{text}}}")), Extent::Ended(end));
        }
    }

    #[test]
    fn it_may_be_deep() {
        let deep = "[".repeat(1 << 16);
        assert_eq!(Json::new(0).read(&deep), Extent::Open);
        let closed = deep + &"]".repeat(1 << 16);
        assert_eq!(Json::new(0).read(&closed), Extent::Ended(closed.len()));
    }

    #[test]
    fn what_is_left_of_an_object_is_followed() {
        let rest = |text: &str| Json::inside(0).read(text);
        assert_eq!(rest(" }}"), Extent::Ended(2));
        assert_eq!(rest(", \"x\": {}} y"), Extent::Ended(10));
        assert_eq!(rest("\n</"), Extent::Broken(1));
        assert_eq!(rest("\"x\""), Extent::Broken(0));
    }

    /// Parts of JSON, and of what is nearly some.
    const PARTS: [&str; 26] = [
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\\", "\\u00e9", "n", "0", "1",
        "12", "-", "+", ".", "e", "E", "true", "nul", "l", " ", "\n", "é",
    ];

    proptest! {
        #[test]
        fn it_takes_what_json_has(
            parts in proptest::collection::vec(prop::sample::select(&PARTS[..]), 0..16),
            begin in prop::sample::select(&["{", "[", "{\"a\":", "[\"", "[1", "{\"a\": [{\"b\":"][..]),
        ) {
            check(&format!("{begin}{}", parts.concat()));
        }
    }
}
