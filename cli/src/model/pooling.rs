//! What sentence-transformers writes beside a checkpoint that makes vectors. Owns: those files.

use serde::Deserialize;
use serde_json::{Value, json};

use super::config_json::Generation;
use super::shape::Family;

/// How a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The first token's.
    Cls,
    /// The mean of all.
    Mean,
    /// The greatest number at each place.
    Max,
    /// The last token's.
    Last,
}

impl Pooling {
    /// As the family is published.
    pub(super) fn of(family: Family) -> Self {
        match family {
            Family::Qwen3Embedding => Self::Last,
            _ => Self::Mean,
        }
    }

    /// Names and contents; `context` is the longest text, `hidden` the width of a token's vector.
    pub(super) fn files(
        self,
        (hidden, context): (u32, u32),
        generation: Generation,
    ) -> [(&'static str, Value); 3] {
        let module = |index: u32, path: &str, kind: &str| {
            let kind = format!("sentence_transformers.models.{kind}");
            json!({"idx": index, "name": index.to_string(), "path": path, "type": kind})
        };
        let modules = json!([
            module(0, "", "Transformer"),
            module(1, "1_Pooling", "Pooling"),
            module(2, "2_Normalize", "Normalize"),
        ]);
        let pooling = match generation {
            Generation::Four => json!({
                "word_embedding_dimension": hidden,
                "pooling_mode_cls_token": self == Self::Cls,
                "pooling_mode_mean_tokens": self == Self::Mean,
                "pooling_mode_max_tokens": self == Self::Max,
                "pooling_mode_lasttoken": self == Self::Last,
            }),
            Generation::Five => {
                let mode = match self {
                    Self::Cls => "cls",
                    Self::Mean => "mean",
                    Self::Max => "max",
                    Self::Last => "lasttoken",
                };
                json!({"embedding_dimension": hidden, "pooling_mode": mode, "include_prompt": true})
            }
        };
        let text = json!({"max_seq_length": context, "do_lower_case": false});
        [
            ("modules.json", modules),
            ("1_Pooling/config.json", pooling),
            ("sentence_bert_config.json", text),
        ]
    }
}
