//! Every named defect of a checkpoint, and the line that is said about it.

use std::fs;
use std::path::Path;

use lps_cli::model::shape::Family;
use serde_json::{Value, json};

use crate::checkpoint::{made, made_with, read, refusal, write};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

/// Changes fields of `config.json`; null takes one out.
fn set(folder: &Path, fields: Value) {
    let mut config: Value = serde_json::from_str(&read(folder, CONFIG)).expect("JSON");
    let config_fields = config.as_object_mut().expect("an object");
    for (name, value) in fields.as_object().expect("an object") {
        match value {
            Value::Null => config_fields.remove(name),
            value => config_fields.insert(name.clone(), value.clone()),
        };
    }
    write(folder, CONFIG, config.to_string());
}

/// Changes the header of the weights; its length stays true.
fn header(folder: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(folder.join(WEIGHTS)).expect("it was made");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    let (header, numbers) = rest.split_at(length as usize);
    let mut header: Value = serde_json::from_slice(header).expect("JSON");
    change(&mut header);
    let header = header.to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    write(folder, WEIGHTS, [&length, &header[..], numbers].concat());
}

fn cut(folder: &Path, bytes: usize) {
    let whole = fs::read(folder.join(WEIGHTS)).expect("it was made");
    write(folder, WEIGHTS, &whole[..whole.len() - bytes]);
}

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).expect(name);
}

/// A defect's name, how it is made of a sound Llama, and the line.
type Defect = (&'static str, fn(&Path), &'static str);

const OF_WEIGHTS: &[Defect] = &[
    (
        "missing tensor",
        |folder| {
            header(folder, |header| {
                let entry = header
                    .as_object_mut()
                    .and_then(|header| header.remove(DOWN));
                header["other"] = entry.expect("it was there");
            })
        },
        "model.safetensors: field `model.layers.1.mlp.down_proj.weight` is missing",
    ),
    (
        "wrong shape",
        |folder| header(folder, |header| header[DOWN]["shape"] = json!([128, 64])),
        "model.safetensors: field `model.layers.1.mlp.down_proj.weight` has shape [128, 64]; config.json asks for [64, 128]",
    ),
    (
        "wrong dtype",
        |folder| header(folder, |header| header[DOWN]["dtype"] = json!("I16")),
        "model.safetensors: field `model.layers.1.mlp.down_proj.weight` is of type I16; supported are F32, BF16 and F16",
    ),
    (
        "dtype of another size",
        |folder| header(folder, |header| header[DOWN]["dtype"] = json!("F32")),
        "model.safetensors: field `model.layers.1.mlp.down_proj.weight` has 16384 bytes, which is not what shape [64, 128] of type F32 needs",
    ),
    (
        "unknown dtype",
        |folder| header(folder, |header| header[DOWN]["dtype"] = json!("BF17")),
        "model.safetensors: field `model.layers.1.mlp.down_proj.weight` is described wrongly: unknown variant `BF17`, expected one of …",
    ),
    (
        "negative dimension",
        |folder| header(folder, |header| header[DOWN]["shape"] = json!([-64, 128])),
        "model.safetensors: field `model.layers.1.mlp.down_proj.weight` is described wrongly: invalid value: integer `-64`, expected usize",
    ),
    (
        "a shape that overflows",
        |folder| {
            header(folder, |header| {
                header[DOWN]["shape"] = json!([u64::MAX, u64::MAX])
            })
        },
        "model.safetensors: field `model.layers.1.mlp.down_proj.weight` has 16384 bytes, which is not what shape [18446744073709551615, 18446744073709551615] of type BF16 needs",
    ),
    (
        "truncated file",
        |folder| cut(folder, 5),
        "model.safetensors: is no whole safetensors file (@ bytes): incomplete metadata, file not fully covered",
    ),
    (
        "empty file",
        |folder| write(folder, WEIGHTS, ""),
        "model.safetensors: is no whole safetensors file (0 bytes): header too small",
    ),
    (
        "offsets that overlap",
        |folder| {
            header(folder, |header| {
                header[DOWN]["data_offsets"] = json!([0, 16384])
            })
        },
        "model.safetensors: field `model.embed_tokens.weight` has the bytes 0 to 196608; what lies before it ends at 16384",
    ),
    (
        "offsets that lead out of the file",
        |folder| {
            header(folder, |header| {
                header["other"] = json!({"dtype": "F32", "shape": [1], "data_offsets": [1_u64 << 60, (1_u64 << 60) + 4]});
            })
        },
        "model.safetensors: field `other` has the bytes 1152921504606846976 to 1152921504606846980; what lies before it ends at @",
    ),
    (
        "a header that is longer than its file",
        |folder| write(folder, WEIGHTS, u64::MAX.to_le_bytes()),
        "model.safetensors: is no whole safetensors file (8 bytes): header too large",
    ),
    (
        "a header that is no text",
        |folder| {
            write(
                folder,
                WEIGHTS,
                [&2_u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(),
            )
        },
        "model.safetensors: is no whole safetensors file (10 bytes): invalid UTF-8 in header: invalid utf-8 sequence of 1 bytes from index 0",
    ),
    (
        "missing weights",
        |folder| remove(folder, WEIGHTS),
        "model.safetensors: cannot be read: there is no such file",
    ),
];

const OF_OTHER_FILES: &[Defect] = &[
    (
        "unknown architecture",
        |folder| set(folder, json!({"model_type": "bloom"})),
        "config.json: field `model_type` is \"bloom\"; supported are llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3_text, gpt2",
    ),
    (
        "no architecture",
        |folder| set(folder, json!({"model_type": null})),
        "config.json: field `model_type` is missing; supported are llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3_text, gpt2",
    ),
    (
        "missing field",
        |folder| set(folder, json!({"hidden_size": null})),
        "config.json: field `hidden_size` is missing",
    ),
    (
        "a width that no model has",
        |folder| set(folder, json!({"hidden_size": i32::MAX})),
        "config.json: field `hidden_size` is 2147483647; supported are up to 1048576",
    ),
    (
        "a context that no memory holds",
        |folder| set(folder, json!({"max_position_embeddings": u32::MAX})),
        "too little memory for the angles of 4294967295 positions: they take 1024.0 GiB, and …",
    ),
    (
        "missing config",
        |folder| remove(folder, CONFIG),
        "config.json: cannot be read: there is no such file",
    ),
    (
        "a config that is no JSON",
        |folder| write(folder, CONFIG, "{\"hidden_size\": 64,"),
        "config.json: is no JSON object: EOF while parsing a value at line 1 column 19",
    ),
    (
        "missing tokenizer",
        |folder| remove(folder, TOKENIZER),
        "tokenizer.json: cannot be read: there is no such file",
    ),
    (
        "truncated tokenizer",
        |folder| write(folder, TOKENIZER, &read(folder, TOKENIZER)[..1000]),
        "tokenizer.json: is no tokenizer in Hugging Face's form: EOF while parsing …",
    ),
    (
        "a token of a huge id",
        |folder| {
            let text = read(folder, TOKENIZER);
            write(
                folder,
                TOKENIZER,
                text.replacen(": 1535", ": 4294967295", 1),
            );
        },
        "tokenizer.json: gives …",
    ),
    (
        "a template that is none",
        |folder| {
            write(
                folder,
                "chat_template.jinja",
                "{% for m in messages %}\n{{ m }}",
            )
        },
        "chat_template.jinja: the chat template cannot be read: syntax error: unexpected end of input, …",
    ),
    (
        "a template that is no text",
        |folder| write(folder, "chat_template.jinja", [0xff]),
        "chat_template.jinja: is no UTF-8 text: invalid utf-8 sequence of 1 bytes from index 0",
    ),
    (
        "a template of another type",
        |folder| {
            remove(folder, "chat_template.jinja");
            write(folder, "tokenizer_config.json", "{\"chat_template\": 7}");
        },
        "tokenizer_config.json: field `chat_template` is a text, or a list of named templates of which one is \"default\"",
    ),
];

/// What is wrong with what is said: nothing, where the line is the expected one. `@` stands for a number, and `…` for the
/// rest.
fn difference(expected: &str, line: &str) -> Option<String> {
    let is_same = match expected.strip_suffix('…') {
        Some(beginning) => line.starts_with(beginning),
        None => match expected.split_once('@') {
            None => line == expected,
            Some((before, after)) => line
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|number| number.parse::<u64>().is_ok()),
        },
    };
    (!is_same).then(|| format!("expected {expected}\n    said {line}"))
}

#[test]
fn every_named_defect_is_told_in_its_line() {
    let mut differences = Vec::new();
    for (name, damage, expected) in OF_WEIGHTS.iter().chain(OF_OTHER_FILES) {
        let folder = made(Family::Llama);
        assert_eq!(refusal(folder.path()), None, "it was sound");
        damage(folder.path());
        let line = refusal(folder.path()).unwrap_or_else(|| "nothing".to_owned());
        let difference = difference(expected, &line);
        differences.extend(difference.map(|text| format!("{name}:\n    {text}")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_missing_file_of_several_is_named() {
    let folder = made_with(|options| options.shards = 2);
    remove(folder.path(), "model-00002-of-00002.safetensors");
    assert_eq!(
        refusal(folder.path()).as_deref(),
        Some("model-00002-of-00002.safetensors: cannot be read: there is no such file")
    );
}
