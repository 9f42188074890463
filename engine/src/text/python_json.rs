//! JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, which is how transformers renders `tojson`:
//! separators `", "` and `": "`, keys in their given order, nothing escaped for HTML. A model trained on that text gets
//! other tokens for any other.

use serde_json::{Map, Value};

/// How the text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Spaces of one level; `None`: one line.
    pub(super) indent: Option<usize>,
    /// Whether keys are sorted.
    pub(super) sort_keys: bool,
    /// Whether characters above ASCII are escaped.
    pub(super) ensure_ascii: bool,
}

/// The value as text.
pub(super) fn dumps(value: &Value, layout: Layout) -> String {
    let mut writer = Writer {
        text: String::new(),
        layout,
    };
    writer.value(value, 0);
    writer.text
}

struct Writer {
    text: String,
    layout: Layout,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Null => self.text.push_str("null"),
            Value::Bool(true) => self.text.push_str("true"),
            Value::Bool(false) => self.text.push_str("false"),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => self.text.push_str(&float_repr(float)),
                None => self.text.push_str(&number.to_string()),
            },
            Value::String(text) => self.string(text),
            Value::Array(items) => self.array(items, depth),
            Value::Object(object) => self.object(object, depth),
        }
    }

    fn array(&mut self, items: &[Value], depth: usize) {
        if items.is_empty() {
            self.text.push_str("[]");
            return;
        }
        self.text.push('[');
        for (index, item) in items.iter().enumerate() {
            self.separate(index, depth + 1);
            self.value(item, depth + 1);
        }
        self.line(depth);
        self.text.push(']');
    }

    fn object(&mut self, object: &Map<String, Value>, depth: usize) {
        if object.is_empty() {
            self.text.push_str("{}");
            return;
        }
        let mut entries: Vec<_> = object.iter().collect();
        if self.layout.sort_keys {
            entries.sort_by_key(|(key, _)| *key);
        }
        self.text.push('{');
        for (index, (key, value)) in entries.into_iter().enumerate() {
            self.separate(index, depth + 1);
            self.string(key);
            self.text.push_str(": ");
            self.value(value, depth + 1);
        }
        self.line(depth);
        self.text.push('}');
    }

    /// Before each item. Python leaves the space out where the line ends.
    fn separate(&mut self, index: usize, depth: usize) {
        match (index, self.layout.indent) {
            (0, _) => {}
            (_, None) => self.text.push_str(", "),
            (_, Some(_)) => self.text.push(','),
        }
        self.line(depth);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.layout.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                // Python escapes DEL only together with all that is not ASCII, and then not either.
                c if c < ' ' || (self.layout.ensure_ascii && !c.is_ascii()) => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        self.text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

/// Python's `repr` of a float: the shortest digits, an exponent below 1e-4 and from 1e16.
fn float_repr(float: f64) -> String {
    let size = float.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        format!("{digits}e{sign}{exponent:0>2}")
    } else {
        format!("{float:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, layout: Layout, expected: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(dumps(&value, layout), expected);
    }

    /// Expected texts are Python's: `json.dumps(json.loads(text), ensure_ascii=False)`.
    #[test]
    fn one_line_is_pythons() {
        let line = Layout::default();
        check(
            r#"{"b":[1,2.0,-0.5],"a":{"x":null,"y":true},"e":{},"l":[]}"#,
            line,
            r#"{"b": [1, 2.0, -0.5], "a": {"x": null, "y": true}, "e": {}, "l": []}"#,
        );
        check(
            r#""<a href='x'>&é🌍\u0001\"\\/\n""#,
            line,
            r#""<a href='x'>&é🌍\u0001\"\\/\n""#,
        );
        check(
            "[1e16,1e-5,123456789012345680.0,0.0001,1e300,12345678901234567890]",
            line,
            "[1e+16, 1e-05, 1.2345678901234568e+17, 0.0001, 1e+300, 12345678901234567890]",
        );
    }

    #[test]
    fn layouts_are_pythons() {
        let indent = Layout {
            indent: Some(2),
            ..Layout::default()
        };
        check(
            r#"{"b":[1,{}],"a":2}"#,
            indent,
            "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": 2\n}",
        );
        let sorted = Layout {
            sort_keys: true,
            ensure_ascii: true,
            ..Layout::default()
        };
        check(
            r#"{"b":"é🌍","a":2}"#,
            sorted,
            r#"{"a": 2, "b": "\u00e9\ud83c\udf0d"}"#,
        );
    }
}
