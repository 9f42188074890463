//! Templates as transformers renders them, and what they show of their models.

use super::*;
use crate::model::directory::Source;
use crate::text::reasoning::THINK;

fn template(source: &str) -> Template {
    let sources = Sources {
        file: "chat_template.jinja",
        plain: source.to_owned(),
        with_tools: None,
    };
    let tokens = json!({"bos_token": "<s>"});
    Template::new(sources, tokens.as_object().unwrap().clone()).unwrap()
}

fn objects(value: Json) -> Vec<Object> {
    serde_json::from_value(value).unwrap()
}

fn render(template: &Template, messages: Json, tools: Option<Json>) -> Result<String, RenderError> {
    let (messages, tools) = (objects(messages), tools.map(objects));
    template.render(&Conversation {
        messages: &messages,
        tools: tools.as_deref(),
        add_generation_prompt: true,
        continue_final_message: false,
        variables: None,
        now: Duration::from_secs(0),
    })
}

/// The expected text is transformers' own rendering of the demo model's template.
#[test]
fn the_demo_template_says_what_transformers_says() {
    let demo = ModelDirectory::open(&Source::Demo).unwrap();
    let template = Template::open(&demo).unwrap().unwrap();
    assert!(template.takes_tools && template.reasoning.is_none());
    assert_eq!(
        template.tool_calls.map(|format| format.name),
        Some("hermes")
    );
    let tools = json!([{"type": "function", "function": {
        "name": "f", "description": "it's <b> & é", "parameters": {"type": "object", "properties": {}},
    }}]);
    let messages = json!([
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"b": 1.0, "a": [1, "ü"]}}},
        ]},
        {"role": "tool", "content": "7"},
    ]);
    let expected = "<|im_start|>system\nBe kind.\n# Tools\n<tools>\n\
        {\"name\": \"f\", \"description\": \"it's <b> & é\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}\
        \n</tools><|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<tool_call>\n\
        {\"name\": \"f\", \"arguments\": {\"b\": 1.0, \"a\": [1, \"ü\"]}}\n</tool_call><|im_end|>\n\
        <|im_start|>user\n<tool_response>\n7\n</tool_response><|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(render(&template, messages, Some(tools)).unwrap(), expected);
}

#[test]
fn a_template_shows_how_its_model_calls() {
    let each = |call: &str| {
        format!(
            "{{% if tools %}}t{{% endif %}}{{% for c in messages[-1].tool_calls %}}{{% set f = c.function %}}{call}{{% endfor %}}"
        )
    };
    let said_in_words = "{{ tools }} Write <tool_call>{\"name\": …}</tool_call>.";
    for (source, expected) in [
        (
            each(
                "<tool_call>\n{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments | tojson }}}\n</tool_call>",
            ),
            Some("hermes"),
        ),
        (
            each("[TOOL_CALLS] [{{ f | tojson }}]"),
            Some("mistral-list"),
        ),
        (
            each("[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}"),
            Some("mistral"),
        ),
        (
            each("[TOOL_CALLS]{{ f.name }}[CALL_ID]{{ c.id }}[ARGS]{{ f.arguments | tojson }}"),
            Some("mistral"),
        ),
        (
            each("{\"name\": \"{{ f.name }}\", \"parameters\": {{ f.arguments | tojson }}}"),
            Some("llama"),
        ),
        (
            each(
                "<|tool_call>call:{{ f.name }}{% for k, v in f.arguments.items() %}{{ '{' + k }}:{{ v }}{{ '}' }}{% endfor %}<tool_call|>",
            ),
            Some("gemma"),
        ),
        (
            each(
                "<start_function_call>call:{{ f.name }}{% for k, v in f.arguments.items() %}{{ '{' + k }}:{{ v }}{{ '}' }}{% endfor %}<end_function_call>",
            ),
            Some("function-gemma"),
        ),
        // Qwen 3 Coder's.
        (
            each("<tool_call>\n<function={{ f.name }}>\n</function>\n</tool_call>"),
            None,
        ),
        (said_in_words.to_owned(), None),
        ("{{ raise_exception('no') }}".to_owned(), None),
    ] {
        let format = template(&source).tool_calls;
        assert_eq!(format.map(|format| format.name), expected, "{source}");
    }
    let reasons = "{{ m.content.split('</think>')[-1] }}";
    assert_eq!(template(reasons).reasoning, Some(&THINK));
}

#[test]
fn pythons_methods_and_whitespace_rules_hold() {
    let source = "{{ bos_token }}\n  {% for m in messages %}\n{{ m.content.strip().split(' ')[-1] }}\n  {%- generation -%} g {%- endgeneration %}\n\n{% endfor %}\n{{ strftime_now('%d %b %Y') }}{{ messages[0].get('x', 'none') }}{{ tools is none }}";
    let text = render(
        &template(source),
        json!([{"role": "user", "content": " a b "}]),
        None,
    );
    assert_eq!(text.unwrap(), "<s>\nbg\n01 Jan 1970noneTrue");
}

#[test]
fn a_raised_error_says_what_the_template_says() {
    let source = "{{ raise_exception('roles must alternate') }}";
    let error = render(&template(source), json!([]), None).unwrap_err();
    assert!(
        error.to_string().contains("roles must alternate"),
        "{error}"
    );
}

#[test]
fn a_last_message_is_continued() {
    let demo = ModelDirectory::open(&Source::Demo).unwrap();
    let template = Template::open(&demo).unwrap().unwrap();
    let messages = objects(json!([
        {"role": "user", "content": "Count."}, {"role": "assistant", "content": "1, 2, "},
    ]));
    let text = template.render(&Conversation {
        messages: &messages,
        tools: None,
        add_generation_prompt: false,
        continue_final_message: true,
        variables: None,
        now: Duration::ZERO,
    });
    assert!(text.unwrap().ends_with("<|im_start|>assistant\n1, 2, "));
}
