//! Forms of answers under random mutation: schemas, patterns, grammars. A client sends them, so each is a grammar or is
//! refused in one short line, and whoever follows a grammar gets a text of its form or is told that there is none.

use std::sync::LazyLock;

use lps_engine::model::directory::{ModelDirectory, Source};
use lps_engine::text::Text;
use lps_engine::text::grammar::{Calls, Form, Shape, Tool};
use lps_engine::text::tool_calls::format::ToolCallFormat;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::checkpoint::cases;
use crate::json::mutation;

/// Tokens that are drawn of one grammar.
const TOKENS: usize = 48;

const WORDS: &[&str] = &[
    "type",
    "properties",
    "required",
    "items",
    "prefixItems",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
    "$defs",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "additionalProperties",
    "patternProperties",
    "x-guidance",
    "$schema",
    "$id",
    "$anchor",
    "title",
];

/// Parts of patterns and grammars, sound and broken.
const FRAGMENTS: &[&str] = &[
    "start: ",
    "a",
    "\"x\"",
    "/y+/",
    "\n",
    "a: start a | \"z\"",
    "%json {\"type\": \"string\"}",
    "%json {",
    "%regex {}",
    "<[5]>",
    "<[4000000000]>",
    "<[0-99999]>",
    "<tool_call>",
    "@other",
    "{0,9}",
    "{9,0}",
    "{1000000000}",
    "(",
    ")",
    "[a-z]{2,3}",
    "(?=x)",
    "(a|b)*",
    "((a*)*)*",
    "\\p{L}",
    "[^\\x00-\\x7f]{500}",
    ".{1,2000}",
    "|",
    "%ignore /x/",
    "%llguidance {}",
    "%import common.INT",
    "\u{0}",
    "é🌍",
];

fn text() -> &'static Text {
    static TEXT: LazyLock<Text> = LazyLock::new(|| {
        let demo = ModelDirectory::open(&Source::Demo).expect("it is built in");
        Text::open(&demo).expect("it is sound")
    });
    &TEXT
}

fn sound() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 9},
            "kind": {"enum": ["a", "b", null, 5]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 3},
            "size": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1e6}, {"type": "integer", "multipleOf": 5}]},
            "when": {"type": "string", "format": "date-time"},
        },
        "required": ["name", "kind"], "additionalProperties": false,
        "$defs": {"tag": {"type": "string", "pattern": "^[a-z]{1,3}$"}},
    })
}

fn schema() -> impl Strategy<Value = Value> {
    prop::collection::vec(mutation(WORDS), 0..4).prop_map(|mutations| {
        let mut schema = sound();
        mutations.iter().for_each(|one| one.apply(&mut schema));
        schema
    })
}

fn form() -> impl Strategy<Value = Form> {
    let written = || {
        prop::collection::vec(prop::sample::select(FRAGMENTS), 0..7)
            .prop_map(|parts| parts.concat())
    };
    let shape = |shape| Form {
        text: Some(shape),
        ..Form::default()
    };
    let calls = |(name, parameters, only_one): (String, Value, bool)| Form {
        calls: Some(Calls {
            format: ToolCallFormat::named("hermes").expect("it is known"),
            tools: vec![Tool { name, parameters }],
            only_one,
        }),
        ..Form::default()
    };
    prop_oneof![
        4 => schema().prop_map(move |schema| shape(Shape::Json(schema))),
        1 => written().prop_map(move |text| shape(Shape::Regex(text))),
        2 => written().prop_map(move |text| shape(Shape::Lark(format!("start: {text}")))),
        1 => written().prop_map(move |text| shape(Shape::Lark(text))),
        1 => prop::collection::vec("\\PC{0,3}", 0..4).prop_map(move |texts| shape(Shape::Choice(texts))),
        2 => ("\\PC{0,6}", schema(), any::<bool>()).prop_map(calls),
    ]
}

/// Whether a reason is one line, and no panic of the library's but the one that comes while it cuts a text for its message. What
/// runs over in a debug build is a wrong number in another.
fn is_told(reason: &str) -> bool {
    let is_panic = reason.contains("could not be looked at") && !reason.contains("char boundary");
    !reason.contains('\n') && !is_panic
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn a_form_is_a_grammar_or_is_refused_in_a_line(form in form(), draws in prop::collection::vec(any::<u32>(), TOKENS)) {
        let Text { tokenizer, compiler, .. } = text();
        let grammars = &compiler.grammars;
        let grammar = match grammars.compile(&form) {
            Ok(grammar) => grammar,
            Err(error) => {
                let line = error.to_string();
                prop_assert!(is_told(&line), "{line}");
                return Ok(());
            }
        };
        let mut matcher = grammar.matchers(1).pop().expect("one was asked for");
        let mut said = Vec::new();
        let mut last = None;
        for draw in draws {
            let allowed = match matcher.follow(last.as_slice()) {
                Ok(allowed) => allowed,
                Err(reason) => {
                    prop_assert!(is_told(&reason), "{reason}");
                    return Ok(());
                }
            };
            let size = tokenizer.size();
            let token = (0..size).map(|step| (draw % size + step) % size).find(|token| allowed.contains(*token));
            let token = token.expect("a set is not empty");
            if grammars.ends(token) {
                let text = tokenizer.decode(&said, false);
                if let Some(Shape::Json(_)) = form.text {
                    prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text:?}");
                }
                return Ok(());
            }
            said.push(token);
            last = Some(token);
        }
    }
}
