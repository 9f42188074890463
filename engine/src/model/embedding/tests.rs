//! Which checkpoints make vectors, and what of their files is refused.

use super::*;
use crate::model::directory::Source;

/// A checkpoint of these files beside `config.json`.
fn read(config: &str, files: &[(&str, &str)]) -> Result<Option<Embedding>, String> {
    let guard = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = guard.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("config.json", config);
    for (name, text) in files {
        write(name, text);
    }
    let directory = ModelDirectory::open(&Source::Directory(guard.path().to_path_buf())).unwrap();
    Embedding::read(&directory).map_err(|error| error.to_string())
}

const BERT: &str =
    r#"{"model_type": "bert", "hidden_size": 8, "vocab_size": 4, "max_position_embeddings": 8}"#;
const QWEN3: &str =
    r#"{"model_type": "qwen3", "hidden_size": 8, "vocab_size": 4, "max_position_embeddings": 8}"#;
const WHOLE: &str = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.base.modules.normalize.Normalize"}]"#;

fn pooled(pooling: &str) -> Result<Vec<Pool>, String> {
    let files = [("modules.json", WHOLE), ("1_Pooling/config.json", pooling)];
    read(BERT, &files).map(|found| found.unwrap().pools)
}

#[test]
fn an_encoder_or_a_pooling_makes_vectors() {
    assert_eq!(read(QWEN3, &[]).unwrap(), None);
    let bert = read(BERT, &[]).unwrap().unwrap();
    assert_eq!((bert.pools, bert.normalise), (vec![Pool::Mean], false));
    assert_eq!(bert.shortening, Shortening::None);
    let last = (
        "1_Pooling/config.json",
        r#"{"pooling_mode_lasttoken": true}"#,
    );
    let qwen3 = read(QWEN3, &[last]).unwrap().unwrap();
    assert_eq!((qwen3.pools, qwen3.normalise), (vec![Pool::Last], false));
    assert_eq!(qwen3.shortening, Shortening::Any);
    let qwen3 = read(QWEN3, &[last, ("modules.json", WHOLE)]).unwrap();
    assert!(qwen3.unwrap().normalise);
}

#[test]
fn poolings_of_both_generations_are_put_together_in_their_order() {
    use Pool::{First, Last, Max, Mean, MeanSqrt, WeightedMean};
    for (pooling, expected) in [
        ("{}", vec![Mean]),
        (
            r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
            vec![First],
        ),
        (
            r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#,
            vec![First, Mean],
        ),
        (r#"{"pooling_mode": "max"}"#, vec![Max]),
        (
            r#"{"pooling_mode": ["lasttoken", "weightedmean", "mean_sqrt_len_tokens"], "pooling_mode_cls_token": true}"#,
            vec![Last, WeightedMean, MeanSqrt],
        ),
    ] {
        assert_eq!(pooled(pooling).unwrap(), expected, "{pooling}");
    }
    let files = [
        ("modules.json", WHOLE),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode": ["cls", "mean"]}"#,
        ),
        ("sentence_bert_config.json", r#"{"max_seq_length": 5}"#),
        (
            "config_sentence_transformers.json",
            r#"{"prompts": {"query": "Q: "}, "default_prompt_name": "query"}"#,
        ),
    ];
    let found = read(BERT, &files).unwrap().unwrap();
    assert_eq!((found.dimensions, found.tokens_max), (16, Some(5)));
    assert_eq!(found.prompt, "Q: ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, a line a case")]
fn what_is_not_served_is_refused_by_name() {
    for (pooling, expected) in [
        (
            r#"{"pooling_mode": "median"}"#,
            "field `pooling_mode` has \"median\"; supported are cls, max,",
        ),
        (
            r#"{"pooling_mode_median": true}"#,
            "field `pooling_mode_median` is set; supported are",
        ),
        (
            r#"{"pooling_mode_cls_token": 1}"#,
            "field `pooling_mode_cls_token` is true or false, not 1",
        ),
    ] {
        let error = pooled(pooling).expect_err(pooling);
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("1_Pooling/config.json"), "{error}");
    }
    let one = r#"[{"path": "", "type": "a.Transformer"}"#;
    for (file, text, expected) in [
        (
            "modules.json",
            format!("{one}]"),
            "lists Transformer; supported are",
        ),
        (
            "modules.json",
            WHOLE.replace("Normalize\"", "Dense\""),
            "lists Transformer, Pooling, Dense;",
        ),
        (
            "modules.json",
            WHOLE.replace("\"1_Pooling\"", "\"../x\""),
            "names \"../x\", which is no folder",
        ),
        (
            "modules.json",
            WHOLE.replace("\"path\": \"\"", "\"path\": \"0_Bert\""),
            "puts the Transformer into \"0_Bert\"",
        ),
        ("modules.json", "{}".to_owned(), "is no list of modules"),
        (
            "modules.json",
            WHOLE.to_owned(),
            "1_Pooling/config.json is not there",
        ),
        (
            "sentence_bert_config.json",
            r#"{"do_lower_case": true}"#.to_owned(),
            "field `do_lower_case` is true",
        ),
        (
            "sentence_bert_config.json",
            r#"{"max_seq_length": 0}"#.to_owned(),
            "is a positive integer, not 0",
        ),
        (
            "config_sentence_transformers.json",
            r#"{"default_prompt_name": "query"}"#.to_owned(),
            "is \"query\", which is none of `prompts`",
        ),
    ] {
        let error = read(BERT, &[(file, &text)]).expect_err(&text);
        assert!(error.contains(expected), "{error}");
    }
    let files = [
        ("1_Pooling/config.json", r#"{"include_prompt": false}"#),
        (
            "config_sentence_transformers.json",
            r#"{"prompts": {"q": "Q: "}, "default_prompt_name": "q"}"#,
        ),
    ];
    let error = read(BERT, &files).expect_err("the prompt would count");
    assert!(error.contains("field `include_prompt` is false"), "{error}");
}

#[test]
fn vectors_may_be_cut_where_the_file_or_the_family_says_so() {
    let with = |field: &str| BERT.replace("\"vocab_size\"", &format!("{field}, \"vocab_size\""));
    let cut = |field: &str| read(&with(field), &[]).map(|found| found.unwrap().shortening);
    assert_eq!(cut("\"is_matryoshka\": true").unwrap(), Shortening::Any);
    assert_eq!(
        cut("\"matryoshka_dimensions\": [4, 8]").unwrap(),
        Shortening::To(vec![4, 8])
    );
    for wrong in ["[]", "[0]", "4", "[\"x\"]"] {
        let error = cut(&format!("\"matryoshka_dimensions\": {wrong}")).expect_err(wrong);
        assert!(error.contains("is a list of lengths"), "{error}");
    }
}

#[test]
fn a_normalised_vector_has_length_1() {
    let mut vector = [3.0, 4.0];
    normalise(&mut vector);
    assert_eq!(vector, [0.6, 0.8]);
    let mut nothing = [0.0; 2];
    normalise(&mut nothing);
    assert_eq!(nothing, [0.0; 2]);
}
