//! Reasoning before an answer: `<think>…</think>`. Owns: telling it from the answer in pieces of any size, and whether the
//! prompt opened it already. Pure.

/// How a model marks its reasoning.
#[derive(Debug, PartialEq, Eq)]
pub struct ReasoningFormat {
    /// Before it.
    pub(in crate::text) open: &'static str,
    /// After it.
    pub(in crate::text) close: &'static str,
}

/// Of DeepSeek's R1, Qwen 3 and most others.
pub(in crate::text) const THINK: ReasoningFormat = ReasoningFormat {
    open: "<think>",
    close: "</think>",
};
/// Of Mistral's.
pub(in crate::text) const MISTRAL: ReasoningFormat = ReasoningFormat {
    open: "[THINK]",
    close: "[/THINK]",
};

/// Where an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before reasoning, if the model reasons at all.
    Before,
    /// In reasoning that the prompt opened.
    Inside,
    /// After reasoning: the prompt has it, or an empty one in its place.
    After,
}

impl ReasoningFormat {
    /// The format that a template's source has.
    pub(super) fn of(template: &str) -> Option<&'static Self> {
        [&THINK, &MISTRAL]
            .into_iter()
            .find(|format| template.contains(format.close))
    }

    /// Where the answer to a prompt begins that ends so.
    pub fn stage(&self, prompt: &str) -> Stage {
        let prompt = prompt.trim_end();
        if prompt.ends_with(self.open) {
            Stage::Inside
        } else if prompt.ends_with(self.close) {
            Stage::After
        } else {
            Stage::Before
        }
    }

    /// Where an answer goes on that was given so far.
    pub fn stage_after(&self, given: &str) -> Stage {
        match (given.rfind(self.open), given.rfind(self.close)) {
            (Some(open), close) if close.is_none_or(|close| close < open) => Stage::Inside,
            _ => Stage::After,
        }
    }

    /// What stands around it and may be special tokens.
    pub(super) fn marks(&self) -> [&'static str; 2] {
        [self.open, self.close]
    }
}

/// How reasoning is told.
#[derive(Debug, Clone, Copy)]
pub struct ReasoningRules {
    /// How the model marks it.
    pub format: &'static ReasoningFormat,
    /// Where the answer begins.
    pub stage: Stage,
    /// Whether the client wants to see it.
    pub is_shown: bool,
}

/// Splits a choice's text into reasoning and answer.
#[derive(Debug, Clone)]
pub(super) struct ReasoningParser {
    format: &'static ReasoningFormat,
    stage: Stage,
    /// Whether it begins with the mark, if it does, is not known yet. Some models open what the prompt opened before them.
    may_open: bool,
    has_reasoned: bool,
    /// Text that is not certain.
    held: String,
    /// Whether the stage has shown text: white space before it is not shown.
    has_shown: bool,
}

/// What is certain after a piece.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parsed {
    pub(super) reasoning: String,
    pub(super) answer: String,
}

impl ReasoningParser {
    pub(super) fn new(rules: &ReasoningRules) -> Self {
        Self {
            format: rules.format,
            stage: rules.stage,
            may_open: rules.stage != Stage::After,
            has_reasoned: rules.stage == Stage::Inside,
            held: String::new(),
            // Where no mark stands before a text, its white space counts.
            has_shown: rules.stage != Stage::Inside,
        }
    }

    /// Whether what comes next belongs to the answer.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::After
    }

    /// Whether there was a mark, in the prompt or in the text.
    pub(super) fn has_reasoned(&self) -> bool {
        self.has_reasoned
    }

    /// Takes the next piece of text.
    pub(super) fn push(&mut self, piece: &str) -> Parsed {
        self.held.push_str(piece);
        let mut parsed = Parsed::default();
        if self.may_open && !self.open() {
            return parsed;
        }
        if self.stage == Stage::Inside {
            let Some(end) = self.held.find(self.format.close) else {
                parsed.reasoning = self.take(self.certain_len());
                return parsed;
            };
            parsed.reasoning = self.take(self.held[..end].trim_end().len());
            let end = self.held.find(self.format.close).unwrap_or_default();
            self.held.drain(..end + self.format.close.len());
            self.enter(Stage::After);
        }
        parsed.answer = self.take(self.held.len());
        parsed
    }

    /// What is held back, when nothing more comes: reasoning without end is reasoning.
    pub(super) fn finish(&mut self) -> Parsed {
        match self.stage {
            Stage::Inside => Parsed {
                reasoning: self.take(self.held.trim_end().len()),
                answer: String::new(),
            },
            Stage::Before | Stage::After => Parsed {
                reasoning: String::new(),
                answer: self.take(self.held.len()),
            },
        }
    }

    /// Whether what is held says how the text begins.
    fn open(&mut self) -> bool {
        let rest = self.held.trim_start();
        if let Some(inside) = rest.strip_prefix(self.format.open) {
            self.held = inside.to_owned();
            self.has_reasoned = true;
            self.enter(Stage::Inside);
        } else if self.format.open.starts_with(rest) {
            return false;
        } else if self.stage == Stage::Before {
            self.stage = Stage::After;
        }
        self.may_open = false;
        true
    }

    /// White space at the beginning belongs to the mark before it.
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.has_shown = false;
    }

    /// Takes the beginning of what is held.
    fn take(&mut self, length: usize) -> String {
        let text: String = self.held.drain(..length).collect();
        let text = if self.has_shown {
            text.as_str()
        } else {
            text.trim_start()
        };
        self.has_shown |= !text.is_empty();
        text.to_owned()
    }

    /// All but a possible beginning of the mark and white space before it.
    fn certain_len(&self) -> usize {
        let close = self.format.close;
        let most = (close.len() - 1).min(self.held.len());
        let beginning = (1..=most)
            .rev()
            .find(|length| self.held.ends_with(&close[..*length]))
            .unwrap_or(0);
        self.held[..self.held.len() - beginning].trim_end().len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(text: &str, stage: Stage, piece_chars: usize) -> (String, String, Stage) {
        let mut parser = ReasoningParser::new(&ReasoningRules {
            format: &THINK,
            stage,
            is_shown: true,
        });
        let mut all = Parsed::default();
        let mut add = |parsed: Parsed| {
            all.reasoning += &parsed.reasoning;
            all.answer += &parsed.answer;
        };
        let text: Vec<char> = text.chars().collect();
        for piece in text.chunks(piece_chars) {
            add(parser.push(&piece.iter().collect::<String>()));
        }
        add(parser.finish());
        (all.reasoning, all.answer, parser.stage)
    }

    #[test]
    fn reasoning_is_told_from_the_answer_wherever_the_pieces_end() {
        use Stage::{After, Before, Inside};
        for (text, begin, reasoning, answer, end) in [
            (
                "<think>\nSo <b> it\nis.\n</think>\n\nYes. \n",
                Before,
                "So <b> it\nis.",
                "Yes. \n",
                After,
            ),
            (" <think>a</think>b", Before, "a", "b", After),
            ("<think>\n\n</think>\n\nYes", Before, "", "Yes", After),
            (
                " Yes <think>no</think>",
                Before,
                "",
                " Yes <think>no</think>",
                After,
            ),
            ("<thin", Before, "", "<thin", Before),
            ("", Before, "", "", Before),
            ("\nHm </thin\n", Inside, "Hm </thin", "", Inside),
            ("Hm</think>Yes</think>", Inside, "Hm", "Yes</think>", After),
            ("<think>Hm</think>Yes", Inside, "Hm", "Yes", After),
            (" <think>a</think>", After, "", " <think>a</think>", After),
        ] {
            for piece_chars in 1..=text.len().max(1) {
                let got = run(text, begin, piece_chars);
                let expected = (reasoning.to_owned(), answer.to_owned(), end);
                assert_eq!(got, expected, "{text:?} from {begin:?} by {piece_chars}");
            }
        }
    }

    #[test]
    fn the_prompt_says_where_the_answer_begins() {
        for (prompt, stage) in [
            ("<|im_start|>assistant\n", Stage::Before),
            ("Say <think>.<|Assistant|>", Stage::Before),
            ("<|Assistant|><think>\n", Stage::Inside),
            ("<think>\n\n</think>\n\n", Stage::After),
        ] {
            assert_eq!(THINK.stage(prompt), stage, "{prompt:?}");
        }
        for (given, stage) in [
            ("Yes, ", Stage::After),
            ("<think>Hm", Stage::Inside),
            ("<think>Hm</think>Yes", Stage::After),
        ] {
            assert_eq!(THINK.stage_after(given), stage, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_marks_and_white_space_is_lost(
            words in proptest::collection::vec(
                prop_oneof!["[a-c<🌍 ]{1,3}", Just("<think>".to_owned()), Just("</think>".to_owned())], 0..9),
            stage in prop_oneof![Just(Stage::Before), Just(Stage::Inside), Just(Stage::After)],
            piece_chars in 1_usize..6,
        ) {
            let text = words.concat();
            let whole = run(&text, stage, usize::MAX);
            prop_assert_eq!(&run(&text, stage, piece_chars), &whole);
            let bare = |text: &str| {
                let text = text.replace("<think>", "").replace("</think>", "");
                text.chars().filter(|c| !c.is_whitespace()).collect::<String>()
            };
            prop_assert_eq!(bare(&text), bare(&whole.0) + &bare(&whole.1));
        }
    }
}
