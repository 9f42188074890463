//! Which texts have which form, by the demo model's tokens.

use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::model::directory::{ModelDirectory, Source};
use crate::text::Text;
use crate::text::reasoning::THINK;
use crate::text::tool_calls::format::{HERMES, LLAMA, MISTRAL, MISTRAL_LIST};

fn demo() -> &'static Text {
    static DEMO: LazyLock<Text> =
        LazyLock::new(|| Text::open(&ModelDirectory::open(&Source::Demo).unwrap()).unwrap());
    &DEMO
}

fn json_form(schema: Value) -> Form {
    Form {
        text: Some(Shape::Json(schema)),
        ..Form::default()
    }
}

fn calls(only_one: bool) -> Calls {
    let parameters = json!({
        "type": "object", "properties": {"city": {"$ref": "#/$defs/city"}}, "required": ["city"],
        "additionalProperties": false, "$defs": {"city": {"enum": ["Oslo", "Rome"]}},
    });
    let other = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let tool = |name: &str, parameters| Tool {
        name: name.to_owned(),
        parameters,
    };
    Calls {
        format: &HERMES,
        tools: vec![tool("weather", parameters), tool("now \"x\"", other)],
        only_one,
    }
}

/// Whether a text has a form: each of its tokens may follow those before, and then the text may end.
fn has_form(form: &Form, text: &str) -> bool {
    let Text {
        tokenizer,
        compiler,
        ..
    } = demo();
    let grammar = compiler.grammars.compile(form).unwrap();
    let mut matcher = grammar.matchers(1).pop().unwrap();
    let mut allowed = matcher.follow(&[]).unwrap();
    for token in tokenizer.encode(text, false).unwrap() {
        if !allowed.contains(token) {
            return false;
        }
        allowed = matcher.follow(&[token]).unwrap();
    }
    (0..tokenizer.size()).any(|token| compiler.grammars.ends(token) && allowed.contains(token))
}

#[track_caller]
fn check(form: &Form, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(has_form(form, text), "{text:?} has the form");
    }
    for text in bad {
        assert!(!has_form(form, text), "{text:?} has not the form");
    }
}

#[test]
fn text_has_the_form_that_was_asked_for() {
    let person = json!({
        "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name", "age"], "additionalProperties": false,
    });
    check(
        &json_form(person),
        &[
            "{\"name\": \"Ünal 🌍\", \"age\": 7}",
            "{\n  \"name\":\"<tool\", \"age\":0 }",
        ],
        &[
            "{\"name\": \"A\"}",
            "{\"name\": \"A\", \"age\": -1}",
            "Sure: {\"name\": \"A\", \"age\": 1}",
            "",
        ],
    );
    let form = |shape| Form {
        text: Some(shape),
        ..Form::default()
    };
    let one_of = ["yes", "no", "say \"no/\"\n"].map(str::to_owned).to_vec();
    check(
        &form(Shape::Choice(one_of)),
        &["yes", "say \"no/\"\n"],
        &["maybe", "yes no", ""],
    );
    check(
        &form(Shape::Regex("[0-9]{3}/(a|b)+".to_owned())),
        &["123/ab"],
        &["12/a", "123/c"],
    );
    let lark = "start: \"a\" start | \"b\"".to_owned();
    check(&form(Shape::Lark(lark)), &["b", "aaab"], &["a", "ba"]);
}

#[test]
fn calls_are_written_as_they_are_read_and_refer_to_their_own_schema() {
    let oslo =
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
    let now = "<tool_call>\n{\"name\": \"now \\\"x\\\"\", \"arguments\": {}}\n</tool_call>";
    let paris = oslo.replace("Oslo", "Paris");
    let both = format!("{oslo}\n{now}");
    let forced = |only_one| Form {
        calls: Some(calls(only_one)),
        ..Form::default()
    };
    check(&forced(true), &[oslo, now], &[&paris, &both, "Hello", ""]);
    check(&forced(false), &[oslo, &both], &[&format!("{oslo}{now}")]);
    let either = Form {
        text: Some(Shape::Json(json!({"const": 5}))),
        calls: Some(calls(true)),
        ..Form::default()
    };
    check(&either, &[oslo, "5"], &["6", &format!("5{oslo}")]);
    let free = Form {
        text: Some(Shape::Any),
        calls: Some(calls(false)),
        ..Form::default()
    };
    let said = |text: &str| format!("Let me see: <tool\n{text}");
    check(
        &free,
        &["", "Hi\n<", "<tool_call", oslo, &said(oslo), &said(&both)],
        &[
            &paris,
            &said(&paris),
            "<tool_call>",
            &format!("{oslo} Done."),
        ],
    );
}

#[test]
fn every_format_is_written_as_it_is_read() {
    let in_format = |format, text| Form {
        text,
        calls: Some(Calls {
            format,
            ..calls(false)
        }),
        ..Form::default()
    };
    for (format, oslo, both) in [
        (
            &MISTRAL,
            "[TOOL_CALLS]weather[ARGS]{\"city\": \"Oslo\"}",
            "[TOOL_CALLS]weather[ARGS]{\"city\": \"Oslo\"}[TOOL_CALLS]now \"x\"[ARGS]{}",
        ),
        (
            &MISTRAL_LIST,
            "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}]",
            "[TOOL_CALLS][{\"name\": \"now \\\"x\\\"\", \"arguments\": {}}, {\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}]",
        ),
        (
            &LLAMA,
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}",
            "{\"name\": \"now \\\"x\\\"\", \"parameters\": {}}",
        ),
    ] {
        let paris = oslo.replace("Oslo", "Paris");
        let forced = in_format(format, None);
        check(
            &forced,
            &[oslo, both],
            &[&paris, &oslo[..oslo.len() - 1], "Hello", ""],
        );
        let free = in_format(format, Some(Shape::Any));
        check(&free, &["", "Hi\n<[", oslo, both], &[&paris]);
    }
    let free = in_format(&MISTRAL, Some(Shape::Any));
    let said = "Let me see: [TOOL\n[TOOL_CALLS]weather[ARGS]{\"city\": \"Oslo\"}";
    check(&free, &[said], &[&said.replace("Oslo", "Paris")]);
}

#[test]
fn a_model_may_reason_before_its_form() {
    let at = |stage| Form {
        text: Some(Shape::Json(json!({"const": 5}))),
        calls: Some(calls(true)),
        reasoning: Some((&THINK, stage)),
    };
    let call =
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
    let thoughts = "<think>\nSix? 6 </th\n</think>\n\n";
    let rest = &thoughts["<think>".len()..];
    let with = |before: &str, after: &str| format!("{before}{after}");
    check(
        &at(Stage::Before),
        &[
            "5",
            call,
            &with(thoughts, "5"),
            &with(thoughts, call),
            "<think></think>5",
        ],
        &["6", &with(thoughts, "6"), rest, thoughts, &with(rest, "5")],
    );
    check(
        &at(Stage::Inside),
        &[&with(rest, "5"), "</think>5", &with(rest, call)],
        &["5", call, &with(rest, "6"), rest],
    );
    check(&at(Stage::After), &["5", call], &[&with(thoughts, "5")]);
    let free = Form {
        text: Some(Shape::Any),
        ..at(Stage::Inside)
    };
    check(
        &free,
        &[
            &with(rest, "\nYes"),
            &with(rest, call),
            &with(rest, "Yes\n\n<tool_call"),
        ],
        &["Yes", &with(rest, &call.replace("Oslo", "Paris"))],
    );
}

#[test]
fn long_lists_and_large_objects_are_forms_too() {
    let texts: Vec<_> = (0..2_100).map(|number| format!("text {number}")).collect();
    let choice = Form {
        text: Some(Shape::Choice(texts)),
        ..Form::default()
    };
    check(&choice, &["text 0", "text 2099"], &["text 2100", "text"]);
    let properties: serde_json::Map<_, _> = (0..600)
        .map(|number| (format!("p{number}"), json!({"type": "integer"})))
        .collect();
    let object = json_form(json!({"type": "object", "properties": properties}));
    check(
        &object,
        &["{}", "{\"p7\": 1, \"p599\": 2}"],
        &["{\"q\": 1}"],
    );
}

#[test]
fn an_end_token_stands_in_no_text_though_it_is_not_special() {
    // A token of ordinary text, as some checkpoints have their end.
    let tokenizer = &demo().tokenizer;
    let [end] = tokenizer.encode(" a", false).unwrap()[..] else {
        panic!("it is one token");
    };
    let grammars = Grammars::new(Arc::clone(tokenizer), &[end]);
    let grammar = grammars.compile(&json_form(json!({"type": "string"})));
    let mut matcher = grammar.unwrap().matchers(1).pop().unwrap();
    let inside = tokenizer.encode("\"x", false).unwrap();
    assert!(!matcher.follow(&inside).unwrap().contains(end));
    let after = tokenizer.encode("\"", false).unwrap();
    assert!(matcher.follow(&after).unwrap().contains(end));
}

#[test]
fn a_form_that_cannot_be_is_refused_in_one_line() {
    let deep = (0..200).fold(
        json!({"type": "null"}),
        |inner, _| json!({"type": "array", "items": inner}),
    );
    for (form, expected) in [
        (json_form(json!({"type": "strng"})), "strng"),
        (json_form(json!({"$ref": "http://127.0.0.1:9/x"})), "$ref"),
        (json_form(json!({"$ref": "#/$defs/x"})), "$defs"),
        (json_form(json!({"type": "string", "pattern": "("})), "("),
        (
            json_form(json!({"type": "integer", "minimum": 5, "maximum": 4})),
            "",
        ),
        (
            json_form(json!({"enum": ["x".repeat(BYTES_MAX)]})),
            "at most",
        ),
        (json_form(deep), ""),
        (
            Form {
                text: Some(Shape::Regex("a(?=b)".to_owned())),
                ..Form::default()
            },
            "",
        ),
        (
            Form {
                text: Some(Shape::Lark("start: nobody".to_owned())),
                ..Form::default()
            },
            "nobody",
        ),
        (
            Form {
                text: Some(Shape::Lark("x".to_owned())),
                calls: Some(calls(true)),
                ..Form::default()
            },
            "exclude",
        ),
    ] {
        let error = match demo().compiler.grammars.compile(&form) {
            Ok(_) => panic!("{form:?} is a grammar"),
            Err(error) => error.to_string(),
        };
        assert!(
            error.contains(expected) && !error.contains('\n'),
            "{expected}: {error}"
        );
    }
    let endless = Grammars::new(Arc::clone(&demo().tokenizer), &[u32::MAX]);
    let error = endless.compile(&json_form(json!({}))).err();
    assert_eq!(error, Some(GrammarError::Endless));
}

fn prime(step: u32) -> Value {
    json!({"type": "integer", "multipleOf": step})
}

#[test]
fn numbers_are_held_to_as_far_as_they_can_be_counted() {
    let (min, max) = (i64::MIN, i64::MAX);
    let wide = json!({"type": "integer", "minimum": min, "maximum": max});
    check(
        &json_form(wide),
        &["-9000000000000000000", "7"],
        &["1.5", "\"7\""],
    );
    let float = json!({"type": "number", "minimum": -3.4e38, "maximum": 3.4e38});
    check(
        &json_form(float),
        &["-17.25", "9000000000000000000"],
        &["true"],
    );
    let whole = json!({"type": "integer", "multipleOf": 12});
    let steps = json!({"anyOf": [whole, {"type": "number", "multipleOf": 0.25}]});
    check(&json_form(steps), &["24", "-0.75"], &["0.2"]);
    let largest = json!({"type": "integer", "multipleOf": 65_535});
    check(&json_form(largest), &["131070"], &["131071"]);
    // Steps that never meet.
    let fields = json!({"price": {"type": "number", "multipleOf": 0.01}, "units": prime(40_009)});
    let apart = json!({"type": "object", "properties": fields, "required": ["price", "units"]});
    check(
        &json_form(apart),
        &[r#"{"price": 0.75, "units": 80018}"#],
        &[r#"{"price": 0.755, "#],
    );
    // What looks like a step and is none.
    let fields = json!({"multipleOf": {"const": {"multipleOf": 70_000}}});
    let named = json!({"type": "object", "properties": fields, "required": ["multipleOf"]});
    check(
        &json_form(named),
        &[r#"{"multipleOf": {"multipleOf": 70000}}"#],
        &[],
    );
}

#[test]
fn numbers_that_cannot_be_counted_are_refused() {
    for (schema, expected) in [
        (prime(65_536), "multipleOf: 65536"),
        (json!({"multipleOf": 0}), "multipleOf: 0"),
        (json!({"multipleOf": -2}), "multipleOf: -2"),
        (json!({"multipleOf": 1e-9}), "multipleOf: 0.000000001"),
        (
            json!({"anyOf": [prime(9973), {"items": prime(9967)}]}),
            "multipleOf: 9967",
        ),
        (
            json!({"allOf": [{"properties": {"x": prime(9973)}}, {"properties": {"x": prime(9967)}}]}),
            "together",
        ),
        (json!({"type": "integer", "minimum": 1e19}), "minimum"),
        (json!({"exclusiveMaximum": -1e19}), "exclusiveMaximum"),
        // They would be written as ...992 and ...616.
        (
            json!({"enum": [9_007_199_254_740_993_i64]}),
            "9007199254740993",
        ),
        (json!({"const": {"x": [u64::MAX]}}), "18446744073709551615"),
    ] {
        let error = demo().compiler.grammars.compile(&json_form(schema)).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_grammar_of_ones_own_costs_bounded_work() {
    let own = |text: &str| Form {
        text: Some(Shape::Lark(text.to_owned())),
        ..Form::default()
    };
    check(
        &own("start: \"a & ~\" b~2 // & ~c\nb: /[&~]\\/?/ # & ~c"),
        &["a & ~&~/", "a & ~~&"],
        &["a"],
    );
    let schema = "{\"type\": \"integer\", \"maximum\": 9223372036854775807}";
    let with_schema = own(&format!("start: %json {schema} \"&\""));
    check(&with_schema, &["5&", "-5&"], &["5"]);
    for (text, expected) in [
        ("start: T\nT: /(a{997})*b/ & /(a{991})*b/", "`&`"),
        ("start: T\nT: ~(~/(a{997})*b/ | ~/(a{991})*b/)", "`~`"),
        (
            "start: \"x\" | %lark { start: a\na: %json {\"multipleOf\": 1000000007} }",
            "multipleOf",
        ),
        (&"<".repeat(60_000), ""),
        (&format!("start: \"{}", "\\\"".repeat(20_000)), ""),
        (&"\n".repeat(70_000), "at most 65536"),
        (
            &format!("start: /{}/", "a?b?".repeat(3_000)),
            "at most 8192",
        ),
    ] {
        let error = demo().compiler.grammars.compile(&own(text)).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_schema_costs_bounded_work() {
    let long = "a".repeat(20_000);
    let many: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
    let inner =
        json!({"anyOf": (0..100).map(|number| json!({"minLength": number})).collect::<Vec<_>>()});
    let nested: Vec<_> = (0..100).map(|_| inner.clone()).collect();
    let step = prime(1_000_000_007);
    for (schema, expected) in [
        (json!({"const": long, "enum": many}), "alternatives"),
        // Not too many, and told in short.
        (
            json!({"const": "a".repeat(5000), "enum": ["b"]}),
            "Regex is empty",
        ),
        (json!({"const": long, "anyOf": nested}), "alternatives"),
        (
            json!({"allOf": [{"const": long}, {"enum": many}]}),
            "alternatives",
        ),
        (
            json!({"allOf": [{"$ref": "#/$defs/a"}, {"const": long}], "$defs": {"a": {"enum": many}}}),
            "alternatives",
        ),
        (
            json!({"type": "string", "pattern": "a?b?".repeat(3_000)}),
            "pattern",
        ),
        (json!({"patternProperties": {long.clone(): {}}}), "pattern"),
        (json!({"properties": {long.clone(): {}}}), "name"),
        (
            json!({"$ref": "#/examples/0", "examples": [step]}),
            "#/examples/0",
        ),
        (
            json!({"$ref": "#/$defs/a/default", "$defs": {"a": {"default": step}}}),
            "#/$defs/a/default",
        ),
        (
            json!({"$ref": "#/properties/0", "properties": [step]}),
            "multipleOf",
        ),
    ] {
        let error = demo().compiler.grammars.compile(&json_form(schema)).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // Large, and nothing is copied.
    let named =
        json!({"$ref": "#/$defs/default", "$defs": {"default": {"type": "string", "enum": many}}});
    check(&json_form(named), &["\"9999\""], &["\"x\""]);
}
