//! What a router needs to have an answer gone on with elsewhere. Owns: the comments that tell it, in the stream before the
//! events that they are about.

use lps_api::protocol::{Beginning, CHECKPOINT, Checkpoint};

use super::answer::Choice;

/// The checkpoints of one answer.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Told with the first.
    beginning: Option<Beginning>,
}

impl Checkpoints {
    /// Of an answer that began so.
    pub(super) fn new(created: u64, seed: u64) -> Self {
        Self {
            beginning: Some(Beginning { created, seed }),
        }
    }

    /// The comment before a chunk of the answer's only choice, with its end of line.
    pub(super) fn of(&mut self, choice: &Choice) -> String {
        let tokens = choice.piece.tokens.iter();
        let checkpoint = Checkpoint {
            beginning: self.beginning.take(),
            tokens: tokens.map(|sampled| sampled.token).collect(),
            closes: choice.is_last,
        };
        let json = serde_json::to_string(&checkpoint).expect("numbers");
        format!("{CHECKPOINT}{json}\n")
    }
}
