//! Angles in `config.json`. Transformers 5 keeps base and stretching together, in `rope_parameters`; before, the base
//! stood beside `rope_scaling`, whose kind was called `type` first and `rope_type` later. Owns: both, and the defaults.

use serde_json::Value;

use crate::model::Error;
use crate::model::torch::config::{FULL, Fields, Inner, SLIDING};
use crate::model::torch::rope::{Llama3, LongRope, RopeScaling, RopeShape, Yarn};

/// What families say differently.
#[derive(Debug, Clone, Copy)]
pub struct RopeRules {
    /// The base when none is given.
    pub theta: f64,
    /// The field that has it outside of `rope_parameters`.
    pub theta_name: &'static str,
    /// Whether less than a whole head may be turned.
    pub partial: bool,
    /// Kinds that mean LongRoPE.
    pub long_names: &'static [&'static str],
    /// The context of training when none is given; `None`: `max_position_embeddings`.
    pub original_context: Option<f64>,
}

impl RopeRules {
    /// As in Llama.
    pub const PLAIN: Self = Self {
        theta: 10_000.0,
        theta_name: "rope_theta",
        partial: false,
        long_names: &["longrope"],
        original_context: None,
    };
}

impl<'a> Fields<'a> {
    /// The angles of a model that has one kind of them.
    ///
    /// # Errors
    /// When a field of theirs is wrong or of no use.
    pub fn rope(&self, head_dim: i64, rules: &RopeRules) -> Result<RopeShape, Error> {
        let inner = match self.object(&["rope_scaling"])? {
            Some(inner) => Some(inner),
            None => self.object(&["rope_parameters"])?,
        };
        if let Some(inner) = &inner
            && let Some(kind) = [FULL, SLIDING]
                .iter()
                .find(|kind| inner.object.contains_key(**kind))
        {
            let reason = "is given; supported are the same angles in all layers";
            return self.fail(&format!("{}.{kind}", inner.name), reason.to_owned());
        }
        self.rope_of(inner, head_dim, rules)
    }

    /// The angles that an object describes.
    ///
    /// # Errors
    /// When a field of theirs is wrong or of no use.
    pub fn rope_of(
        &self,
        inner: Option<Inner<'a>>,
        head_dim: i64,
        rules: &RopeRules,
    ) -> Result<RopeShape, Error> {
        let outer_theta = self.float(rules.theta_name)?;
        let mut theta = outer_theta.unwrap_or(rules.theta);
        let mut part = self.float("partial_rotary_factor")?.unwrap_or(1.0);
        let mut part_name = "partial_rotary_factor".to_owned();
        if let Some(inner) = &inner {
            theta = self.inner_float(inner, "rope_theta")?.unwrap_or(theta);
            if let Some(own) = self.inner_float(inner, "partial_rotary_factor")? {
                (part, part_name) = (own, format!("{}.partial_rotary_factor", inner.name));
            }
        }
        if part > 1.0 || (part < 1.0 && !rules.partial) {
            return self.fail(&part_name, format!("is {part}; supported is 1"));
        }
        let rotated = (head_dim as f64 * part) as i64;
        if rotated < 2 || rotated % 2 != 0 {
            let reason = format!("turns {rotated} of {head_dim} numbers; they must be even");
            return self.fail(&part_name, reason);
        }
        let scaling = match &inner {
            None => RopeScaling::None,
            Some(inner) => self.scaling(inner, rotated, rules)?,
        };
        Ok(RopeShape {
            rotated,
            theta,
            scaling,
        })
    }

    fn scaling(
        &self,
        inner: &Inner<'_>,
        rotated: i64,
        rules: &RopeRules,
    ) -> Result<RopeScaling, Error> {
        let object = inner.object;
        if object.contains_key("mrope_section") {
            let reason = "is given; supported are positions in a text";
            return self.fail(&format!("{}.mrope_section", inner.name), reason.to_owned());
        }
        let kind = object.get("rope_type").or_else(|| object.get("type"));
        let kind = kind.filter(|kind| !kind.is_null()).map(Value::as_str);
        let kind = kind.map(Option::unwrap_or_default).unwrap_or("default");
        let need = |field| self.inner_required(inner, field);
        Ok(match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: need("factor")?,
            },
            // Angles change when a text outgrows the context, and here none does.
            "dynamic" => {
                need("factor")?;
                RopeScaling::None
            }
            "llama3" => RopeScaling::Llama3(Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context: self.original_context(inner, rules)?,
            }),
            kind if rules.long_names.contains(&kind) => self.long(inner, rotated, rules)?,
            "yarn" => self.yarn(inner, rules)?,
            other => {
                let known = "default, linear, dynamic, llama3, yarn and longrope";
                let reason = format!("is {other:?}; supported are {known}");
                return self.fail(&format!("{}.rope_type", inner.name), reason);
            }
        })
    }

    /// Arithmetic as in transformers' `_compute_yarn_parameters`.
    fn yarn(&self, inner: &Inner<'_>, rules: &RopeRules) -> Result<RopeScaling, Error> {
        let original_context = self.original_context(inner, rules)?;
        let factor = match self.inner_float(inner, "factor")? {
            Some(factor) => factor,
            None => self.context()? / original_context,
        };
        let scale = |weight: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * weight * factor.ln() + 1.0
            }
        };
        let weight = self.inner_float(inner, "mscale")?;
        let weight_of_all = self.inner_float(inner, "mscale_all_dim")?;
        let found = self.inner_float(inner, "attention_factor")?;
        let attention_factor = match (found, weight, weight_of_all) {
            (Some(found), _, _) => found,
            (None, Some(weight), Some(of_all)) => scale(weight) / scale(of_all),
            _ => scale(1.0),
        };
        let truncate = match inner.object.get("truncate") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(truncate)) => *truncate,
            Some(other) => {
                let reason = format!("is true or false, not {other}");
                return self.fail(&format!("{}.truncate", inner.name), reason);
            }
        };
        Ok(RopeScaling::Yarn(Yarn {
            factor,
            attention_factor,
            beta_fast: self.inner_float(inner, "beta_fast")?.unwrap_or(32.0),
            beta_slow: self.inner_float(inner, "beta_slow")?.unwrap_or(1.0),
            original_context,
            truncate,
        }))
    }

    /// Arithmetic as in transformers' `_compute_longrope_parameters`.
    fn long(
        &self,
        inner: &Inner<'_>,
        rotated: i64,
        rules: &RopeRules,
    ) -> Result<RopeScaling, Error> {
        let original_context = self.original_context(inner, rules)?;
        let factor = match self.inner_float(inner, "factor")? {
            Some(factor) => factor,
            None => self.context()? / original_context,
        };
        let attention_factor = match self.inner_float(inner, "attention_factor")? {
            Some(found) => found,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / original_context.ln()).sqrt(),
        };
        Ok(RopeScaling::Long(LongRope {
            short: self.factors(inner, "short_factor", rotated)?,
            long: self.factors(inner, "long_factor", rotated)?,
            original_context,
            attention_factor,
        }))
    }

    /// One factor for each frequency.
    fn factors(&self, inner: &Inner<'_>, field: &str, rotated: i64) -> Result<Vec<f64>, Error> {
        let name = format!("{}.{field}", inner.name);
        let Some(Value::Array(list)) = inner.object.get(field) else {
            return self.fail(&name, "is missing, or no list of numbers".to_owned());
        };
        if list.len() as i64 != rotated / 2 {
            let reason = format!("has {} numbers; it must have {}", list.len(), rotated / 2);
            return self.fail(&name, reason);
        }
        list.iter()
            .map(|value| self.positive(&name, value))
            .collect()
    }

    /// The context of training. Where it stands outside of the object, transformers prefers that.
    fn original_context(&self, inner: &Inner<'_>, rules: &RopeRules) -> Result<f64, Error> {
        const NAME: &str = "original_max_position_embeddings";
        if let Some(outer) = self.float(NAME)?.or(rules.original_context) {
            return Ok(outer);
        }
        match self.inner_float(inner, NAME)? {
            Some(own) => Ok(own),
            None => self.context(),
        }
    }

    fn context(&self) -> Result<f64, Error> {
        Ok(self.required("max_position_embeddings")? as f64)
    }

    fn inner_float(&self, inner: &Inner<'_>, field: &str) -> Result<Option<f64>, Error> {
        match inner.object.get(field).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => self
                .positive(&format!("{}.{field}", inner.name), value)
                .map(Some),
        }
    }

    fn inner_required(&self, inner: &Inner<'_>, field: &str) -> Result<f64, Error> {
        match self.inner_float(inner, field)? {
            Some(number) => Ok(number),
            None => self.fail(&format!("{}.{field}", inner.name), "is missing".to_owned()),
        }
    }
}
