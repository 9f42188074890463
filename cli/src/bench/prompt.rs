//! Prompts of a wanted length. Owns: which words or token ids a call says: the same for the same seed, sharing what the
//! workload says is shared, and going on from what its parent said and was answered.

use std::hash::Hasher;

use lps_api::ids::ClassName;

use crate::workload::content::Fnv;
use crate::workload::dice::Dice;
use crate::workload::{CallSpec, ProgramSpec};

/// What prompts are made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Palette {
    /// Token ids that the model knows; a prompt has exactly as many as wanted.
    Ids(Vec<u32>),
    /// Words, where a server takes text only; a prompt has about as many tokens as wanted.
    Words {
        /// Tokens of a word, in the mean.
        tokens: f64,
        /// Tokens that the server's template adds.
        overhead: f64,
    },
}

/// Words that most tokenizers know whole.
pub(super) const WORDS: [&str; 64] = [
    "the", "time", "people", "way", "water", "day", "part", "number", "sound", "place", "year",
    "work", "back", "thing", "name", "sentence", "man", "line", "word", "mother", "world", "land",
    "home", "hand", "picture", "animal", "house", "page", "letter", "answer", "study", "light",
    "story", "night", "life", "paper", "group", "side", "family", "city", "tree", "road", "mile",
    "river", "book", "school", "food", "sun", "state", "music", "color", "face", "door", "game",
    "table", "voice", "horse", "rule", "power", "town", "ground", "king", "north", "island",
];

/// A prompt, or a prompt with its answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    Ids(Vec<u32>),
    Text {
        text: String,
        /// About how many tokens it has.
        tokens: f64,
    },
}

impl Said {
    /// About how many tokens it has; exact for ids.
    pub(super) fn tokens(&self) -> f64 {
        match self {
            Self::Ids(ids) => ids.len() as f64,
            Self::Text { tokens, .. } => *tokens,
        }
    }

    /// What a call said, and the answer to it.
    pub(super) fn answered(&self, answer: &Answer) -> Self {
        match self {
            Self::Ids(ids) => Self::Ids(ids.iter().chain(&answer.ids).copied().collect()),
            Self::Text { text, tokens } => Self::Text {
                text: format!("{text} {}", answer.text),
                tokens: tokens + f64::from(answer.tokens),
            },
        }
    }
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) ids: Vec<u32>,
    pub(super) text: String,
    pub(super) tokens: u32,
}

/// Makes prompts.
#[derive(Debug, Clone)]
pub(super) struct Prompter {
    pub(super) palette: Palette,
    pub(super) seed: u64,
}

impl Prompter {
    /// What a call says, given what the call before it said and was answered. What it goes on from is dropped where it
    /// is longer than the whole prompt is to be.
    pub(super) fn prompt(
        &self,
        program: &ProgramSpec,
        call: &CallSpec,
        before: Option<&Said>,
    ) -> Said {
        let wanted = self.room(call.prompt.0);
        let mut said = match before.filter(|before| before.tokens() <= wanted) {
            Some(before) => before.clone(),
            None => {
                let shared = self.room(call.shared_prefix.0).min(wanted);
                self.fill(
                    self.nothing(),
                    shared,
                    self.dice(&shared_name(&program.class)),
                )
            }
        };
        let own = format!("{}/{}/{}", program.tenant, program.program, call.call);
        said = self.fill(said, wanted, self.dice(&own));
        said
    }

    /// A prompt of so many tokens that nothing else shares.
    pub(super) fn alone(&self, name: &str, tokens: u32) -> Said {
        self.fill(self.nothing(), self.room(tokens), self.dice(name))
    }

    /// Tokens that are left for the text itself.
    fn room(&self, tokens: u32) -> f64 {
        match self.palette {
            Palette::Ids(_) => f64::from(tokens),
            Palette::Words { overhead, .. } => (f64::from(tokens) - overhead).max(0.0),
        }
    }

    fn nothing(&self) -> Said {
        match self.palette {
            Palette::Ids(_) => Said::Ids(Vec::new()),
            Palette::Words { .. } => Said::Text {
                text: String::new(),
                tokens: 0.0,
            },
        }
    }

    fn fill(&self, mut said: Said, wanted: f64, mut dice: Dice) -> Said {
        match (&self.palette, &mut said) {
            (Palette::Ids(palette), Said::Ids(ids)) => {
                let last = palette.len() as u32 - 1;
                while (ids.len() as f64) < wanted {
                    ids.push(palette[dice.between(0, last) as usize]);
                }
            }
            (Palette::Words { tokens: each, .. }, Said::Text { text, tokens }) => {
                while *tokens + each / 2.0 <= wanted || text.is_empty() {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(WORDS[dice.between(0, WORDS.len() as u32 - 1) as usize]);
                    *tokens += each;
                }
            }
            _ => unreachable!("a run has one palette"),
        }
        said
    }

    fn dice(&self, name: &str) -> Dice {
        let mut hash = Fnv::new(self.seed);
        hash.write(name.as_bytes());
        Dice::new(hash.finish())
    }
}

fn shared_name(class: &ClassName) -> String {
    format!("class {class}")
}
