//! Calls in all formats, in pieces of every size.

/// Calls that are cut, or break.
mod begun;

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::format::{ALL, FUNCTION_GEMMA, GEMMA, HERMES, LLAMA, MISTRAL, MISTRAL_LIST};
use super::*;

/// Names and arguments, and whether all calls came to their end.
type Calls = (Vec<(String, String)>, bool);

fn parser(format: &'static ToolCallFormat, only_one: bool) -> ToolCallParser {
    let call = CallId::parse("c").unwrap();
    let rules = ToolRules {
        format,
        call,
        offered: vec!["f".to_owned()],
        only_one,
    };
    ToolCallParser::new(&rules, 0)
}

/// Puts a call together as clients do: its first delta names it, the others have more of its arguments.
fn put_together(calls: &mut Vec<(String, String)>, deltas: Vec<ToolCallDelta>) {
    for (place, delta) in deltas.iter().enumerate() {
        let others = deltas.iter().filter(|other| other.index == delta.index);
        assert_eq!(others.count(), 1, "one entry a call: {deltas:?}");
        let arguments = &delta.function.arguments;
        match delta.begun() {
            Some(call) => {
                assert_eq!(delta.index, calls.len() as u32);
                assert_eq!(call.id, format!("call_c_0_{}", delta.index));
                calls.push((call.function.name, arguments.clone()));
            }
            None => {
                assert_eq!((place, delta.index + 1), (0, calls.len() as u32));
                assert!(delta.id.is_none() && delta.function.name.is_none());
                assert!(!arguments.is_empty());
                calls.last_mut().unwrap().1 += arguments;
            }
        }
    }
}

fn run(format: &'static ToolCallFormat, text: &str, piece_chars: usize) -> (String, Calls) {
    let text: Vec<char> = text.chars().collect();
    let pieces = text.chunks(piece_chars).map(|piece| piece.iter().collect());
    run_pieces(format, &pieces.collect::<Vec<String>>())
}

/// What is told of arguments is the beginning of JSON all the time, and JSON where all of it came.
fn run_pieces(format: &'static ToolCallFormat, pieces: &[String]) -> (String, Calls) {
    let begins_json =
        |calls: &[(String, String)]| calls.iter().all(|(_, told)| json::begins_json(told));
    let mut parser = parser(format, false);
    let mut shown = String::new();
    let mut calls = Vec::new();
    for piece in pieces {
        let parsed = parser.push(piece);
        shown += &parsed.text;
        put_together(&mut calls, parsed.calls);
        assert!(begins_json(&calls), "{pieces:?}: {calls:?}");
    }
    let parsed = parser.finish();
    shown += &parsed.text;
    put_together(&mut calls, parsed.calls);
    assert!(begins_json(&calls), "{pieces:?}: {calls:?}");
    if parser.has_whole_calls() {
        let is_json = |told: &str| serde_json::from_str::<IgnoredAny>(told).is_ok();
        assert!(calls.iter().all(|(_, told)| is_json(told)), "{pieces:?}");
    }
    (shown, (calls, parser.has_whole_calls()))
}

/// In pieces of every size, and cut in two at every place.
#[track_caller]
fn check(format: &'static ToolCallFormat, text: &str, shown: &str, calls: &[(&str, &str)]) {
    check_all(format, text, shown, (calls, !calls.is_empty()));
}

#[track_caller]
fn check_all(
    format: &'static ToolCallFormat,
    text: &str,
    shown: &str,
    (calls, are_whole): (&[(&str, &str)], bool),
) {
    let calls = calls
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    let expected = (shown.to_owned(), (calls.collect(), are_whole));
    for piece_chars in 1..=text.chars().count() {
        let found = run(format, text, piece_chars);
        assert_eq!(
            found, expected,
            "{}: {text:?} by {piece_chars}",
            format.name
        );
    }
    for (at, _) in text.char_indices() {
        let found = run_pieces(format, &[text[..at].to_owned(), text[at..].to_owned()]);
        assert_eq!(found, expected, "{}: {text:?} cut at {at}", format.name);
    }
}

/// The name of a tool that is offered, and of one that is not.
const F: (&str, &str) = ("f", "{\"b\": 1, \"a\": [2.0, \"é🌍\"]}");
const G: (&str, &str) = ("g-1", "{}");

#[test]
fn calls_are_told_from_text_wherever_the_pieces_end() {
    for (format, one, two) in [
        (
            &HERMES,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": [2.0, \"é🌍\"]}}\n</tool_call>",
            "\n<tool_call>{\"arguments\": \"{}\", \"name\": \"g-1\"}</tool_call>",
        ),
        (
            &MISTRAL,
            "[TOOL_CALLS]f[ARGS]{\"b\": 1, \"a\": [2.0, \"é🌍\"]}",
            "[TOOL_CALLS]g-1[CALL_ID]abc[ARGS]{}",
        ),
        (
            &MISTRAL,
            "[TOOL_CALLS]f{\"b\": 1, \"a\": [2.0, \"é🌍\"]}",
            "[TOOL_CALLS] [{\"name\": \"g-1\"}]",
        ),
        (
            &MISTRAL_LIST,
            "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": [2.0, \"é🌍\"]}, \"id\": \"x\"}]",
            "[TOOL_CALLS][{\"name\": \"g-1\", \"arguments\": {}}]",
        ),
        (
            &LLAMA,
            "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"b\": 1, \"a\": [2.0, \"é🌍\"]}}",
            "; {\"type\": \"function\", \"name\": \"g-1\", \"parameters\": null}",
        ),
        (
            &FUNCTION_GEMMA,
            "<start_function_call>call:f{b:1,a:[2.0,<escape>é🌍<escape>]}<end_function_call>",
            "<start_function_call>call:g-1{}<end_function_call>",
        ),
        (
            &GEMMA,
            "<|tool_call>call:f{b:1,a:[2.0,<|\"|>é🌍<|\"|>]}<tool_call|>",
            "<|tool_call>call:g-1{}<tool_call|>",
        ),
    ] {
        check(format, "plain <text> [b] \n", "plain <text> [b] \n", &[]);
        check(format, one, "", &[F]);
        check(format, &format!("Let me see. \n{one}"), "Let me see.", &[F]);
        check(format, &format!("{one}{two} \n"), "", &[F, G]);
        check(format, &format!("{one}\nDone."), "Done.", &[F]);
    }
    let list = "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": [2.0, \"é🌍\"]}}, {\"name\": \"g-1\"}]";
    check(&MISTRAL_LIST, list, "", &[F, G]);
    for fenced in [
        "```json\n{}\n```",
        "```tool_code\n{}```",
        "```\n {} \n```",
        "{}",
    ] {
        let call = "{\"name\": \"f\", \"parameters\": {\"b\": 1, \"a\": [2.0, \"é🌍\"]}}";
        check(&LLAMA, &fenced.replace("{}", call), "", &[F]);
    }
}

#[test]
fn a_mark_in_an_argument_is_part_of_it() {
    let close = |text: &str| format!("{{\"x\": \"{text}\"}}");
    for (format, call, argument) in [
        (
            &HERMES,
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"a</tool_call>\"}}</tool_call>",
            "a</tool_call>",
        ),
        (
            &MISTRAL,
            "[TOOL_CALLS]f[ARGS]{\"x\": \"[TOOL_CALLS]g[ARGS]\"}",
            "[TOOL_CALLS]g[ARGS]",
        ),
        (
            &GEMMA,
            "<|tool_call>call:f{x:<|\"|>a}<tool_call|><|\"|>}<tool_call|>",
            "a}<tool_call|>",
        ),
    ] {
        check(format, call, "", &[("f", &close(argument))]);
    }
}

#[test]
fn what_is_no_call_stays_text() {
    for (format, texts) in [
        (
            &HERMES,
            &[
                "<tool_call>{\"name\": 7}</tool_call>",
                " \n<tool_call>{\"name\": \"f\", </tool_call> and more",
                "<tool_call>\n{\"name\": \"f\"",
                "<tool_call>\n{\"name\": \"f\"} and more",
                "<tool_call>{\"name\": \"g-1\", \"arguments\": {\"x\": True}}</tool_call>",
                "<tool_call>{\"name\": \"g-1\", \"arguments\": \"{'x': 1}\"}</tool_call>",
                "<tool_call>{\"id\": \"\n\", \"name\": \"f\", \"arguments\": {}}</tool_call>",
                "<tool",
                "<tool_call>",
            ][..],
        ),
        (
            &MISTRAL,
            &[
                "[TOOL_CALLS]",
                "[TOOL_CALLS] and more",
                "[TOOL_CALLS]f",
                "[TOOL_CALLS]f[ARGS]7",
                "[TOOL_CALLS]g-1[ARGS]{\"a\": }",
                "[TOOL_CALLS][7]",
                "[TOOL_CALLS][]",
            ],
        ),
        (
            &LLAMA,
            &[
                "{\"answer\": 5}",
                "{\"name\": \"Ada\", \"age\": 36} ",
                "{\"name\": \"f\", \"parameters\": {}",
                "[{\"name\": \"f\", \"parameters\": {}}]",
                "```rust\nfn main() {}\n```",
                "``",
                "```json\n{\"name\": \"f\", \"parameters\": {}} and more",
                "So: {\"name\": \"f\", \"parameters\": {}}",
                "<|python_tag|>search.call(query=\"x\")",
            ],
        ),
        (
            &GEMMA,
            &[
                "<|tool_call>call:f{a:<tool_call|>",
                "<|tool_call>call:f{a:<|\"|>x",
                "<|tool_call>f<tool_call|> and more",
            ],
        ),
    ] {
        for text in texts {
            check(format, text, text, &[]);
        }
    }
}

/// A call of each format as far as its arguments, and what follows them.
const AROUND: [(&ToolCallFormat, &str, &str); 6] = [
    (
        &HERMES,
        "<tool_call>\n{\"name\": \"NAME\", \"arguments\": ",
        "}\n</tool_call>",
    ),
    (
        &HERMES,
        "<tool_call>[ {\"id\":\"7\",\"name\" :\"NAME\",\"arguments\":",
        ", \"type\": \"function\"} ]</tool_call>",
    ),
    (&MISTRAL, "[TOOL_CALLS]NAME[ARGS]", ""),
    (&MISTRAL, "[TOOL_CALLS]NAME[CALL_ID]7[ARGS] ", ""),
    (
        &MISTRAL_LIST,
        "[TOOL_CALLS] [{\"name\": \"NAME\", \"arguments\": ",
        ", \"id\": \"7\"}]",
    ),
    (
        &LLAMA,
        "<|python_tag|>{\"type\": \"function\", \"name\": \"NAME\", \"parameters\": ",
        "}",
    ),
];

/// Duplicate keys, numbers, escapes, half a surrogate pair, brackets and marks in texts: a model's own text stays as it is.
const ODD: &str = "{\"a\":1,\t\"a\": -1.0E+5,\n\"\\u00e9\": [\"\\ud83d\\ude00 é🌍\\\\\", {\"}\\\"]\": null}], \"c\": \"</tool_call>[ARGS]\"}";

#[test]
fn arguments_are_what_the_model_wrote() {
    for (format, before, after) in AROUND {
        for name in ["f", "g-1"] {
            for arguments in [ODD, "{}"] {
                let text = format!("{before}{arguments}{after}").replace("NAME", name);
                check(format, &text, "", &[(name, arguments)]);
            }
        }
    }
}

fn deltas(format: &'static ToolCallFormat, text: &str) -> Vec<String> {
    let mut parser = parser(format, false);
    let pushed = text.chars().map(|c| parser.push(&c.to_string()).calls);
    let mut calls: Vec<_> = pushed.flatten().collect();
    calls.extend(parser.finish().calls);
    let arguments = calls.into_iter().map(|call| call.function.arguments);
    arguments.collect()
}

#[test]
fn a_call_that_is_sure_is_told_as_it_is_written() {
    for (format, before, after) in AROUND {
        let of = |name| format!("{before}{ODD}{after}").replace("NAME", name);
        let told = deltas(format, &of("f"));
        assert_eq!(
            (told[0].as_str(), told[1].as_str()),
            ("", "{\""),
            "{before}"
        );
        assert_eq!(told.len(), ODD.chars().count());
        assert_eq!(deltas(format, &of("g-1")), [ODD], "no such tool");
    }
    let unsure = "{\"name\": \"f\", \"parameters\": {\"x\": 1}}";
    assert_eq!(deltas(&LLAMA, unsure), ["{\"x\": 1}"]);
    let notation = "<|tool_call>call:f{x:1}<tool_call|>";
    assert_eq!(deltas(&GEMMA, notation), ["{\"x\": 1}"]);
    let behind = "<tool_call>{\"arguments\": {\"x\": 1}, \"name\": \"f\"}</tool_call>";
    assert_eq!(deltas(&HERMES, behind), ["{\"x\": 1}"]);
    let long = format!(
        "<tool_call>{{\"id\": \"{}\", \"name\": \"f\", \"arguments\": {{}}}}</tool_call>",
        "x".repeat(2000)
    );
    assert_eq!(deltas(&HERMES, &long), ["{}"]);
}

#[test]
fn other_json_does_not_wait_for_its_end() {
    let mut parser = parser(&LLAMA, false);
    assert_eq!(parser.push("{\"an").text, "{\"an");
    assert_eq!(parser.push("swer\": {").text, "swer\": {");
}

#[test]
fn one_call_is_enough_where_only_one_is_asked_for() {
    let mut parser = parser(&HERMES, true);
    let one = "<tool_call>{\"name\": \"f\"}</tool_call>";
    let parsed = parser.push(&format!("{one}{one}"));
    assert_eq!((parsed.calls.len(), parsed.text.as_str()), (1, ""));
}

#[test]
fn a_block_without_end_becomes_text() {
    let mut parser = parser(&HERMES, false);
    let mut shown = parser.push("<tool_call>{\"name\": \"").text;
    let piece = "x".repeat(1 << 16);
    for _ in 0..17 {
        shown += &parser.push(&piece).text;
    }
    assert!(shown.len() > 1 << 20, "{}", shown.len());
}

/// Parts of calls in every format, and what is between them.
const WORDS: [&str; 33] = [
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "<|python_tag|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|\"|>",
    "```json\n",
    "```",
    "{\"name\": \"f\", \"arguments\": {\"x\": 1}}",
    "{\"name\": \"f\", \"parameters\": {}}",
    "{\"name\": \"f\", \"arguments\": {\"x\": ",
    "{\"name\": \"g-1\", \"arguments\": \"{\\\"x\\\": 1",
    "{\"name\": \"f\", \"parameters\": {\"x\": 1}, \"arguments\": {}}",
    "True",
    "-01.5e",
    "\"y\": ",
    "null",
    ",",
    ", ",
    "call:f{x:1}",
    "f",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    " \n",
    "é🌍",
    ";",
];

proptest! {
    #[test]
    fn any_text_is_the_same_in_pieces_of_any_size(
        words in proptest::collection::vec(prop::sample::select(&WORDS[..]), 0..12),
        format in prop::sample::select(&ALL[..]),
        piece_chars in 1_usize..9,
    ) {
        let text = words.concat();
        let whole = run(format, &text, usize::MAX);
        prop_assert_eq!(&run(format, &text, piece_chars), &whole);
        if whole.1.0.is_empty() {
            prop_assert_eq!(whole.0, text);
        }
    }
}
