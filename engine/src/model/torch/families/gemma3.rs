//! Gemma 3, text alone (arXiv 2503.19786): Gemma 2 with norms of single heads in place of caps; five layers with a window
//! for each one without, and angles of their own for both kinds. Owns: how it is read.

use super::gemma2::{self, GEMMA};
use crate::model::Error;
use crate::model::torch::architecture::{Architecture, Names};
use crate::model::torch::config::rope::RopeRules;
use crate::model::torch::config::{FULL, Fields, SLIDING};
use crate::model::torch::rope::RopeShape;

/// What transformers takes when the field is not there.
const WINDOW: usize = 4096;
const PATTERN: i64 = 6;
const GLOBAL: RopeRules = RopeRules {
    theta: 1_000_000.0,
    ..RopeRules::PLAIN
};
const LOCAL: RopeRules = RopeRules {
    theta: 10_000.0,
    theta_name: "rope_local_base_freq",
    ..RopeRules::PLAIN
};

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let mut gemma3 = gemma2::base(fields, ropes)?;
    if fields.get("attn_logit_softcapping").is_some() {
        let reason = "is given; supported is null, since gemma3_text has no such cap";
        return fields.fail("attn_logit_softcapping", reason.to_owned());
    }
    gemma3.logit_cap = fields.float("final_logit_softcapping")?;
    gemma3.names = Names {
        head_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
        ..GEMMA
    };
    let window = fields.window(Some(WINDOW))?;
    let pattern = fields.number("sliding_window_pattern")?.unwrap_or(PATTERN);
    fields.set_windows(&mut gemma3.layers, window, |layer| {
        (layer as i64 + 1) % pattern != 0
    })?;
    for layer in &mut gemma3.layers {
        layer.rope = usize::from(layer.window.is_some());
    }
    Ok(gemma3)
}

/// Of layers without a window and with one. Transformers 5 has an object for each; before, only the first were
/// stretched.
fn ropes(fields: &Fields<'_>, head_dim: i64) -> Result<Vec<RopeShape>, Error> {
    let of = |kind: &str| fields.object(&["rope_parameters", kind]);
    let global = match fields.object(&["rope_scaling"])? {
        Some(scaling) => Some(scaling),
        None => of(FULL)?,
    };
    let local = of(SLIDING)?;
    if fields.get("rope_parameters").is_some() && global.is_none() && local.is_none() {
        let reason = "has neither full_attention nor sliding_attention, one of which it needs";
        return fields.fail("rope_parameters", reason.to_owned());
    }
    Ok(vec![
        fields.rope_of(global, head_dim, &GLOBAL)?,
        fields.rope_of(local, head_dim, &LOCAL)?,
    ])
}
