//! Which requests are read, and by which name of a field the others are refused.

use axum::response::IntoResponse;
use lps_api::ids::ModelName;

use super::*;

fn read(form: Form, body: &str) -> Result<Facts, Error> {
    let facts = Facts::read(body.as_bytes(), form);
    let other = Facts::read_with_messages(body.as_bytes(), form).map(|(facts, _)| facts);
    assert_eq!(format!("{facts:?}"), format!("{other:?}"), "{body}");
    facts
}

#[test]
fn prompts_are_measured_in_each_form() {
    let chat = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{}]}"#;
    assert_eq!(
        read(Form::Chat, chat).unwrap().prompt,
        PromptSize::Bytes(32 + 4)
    );
    for (prompt, expected) in [
        (r#""abc""#, PromptSize::Bytes(3)),
        (r#"["abc", "de"]"#, PromptSize::Bytes(5)),
        ("[1, 2, 3]", PromptSize::Tokens(Tokens(3))),
        ("[[1, 2], [3]]", PromptSize::Tokens(Tokens(3))),
        ("[[], [3]]", PromptSize::Tokens(Tokens(1))),
    ] {
        for (form, field) in [(Form::Plain, "prompt"), (Form::Vectors, "input")] {
            let body = format!(r#"{{"{field}": {prompt}, "model": "m"}}"#);
            assert_eq!(read(form, &body).unwrap().prompt, expected, "{body}");
        }
    }
}

#[test]
fn a_list_is_as_long_as_it_is_written_whatever_is_read_of_it() {
    for (list, is_read) in [
        (r#"[{"role":"user","content":"a ] b"}]"#, true),
        (r#"[ {"x":[],"role":"user"} , {"role":"tool"} ]"#, true),
        (r#"[ {"content":"nobody says it"} ]"#, false),
        (r#"[ {"\u0072ole":"user"} ]"#, true),
        (r#"[ 1, ["a"] ]"#, false),
    ] {
        for body in [
            format!(r#"{{"model":"m","messages": {list} ,"tools":[]}}"#),
            format!(r#"{{"tools":[],"model":"m","messages":{list}}}"#),
        ] {
            let (facts, messages) = Facts::read_with_messages(body.as_bytes(), Form::Chat).unwrap();
            assert_eq!(facts.prompt, PromptSize::Bytes(list.len() + 2), "{body}");
            assert_eq!(facts.messages(body.as_bytes()), Some(list));
            assert_eq!(messages.is_some(), is_read, "{body}");
        }
    }
}

#[test]
fn the_output_is_expected_by_hint_then_limit() {
    for (fields, expected) in [
        (r#""n": 2"#, None),
        (r#""max_tokens": 9"#, Some(9)),
        (r#""max_tokens": 9, "n": 3"#, Some(27)),
        (r#""max_tokens": 9, "max_completion_tokens": 4"#, Some(4)),
        (r#""max_tokens": 9, "expected_output_tokens": 2"#, Some(2)),
    ] {
        let body = format!(r#"{{"model":"m","prompt":"x",{fields}}}"#);
        let facts = read(Form::Plain, &body).unwrap();
        assert_eq!(facts.expected_output, expected.map(Tokens), "{fields}");
    }
}

#[test]
fn a_body_stays_as_it_is_but_for_an_alias() {
    let text = r#"{ "messages":[{}], "model" : "short" , "x":"short"}"#;
    let facts = read(Form::Chat, text).unwrap();
    let body = Bytes::from(text);
    let same = facts.body_for(body.clone(), &ModelName::parse("short").unwrap());
    assert_eq!(same.as_ptr(), body.as_ptr());
    let renamed = facts.body_for(body, &ModelName::parse("org/long").unwrap());
    assert_eq!(
        renamed,
        r#"{ "messages":[{}], "model" : "org/long" , "x":"short"}"#
    );
}

#[test]
fn what_cannot_be_read_is_refused_by_the_name_of_its_field() {
    let rest = r#""model":"m","messages":[{"role":"user","content":"x"}]"#;
    let with = |field: &str| format!("{{{rest},{field}}}");
    for (body, param) in [
        (r#"{"model": "demo", "#.to_owned(), None),
        ("[1,2]".to_owned(), None),
        ("\"text\"".to_owned(), None),
        (String::new(), None),
        (r#"{"messages":[{}]}"#.to_owned(), Some("model")),
        (r#"{"model":7,"messages":[{}]}"#.to_owned(), Some("model")),
        (
            r#"{"model":null,"messages":[{}]}"#.to_owned(),
            Some("model"),
        ),
        (r#"{"model":"m"}"#.to_owned(), Some("messages")),
        (
            r#"{"model":"m","messages":"hi"}"#.to_owned(),
            Some("messages"),
        ),
        (
            r#"{"model":"m","messages":[ ]}"#.to_owned(),
            Some("messages"),
        ),
        (with(r#""stream":"yes""#), Some("stream")),
        (with(r#""n":0"#), Some("n")),
        (with(r#""n":100000"#), Some("n")),
        (with(r#""n":-1"#), Some("n")),
        (with(r#""max_tokens":0"#), Some("max_tokens")),
        (with(r#""max_tokens":-1"#), Some("max_tokens")),
        (with(r#""max_tokens":1e30"#), Some("max_tokens")),
        (
            with(r#""max_completion_tokens":99999999999"#),
            Some("max_completion_tokens"),
        ),
        (with(r#""temperature":-0.5"#), Some("temperature")),
        (with(r#""temperature":"hot""#), Some("temperature")),
        (with(r#""top_p":1.5"#), Some("top_p")),
        (with(r#""session_id":{}"#), Some("session_id")),
        (with(r#""program":7"#), Some("program")),
        (with(r#""lps_resume":{}"#), Some("lps_resume")),
        (with(r#""program":["a"]"#), Some("program")),
        (
            with(r#""program":{"parents":"a"}"#),
            Some("program.parents"),
        ),
        (
            with(r#""autellix_parent_threads":[1.5]"#),
            Some("autellix_parent_threads[0]"),
        ),
        // Beyond as many as a call may have nothing is read, so what comes then need not be an id.
        (
            with(&format!(
                r#""autellix_parent_threads":[{}{{}}]"#,
                "1,".repeat(PARENTS_MAX + 1)
            )),
            Some("autellix_parent_threads"),
        ),
        (
            with(&format!(
                r#""program":{{"parents":[{}{{}}]}}"#,
                "1,".repeat(PARENTS_MAX + 1)
            )),
            Some("program.parents"),
        ),
    ] {
        let error = read(Form::Chat, &body).expect_err(&body);
        assert_eq!(error.param_name(), param, "{body}");
        assert_eq!(error.into_response().status(), 400, "{body}");
    }
}

#[test]
fn a_prompt_of_another_kind_is_refused() {
    for prompt in ["7", "null", "{}", "[]", "[null]", "[[1], 2]", "[true]"] {
        let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
        let error = read(Form::Plain, &body).expect_err(prompt);
        assert_eq!(error.param_name(), Some("prompt"), "{prompt}");
        let body = format!(r#"{{"model":"m","input":{prompt}}}"#);
        let error = read(Form::Vectors, &body).expect_err(prompt);
        assert_eq!(error.param_name(), Some("input"), "{prompt}");
    }
}

#[test]
fn vectors_have_no_output_and_do_not_stream() {
    let body = r#"{"model":"m","input":"x","stream":true,"max_tokens":9}"#;
    let facts = read(Form::Vectors, body).unwrap();
    assert_eq!(
        (facts.expected_output, facts.stream),
        (Some(Tokens(0)), false)
    );
}

#[test]
fn deep_nesting_is_no_danger() {
    let body = format!(
        r#"{{"model":"m","messages":{}{}}}"#,
        "[".repeat(1 << 20),
        "]".repeat(1 << 20)
    );
    // Whether it is taken does not matter here; that the stack holds does.
    let _ = read(Form::Chat, &body);
}
