//! What was wrong once: each of these ended the engine, or nearly so.

use std::fmt::Write as _;

use lps_cli::model::check::check;
use lps_cli::model::shape::Family;
use serde_json::{Value, json};

use crate::checkpoint::{made, read, refusal, write};
use crate::template::prompt;

fn with_config(family: Family, fields: Value) -> Option<String> {
    let folder = made(family);
    let mut config: Value =
        serde_json::from_str(&read(folder.path(), "config.json")).expect("JSON");
    let object = config.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    write(folder.path(), "config.json", config.to_string());
    refusal(folder.path())
}

/// A list of so many layers was made before any of them was looked for, and in `lps model check` the names of their weights.
#[test]
fn as_many_layers_as_a_number_can_say_take_no_memory() {
    for (family, field) in [
        (Family::Llama, "num_hidden_layers"),
        (Family::Gpt2, "n_layer"),
        (Family::Bert, "num_hidden_layers"),
    ] {
        let line = with_config(family, json!({field: i32::MAX}));
        let expected =
            format!("config.json: field `{field}` is 2147483647; supported are up to 4096");
        assert_eq!(line, Some(expected));
    }
    let folder = made(Family::Llama);
    let config = read(folder.path(), "config.json");
    let many = config.replace(
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 4294967295",
    );
    assert_ne!(many, config);
    write(folder.path(), "config.json", many);
    let problem = check(folder.path())
        .expect_err("no memory holds them")
        .to_string();
    assert!(
        problem.ends_with("field `num_hidden_layers` is 4294967295; supported are up to 16777216"),
        "{problem}"
    );
}

/// Products of sizes were counted, to choose threads, before they were compared with the weights.
#[test]
fn sizes_that_overflow_together_are_refused() {
    let most = 1 << 20;
    let sizes = json!({
        "hidden_size": most, "num_attention_heads": most, "num_key_value_heads": most, "head_dim": most,
        "intermediate_size": most, "num_hidden_layers": 4096, "vocab_size": i32::MAX,
    });
    let line = with_config(Family::Llama, sizes).expect("no model has them");
    assert!(
        line.starts_with("model.safetensors: field `model.embed_tokens.weight` has shape"),
        "{line}"
    );
}

/// The context was that of one field and the table of positions that of the other: a text between them ended the process.
#[test]
fn a_gpt2_with_two_contexts_is_refused() {
    let line = with_config(Family::Gpt2, json!({"max_position_embeddings": 4096}));
    let line = line.expect("the table has fewer");
    assert!(
        line.starts_with("config.json: field `max_position_embeddings` is 4096, but"),
        "{line}"
    );
}

/// The largest id was counted up to, and one more than it was no number.
#[test]
fn a_token_of_the_largest_id_is_refused() {
    let folder = made(Family::Llama);
    let mut tokenizer: Value =
        serde_json::from_str(&read(folder.path(), "tokenizer.json")).expect("JSON");
    tokenizer["model"]["vocab"]["huge"] = json!(u32::MAX);
    write(folder.path(), "tokenizer.json", tokenizer.to_string());
    assert_eq!(
        refusal(folder.path()).as_deref(),
        Some("tokenizer.json: gives \"huge\" the id 4294967295; supported are ids below 16777216")
    );
}

/// The library takes a piece that is shorter than its prefix apart, and panics.
#[test]
fn a_merge_that_is_shorter_than_the_prefix_is_refused() {
    let folder = made(Family::Llama);
    let mut tokenizer: Value =
        serde_json::from_str(&read(folder.path(), "tokenizer.json")).expect("JSON");
    tokenizer["model"]["continuing_subword_prefix"] = json!("a long prefix");
    write(folder.path(), "tokenizer.json", tokenizer.to_string());
    let line = refusal(folder.path()).expect("it cannot be read");
    assert!(
        line.starts_with("tokenizer.json: is no tokenizer in Hugging Face's form: "),
        "{line}"
    );
}

/// A value was quoted whole, whatever its length, and a key or a file's name with its line breaks.
#[test]
fn what_is_quoted_is_short_and_on_one_line() {
    let long =
        with_config(Family::Llama, json!({"hidden_size": vec![7; 100_000]})).expect("no size");
    assert!(
        long.starts_with("config.json: field `hidden_size` is a positive integer, not [7,7,"),
        "{long}"
    );
    assert!(long.contains(" … 7,7,"), "{long}");
    let folder = made(Family::Llama);
    let index = json!({"weight_map": {"a": "a\nb.safetensors"}});
    write(
        folder.path(),
        "model.safetensors.index.json",
        index.to_string(),
    );
    let line = refusal(folder.path());
    assert_eq!(
        line.as_deref(),
        Some("a\\nb.safetensors: cannot be read: there is no such file")
    );
}

/// Templates are programs. These ran for as long as they were let, or wrote until the memory was gone.
#[test]
fn a_template_that_does_not_end_is_ended() {
    let folder = made(Family::Llama);
    let digits = "{% for i in range(100000) %}";
    for (source, expected) in [
        (
            format!("{digits}{digits}{{% endfor %}}{{% endfor %}}"),
            "it has not ended after 5000000 instructions",
        ),
        (
            format!("{digits}{{{{ 'x' * 1000000 }}}}{{% endfor %}}"),
            "it writes more than 67108864 bytes",
        ),
        (
            "{{ messages | tojson(indent=99999999) }}".to_owned(),
            "tojson indents by at most 64",
        ),
        (
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
            "recursion limit exceeded",
        ),
    ] {
        let line = prompt(folder.path(), &source).expect_err("it does not end");
        let refusal = "chat_template.jinja: the chat template refuses these messages: ";
        assert!(
            line.starts_with(refusal) && line.contains(expected),
            "{line}"
        );
    }
}

/// `lps model check` added where an entry ends to where the header ends.
#[test]
fn an_entry_that_ends_at_the_largest_number_is_refused() {
    let folder = made(Family::Llama);
    let header =
        json!({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, u64::MAX]}}).to_string();
    let length = (header.len() as u64).to_le_bytes();
    write(
        folder.path(),
        "model.safetensors",
        [&length, header.as_bytes()].concat(),
    );
    let problem = check(folder.path())
        .expect_err("it ends before that")
        .to_string();
    assert!(
        problem.contains("where its header describes 18446744073709551615: it is cut short"),
        "{problem}"
    );
    assert_eq!(
        refusal(folder.path()).as_deref(),
        Some(
            "model.safetensors: field `w` has 18446744073709551615 bytes, which is not what shape [1] of type F32 needs"
        )
    );
}

/// A tag was taken to end with the brace that opens it, and the slice between was none.
#[test]
fn a_tag_that_is_cut_short_is_refused() {
    let folder = made(Family::Llama);
    let line = prompt(folder.path(), "{%} and %}").expect_err("it is no tag");
    assert!(
        line.contains("chat_template.jinja: the chat template cannot be read: syntax error"),
        "{line}"
    );
}

/// A template of thousands of messages has room: the demo's takes a few hundred instructions for each.
#[test]
fn a_long_conversation_is_no_endless_one() {
    let folder = made(Family::Llama);
    let mut source = String::new();
    write!(source, "{{% for i in range(1024) %}}").expect("a string takes it");
    source.push_str(&read(folder.path(), "chat_template.jinja"));
    source.push_str("{% endfor %}");
    let text = prompt(folder.path(), &source).expect("four thousand messages");
    assert!(text.len() > 1 << 16);
}
