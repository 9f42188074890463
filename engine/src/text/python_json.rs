//! JSON as Python's `json.dumps(ensure_ascii=False)` writes it: separators `", "` and `": "`, keys in their given
//! order, no HTML escapes. Chat templates were trained on this, so another spelling feeds a model other tokens.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Writes a value on one line, or indented by so many spaces.
///
/// # Errors
/// When the value cannot be JSON.
pub fn to_string<T: Serialize>(value: &T, indent: Option<usize>) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, OneLine))?,
        Some(spaces) => {
            let spaces = " ".repeat(spaces);
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut bytes, pretty))?;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn it_reads_as_python_writes_it() {
        let value: Value =
            serde_json::from_str(r#"{"b":[1,2.5,"<é>"],"a":{},"c":[],"d":null,"e":true}"#).expect("JSON");
        assert_eq!(
            to_string(&value, None).expect("JSON"),
            r#"{"b": [1, 2.5, "<é>"], "a": {}, "c": [], "d": null, "e": true}"#
        );
        assert_eq!(to_string(&json!({"a": [1]}), Some(2)).expect("JSON"), "{\n  \"a\": [\n    1\n  ]\n}");
    }
}
