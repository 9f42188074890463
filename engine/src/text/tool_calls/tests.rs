//! Calls in all formats, in pieces of every size.

use proptest::prelude::*;

use super::format::{ALL, FUNCTION_GEMMA, GEMMA, HERMES, LLAMA, MISTRAL, MISTRAL_LIST};
use super::*;

type Calls = Vec<(String, String)>;

fn parser(format: &'static ToolCallFormat, only_one: bool) -> ToolCallParser {
    let call = CallId::parse("c").unwrap();
    let rules = ToolRules {
        format,
        call,
        only_one,
    };
    ToolCallParser::new(&rules, 0)
}

fn run(format: &'static ToolCallFormat, text: &str, piece_chars: usize) -> (String, Calls) {
    let mut parser = parser(format, false);
    let mut shown = String::new();
    let mut calls = Vec::new();
    let text: Vec<char> = text.chars().collect();
    for piece in text.chunks(piece_chars) {
        let parsed = parser.push(&piece.iter().collect::<String>());
        shown += &parsed.text;
        calls.extend(parsed.calls);
    }
    shown += &parser.finish();
    for (index, call) in calls.iter().enumerate() {
        assert_eq!(call.index, Some(index as u32));
        assert_eq!(call.id, format!("call_c_0_{index}"));
    }
    let calls = calls
        .into_iter()
        .map(|call| (call.function.name, call.function.arguments));
    (shown, calls.collect())
}

#[track_caller]
fn check(format: &'static ToolCallFormat, text: &str, shown: &str, calls: &[(&str, &str)]) {
    for piece_chars in 1..=text.chars().count() {
        let (got, found) = run(format, text, piece_chars);
        let found: Vec<_> = found
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        assert_eq!(
            (got.as_str(), found.as_slice()),
            (shown, calls),
            "{}: {text:?} by {piece_chars}",
            format.name
        );
    }
}

const F: (&str, &str) = ("f", "{\"b\": 1, \"a\": [2.0, \"é🌍\"]}");
const G: (&str, &str) = ("g-1", "{}");

#[test]
fn calls_are_told_from_text_wherever_the_pieces_end() {
    for (format, one, two) in [
        (
            &HERMES,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\":1, \"a\":[2.0,\"é🌍\"]}}\n</tool_call>",
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
                "[TOOL_CALLS]f[ARGS]{\"a\": }",
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
const WORDS: [&str; 24] = [
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
        if whole.1.is_empty() {
            prop_assert_eq!(whole.0, text);
        }
    }
}
