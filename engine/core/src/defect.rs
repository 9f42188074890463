//! Numbers of which nothing can be made. Owns: telling them among what a model gives, and saying where they stood. Knows
//! neither calls nor steps as such: a call that has one ends, and the engine goes on.

/// What a model's numbers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Not-a-number, in one place at least.
    #[error("not-a-number (NaN)")]
    NotANumber,
    /// Plus infinity among logits; either infinity in a vector.
    #[error("infinity")]
    Infinity,
    /// Minus infinity for every token: none can be drawn.
    #[error("nothing but minus infinity")]
    NothingPossible,
    /// The call's grammar allows no token, or cannot tell which.
    #[error("no token that the grammar allows")]
    NothingAllowed,
}

/// Why a call ended without its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{numbers} hold {defect}, in step {step}")]
pub struct Failure {
    /// Number of the step.
    pub step: u64,
    /// Which numbers of the call.
    pub numbers: Numbers,
    /// What stood there.
    pub defect: Defect,
}

impl Failure {
    /// Whether the numbers were sound, and the call's own grammar left none of them.
    pub fn is_by_grammar(&self) -> bool {
        self.defect == Defect::NothingAllowed
    }
}

/// Numbers of a call, and where they belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Numbers {
    /// What the next token is drawn from.
    #[error("the logits of choice {choice} at position {position}")]
    Logits {
        /// Which choice.
        choice: u32,
        /// The token's place among prompt and output, from 0.
        position: usize,
    },
    /// The vector of a text.
    #[error("the numbers of the vector of input {text}")]
    Vector {
        /// Which text of the call, from 0.
        text: usize,
    },
}

impl Defect {
    /// Looks at raw logits, and makes minus zero zero. Minus infinity is a model's way to say *never*, as long as some
    /// token is left: Hugging Face transformers and vLLM take it too. Logits without any infinity, which are nearly all,
    /// cost the one pass that is needed anyway.
    pub(crate) fn of_logits(logits: &mut [f32]) -> Option<Self> {
        let mut is_finite = true;
        for logit in logits.iter_mut() {
            is_finite &= logit.is_finite();
            *logit += 0.0;
        }
        if is_finite {
            None
        } else if logits.iter().any(|logit| logit.is_nan()) {
            Some(Self::NotANumber)
        } else if logits.contains(&f32::INFINITY) {
            Some(Self::Infinity)
        } else {
            let is_possible = logits.iter().any(|logit| logit.is_finite());
            (!is_possible).then_some(Self::NothingPossible)
        }
    }

    /// Looks at a vector.
    pub(crate) fn of_vector(vector: &[f32]) -> Option<Self> {
        if vector.iter().all(|number| number.is_finite()) {
            None
        } else if vector.iter().any(|number| number.is_nan()) {
            Some(Self::NotANumber)
        } else {
            Some(Self::Infinity)
        }
    }
}
