//! Chat templates under random mutation, and put together from fragments that loop, recur and grow. Templates are
//! programs: what holds is that they end, and that their text stays small enough to be looked at.

use std::path::Path;
use std::time::Duration;

use lps_engine::model::directory::{ModelDirectory, Source};
use lps_engine::text::template::{Conversation, TEXT_BYTES_MAX, Template};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::checkpoint::{cases, made, read, write};
use lps_cli::model::shape::Family;

const FILE: &str = "chat_template.jinja";

/// Parts of programs, sound and broken.
const FRAGMENTS: &[&str] = &[
    "{% for m in messages %}",
    "{% for i in range(9) %}",
    "{% for i in range(100001) %}",
    "{% for c in messages[0].content %}",
    "{% for k, v in messages[0] | items %}",
    "{%- endfor -%}",
    "{% if messages %}",
    "{% elif tools is defined %}",
    "{% else %}",
    "{% endif %}",
    "{% set ns = namespace(x='', n=0) %}",
    "{% set ns.n = ns.n + 1 %}",
    "{% set x = messages | length %}",
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{% macro g(n) %}{% if n > 0 %}{{ g(n - 1) }}{% endif %}{% endmacro %}{{ g(40) }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{% include 'chat_template' %}",
    "{% extends 'chat_template' %}",
    "{% import 'chat_template' as t %}",
    "{% break %}",
    "{% continue %}",
    "{% raw %}{{ {% endraw %}",
    "{# a comment",
    "{{ messages[0].content }}",
    "{{ messages[-1]['role'] | upper }}",
    "{{ messages | tojson(indent=2) }}",
    "{{ messages | tojson(indent=99999999) }}",
    "{{ undefined.undefined }}",
    "{{ bos_token ~ eos_token }}",
    "{{ 'x' * 1000000 }}",
    "{{ 'x' * 100000000 }}",
    "{{ 'x' * -1 }}",
    "{{ 1 / 0 }}",
    "{{ 9223372036854775807 + 1 }}",
    "{{ 2 ** 9999 }}",
    "{{ messages[:: 0] }}",
    "{{ 'a'.split('') }}",
    "{{ 'a'.replace('', 'b') }}",
    "{{ '%s %d' % ('a', 1) }}",
    "{{ strftime_now('%Y-%m-%d %Q %') }}",
    "{{ raise_exception('no\nway') }}",
    "{{ range(5) | list | join(',') }}",
    "{{ ((((((((((1)))))))))) }}",
    "{{",
    "}}",
    "{%",
    "%}",
    "\u{0}\n\u{1b}é字",
    "plain text",
];

fn program() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        9 => prop::sample::select(FRAGMENTS).prop_map(str::to_owned),
        1 => "[{}%# a-z()'|.~*\\[\\]]{0,12}",
    ];
    prop::collection::vec(fragment, 1..12).prop_map(|parts| parts.concat())
}

/// The demo model's template with parts moved, doubled and cut out.
fn mutated() -> impl Strategy<Value = String> {
    let change = (
        0..4_u8,
        any::<Index>(),
        any::<Index>(),
        prop::sample::select(FRAGMENTS),
    );
    prop::collection::vec(change, 1..5).prop_map(|changes| {
        let mut text: Vec<char> = demo().chars().collect();
        for (kind, from, to, fragment) in changes {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let part = from.min(to)..from.max(to).min(from.min(to) + 60);
            match kind {
                0 => drop(text.drain(part)),
                1 => {
                    let copied: Vec<char> = text[part].to_vec();
                    text.splice(from..from, copied);
                }
                2 => drop(text.splice(from..from, fragment.chars())),
                _ => drop(text.splice(part, fragment.chars())),
            }
        }
        text.into_iter().collect()
    })
}

fn demo() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/models/demo");
    read(&path, FILE)
}

fn messages() -> Vec<serde_json::Map<String, Value>> {
    serde_json::from_value(json!([
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "a {{ b }} {% c %} é\n"},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "7"},
    ]))
    .expect("objects")
}

/// The prompt of a conversation, or why there is none; a template that cannot be read is told with its file.
pub(crate) fn prompt(folder: &Path, source: &str) -> Result<String, String> {
    write(folder, FILE, source);
    let directory = ModelDirectory::open(&Source::Directory(folder.to_path_buf()));
    let opened = Template::open(&directory.expect("it is sound"));
    let template = opened.map_err(|error| {
        let line = error.to_string();
        assert!(
            line.starts_with(&folder.join(FILE).display().to_string()),
            "{line}"
        );
        line
    })?;
    let messages = messages();
    let conversation = Conversation {
        messages: &messages,
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        variables: None,
        now: Duration::ZERO,
    };
    let rendered = template.expect("there is one").render(&conversation);
    rendered.map_err(|error| error.to_string())
}

fn check(folder: &Path, source: &str) {
    match prompt(folder, source) {
        Ok(text) => assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes", text.len()),
        Err(line) => {
            assert!(!line.chars().any(char::is_control), "one line: {line:?}");
            assert!(line.contains(FILE), "names the file: {line}");
        }
    }
}

#[test]
fn a_template_ends_and_says_in_a_line_what_is_wrong_with_it() {
    let folder = made(Family::Llama);
    proptest!(cases(384), |(source in prop_oneof![program(), mutated()])| {
        check(folder.path(), &source);
    });
    assert!(prompt(folder.path(), &demo()).is_ok());
}
