//! Qwen2 and 2.5 (arXiv 2407.10671, 2412.15115): Llama with biases on queries, keys and values; layers from
//! `max_window_layers` on have windows, if `use_sliding_window` says so. Owns: how both are read.

use super::llama::{self, DEFAULTS, Defaults};
use crate::model::Error;
use crate::model::torch::architecture::{Architecture, Biases};
use crate::model::torch::config::Fields;

/// What transformers takes when fields are not there.
const WINDOW: usize = 4096;
const FULL_LAYERS: i64 = 28;

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let defaults = Defaults {
        kv_heads: Some(32),
        ..DEFAULTS
    };
    let mut qwen2 = llama::base(fields, &defaults)?;
    qwen2.biases = Biases {
        qkv: true,
        ..Biases::default()
    };
    upper_windows(fields, &mut qwen2)?;
    Ok(qwen2)
}

/// The windows of Qwen2 and Qwen3.
pub(super) fn upper_windows(
    fields: &Fields<'_>,
    architecture: &mut Architecture,
) -> Result<(), Error> {
    let used = fields.flag("use_sliding_window", false)?;
    let window = if used {
        fields.window(Some(WINDOW))?
    } else {
        None
    };
    // Zero is a number here: every layer has a window then.
    let full = match fields.get("max_window_layers") {
        None => FULL_LAYERS,
        Some(value) => match value.as_i64().filter(|number| *number >= 0) {
            Some(number) => number,
            None => {
                let reason = format!("is a number of layers, not {value}");
                return fields.fail("max_window_layers", reason);
            }
        },
    };
    fields.set_windows(&mut architecture.layers, window, |layer| {
        window.is_some() && layer as i64 >= full
    })
}
