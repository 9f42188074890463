//! `tokenizer.json` of each kind of model under random mutation: it opens or is refused in a line, and one that opens
//! takes any text and any token.

use lps_cli::model::shape::Family;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::checkpoint::{cases, made, refusal, write};
use crate::json::{Mutation, mutation};

const FILE: &str = "tokenizer.json";

/// Fields that some part of a tokenizer reads.
const NAMES: &[&str] = &[
    "add_prefix_space",
    "added_tokens",
    "behavior",
    "byte_fallback",
    "content",
    "continuing_subword_prefix",
    "cls",
    "decoder",
    "decoders",
    "direction",
    "dropout",
    "end_of_word_suffix",
    "fuse_unk",
    "id",
    "ids",
    "individual_digits",
    "invert",
    "left",
    "max_input_chars_per_word",
    "max_length",
    "merges",
    "model",
    "normalizer",
    "normalizers",
    "padding",
    "pattern",
    "post_processor",
    "pre_tokenizer",
    "precompiled_charsmap",
    "prepend",
    "prepend_scheme",
    "pretokenizers",
    "processors",
    "replacement",
    "right",
    "sep",
    "single",
    "special",
    "special_tokens",
    "split",
    "start",
    "stop",
    "stride",
    "tokens",
    "trim_offsets",
    "truncation",
    "type",
    "unk_id",
    "unk_token",
    "use_regex",
    "vocab",
];

const TEXTS: [&str; 5] = [
    "",
    "ab b<s> a",
    "é\u{301}字🌍\u{0}\n\r\t",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "  x  ",
];

/// A small tokenizer of each kind, with as many parts as it can have.
fn sound() -> Vec<Value> {
    let special = json!([
        {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": true, "normalized": false, "special": true},
        {"id": 6, "content": "ab", "single_word": true, "lstrip": true, "rstrip": false, "normalized": true, "special": false},
    ]);
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    });
    let whole = |normalizer: Value, pre: Value, post: Value, decoder: Value, model: Value| {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
            "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post,
            "decoder": decoder, "model": model,
        })
    };
    let vocab = json!({"<s>": 0, "a": 1, "b": 2, "Ġ": 3, "Ġa": 4, "##b": 5, "ab": 6});
    vec![
        whole(
            json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "x"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}),
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+"}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]}),
            json!({"type": "Sequence", "processors": [template.clone(),
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}]}),
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            json!({"type": "BPE", "dropout": null, "unk_token": "<s>", "continuing_subword_prefix": "##",
                "end_of_word_suffix": "", "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocab, "merges": [["Ġ", "a"], ["a", "##b"]]}),
        ),
        whole(
            json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true}),
            json!({"type": "BertPreTokenizer"}),
            json!({"type": "BertProcessing", "sep": ["b", 2], "cls": ["<s>", 0]}),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            json!({"type": "WordPiece", "unk_token": "<s>", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab}),
        ),
        whole(
            json!({"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": true, "strip_right": true},
                {"type": "Precompiled", "precompiled_charsmap": "ALQCAACEAAAAAACAAQAAgMz8AgC4BQAAhyIAgMzkAgC4"}]}),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
            template,
            json!({"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
            json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
                "vocab": [["<s>", 0.0], ["a", -1.0], ["b", -1.5], ["▁", -2.0], ["▁a", -2.5], ["c", -3.0], ["ab", -3.5]]}),
        ),
        whole(
            json!(null),
            json!({"type": "Digits", "individual_digits": true}),
            json!({"type": "RobertaProcessing", "sep": ["b", 2], "cls": ["<s>", 0],
                "trim_offsets": true, "add_prefix_space": true}),
            json!({"type": "CTC", "pad_token": "a", "word_delimiter_token": "b", "cleanup": true}),
            json!({"type": "WordLevel", "unk_token": "<s>", "vocab": vocab}),
        ),
    ]
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(NAMES), 0..5)
}

#[test]
fn whatever_opens_takes_any_text() {
    let folder = made(Family::Llama);
    let folder = folder.path();
    let sound = sound();
    proptest!(cases(512), |(kind in 0..sound.len(), mutations in mutations())| {
        let mut file = sound[kind].clone();
        for mutation in &mutations {
            mutation.apply(&mut file);
        }
        write(folder, FILE, file.to_string());
        check(folder);
    });
}

fn check(folder: &std::path::Path) {
    let text = match crate::checkpoint::open_text(folder) {
        Ok(text) => text,
        Err(_) => {
            let line = refusal(folder).expect("it is refused again");
            assert!(line.starts_with(FILE), "names the file: {line}");
            return;
        }
    };
    let tokenizer = &text.tokenizer;
    for text in TEXTS {
        if let Ok(tokens) = tokenizer.encode(text, true) {
            tokenizer.decode(&tokens, true);
        }
    }
    for token in [0, 1, 2, 5, 6, 7, u32::MAX] {
        tokenizer.token_bytes(token);
        tokenizer.decode(&[token, 1], false);
    }
}
