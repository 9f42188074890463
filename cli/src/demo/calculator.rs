//! The demo's tool. Owns: whole numbers with + - * and brackets, exactly; anything else is an error in words, because
//! the model reads it.

use serde_json::{Value, json};

/// Longest expression, in bytes; it bounds the depth too.
const EXPRESSION_BYTES_MAX: usize = 256;

/// The tool as a model is told of it.
pub(super) fn tools() -> Value {
    json!([{"type": "function", "function": {
        "name": "calculator",
        "description": "Compute an expression",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"]
        }
    }}])
}

/// Runs a tool call's function; the result, or what is wrong with it, as text for the model.
pub(super) fn run(function: &Value) -> String {
    if function["name"] != "calculator" {
        return format!("there is no tool {}", function["name"]);
    }
    let arguments: Option<Value> = function["arguments"]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    let expression = arguments
        .as_ref()
        .and_then(|arguments| arguments["expression"].as_str());
    match expression.map(compute) {
        Some(Some(value)) => value.to_string(),
        Some(None) => "this is not an expression of whole numbers with + - *".to_owned(),
        None => "the argument expression is missing".to_owned(),
    }
}

fn compute(expression: &str) -> Option<i64> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return None;
    }
    let mut rest: &str = &expression.replace(' ', "");
    let value = sum(&mut rest)?;
    rest.is_empty().then_some(value)
}

fn take(rest: &mut &str, character: char) -> bool {
    match rest.strip_prefix(character) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

fn sum(rest: &mut &str) -> Option<i64> {
    let mut value = product(rest)?;
    loop {
        if take(rest, '+') {
            value = value.checked_add(product(rest)?)?;
        } else if take(rest, '-') {
            value = value.checked_sub(product(rest)?)?;
        } else {
            return Some(value);
        }
    }
}

fn product(rest: &mut &str) -> Option<i64> {
    let mut value = atom(rest)?;
    while take(rest, '*') {
        value = value.checked_mul(atom(rest)?)?;
    }
    Some(value)
}

fn atom(rest: &mut &str) -> Option<i64> {
    if take(rest, '-') {
        return atom(rest)?.checked_neg();
    }
    if take(rest, '(') {
        let value = sum(rest)?;
        return take(rest, ')').then_some(value);
    }
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    *rest = after;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_computes() {
        for (expression, value) in [
            ("317 * 24 + 9", Some(7617)),
            ("2+3*4-5", Some(9)),
            ("-(2+3)*2", Some(-10)),
            ("7", Some(7)),
            ("", None),
            ("2+", None),
            ("(2", None),
            ("2/1", None),
            ("9223372036854775807+1", None),
            ("9999999999999999999", None),
        ] {
            assert_eq!(compute(expression), value, "{expression}");
        }
        assert_eq!(compute(&"(".repeat(300)), None);
    }

    #[test]
    fn what_is_wrong_is_said_to_the_model() {
        for (function, part) in [
            (
                json!({"name": "calculator", "arguments": "{\"expression\": \"6*7\"}"}),
                "42",
            ),
            (
                json!({"name": "calculator", "arguments": "{\"expression\": \"six\"}"}),
                "not an expression",
            ),
            (json!({"name": "calculator", "arguments": "{"}), "missing"),
            (json!({"name": "oracle", "arguments": "{}"}), "no tool"),
        ] {
            assert!(run(&function).contains(part), "{function}");
        }
    }
}
