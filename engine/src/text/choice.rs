//! What becomes of one choice's tokens. Owns: the way from a token to what a client may see: text, then stop texts, then
//! tool calls. Nothing after a stop text is ever given out.

use std::sync::Arc;

use lps_api::ids::CallId;
use lps_api::openai::ToolCall;
use lps_engine_core::batch::Sampled;

use crate::text::detokeniser::Detokeniser;
use crate::text::stop::{Found, StopMatcher};
use crate::text::tokenizer::Tokenizer;
use crate::text::tool_calls::ToolCallParser;

/// What a request says about its text.
#[derive(Debug, Clone, Default)]
pub struct TextRules {
    /// Texts that end a choice.
    pub stops: Vec<String>,
    /// Whether they are part of it.
    pub include_stop: bool,
    /// Whether special tokens are left out.
    pub skip_special: bool,
    /// Whether tool calls are looked for.
    pub tools: Option<ToolRules>,
}

/// How tool calls are told.
#[derive(Debug, Clone)]
pub struct ToolRules {
    /// The call that ids are made from.
    pub call: CallId,
    /// Whether calls after the first are dropped.
    pub only_one: bool,
}

/// One choice's text on its way to the client.
#[derive(Debug)]
pub struct ChoiceText {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    detokeniser: Detokeniser,
    stop: StopMatcher,
    tools: Option<ToolCallParser>,
    /// Tokens of which nothing is shown yet.
    pending: Vec<Sampled>,
    /// The stop text that came.
    stopped_by: Option<String>,
}

/// What is new.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Piece {
    /// Text.
    pub text: String,
    /// Tool calls, each whole.
    pub tool_calls: Vec<ToolCall>,
    /// The tokens that were taken since the last piece.
    pub tokens: Vec<Sampled>,
}

impl Piece {
    /// Whether there is nothing to be shown.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tool_calls.is_empty() && self.tokens.is_empty()
    }
}

impl ChoiceText {
    /// An empty choice; `index` is its place in the answer.
    pub fn new(tokenizer: Arc<Tokenizer>, rules: &TextRules, index: u32) -> Self {
        let tools = rules.tools.as_ref();
        let parser =
            |tools: &ToolRules| ToolCallParser::new((tools.call.clone(), index), tools.only_one);
        Self {
            skip_special: rules.skip_special,
            detokeniser: Detokeniser::new(&tokenizer),
            stop: StopMatcher::new(&rules.stops, rules.include_stop),
            tools: tools.map(parser),
            pending: Vec::new(),
            stopped_by: None,
            tokenizer,
        }
    }

    /// Takes a token; gives a piece when there is something to show. After a stop text, nothing.
    pub fn push(&mut self, sampled: Sampled) -> Option<Piece> {
        if self.is_stopped() {
            return None;
        }
        let text = self
            .detokeniser
            .push(sampled.token, &self.tokenizer, self.skip_special);
        self.pending.push(sampled);
        let piece = self.show(&text);
        if piece.text.is_empty() && piece.tool_calls.is_empty() && !self.is_stopped() {
            self.pending = piece.tokens;
            return None;
        }
        Some(piece)
    }

    /// The rest, when no token comes any more.
    pub fn finish(&mut self) -> Piece {
        if self.is_stopped() {
            return Piece::default();
        }
        let text = self.detokeniser.finish(&self.tokenizer, self.skip_special);
        let mut piece = self.show(&text);
        if !self.is_stopped() {
            let held = self.stop.finish();
            self.parse(&held, &mut piece);
            self.close(&mut piece);
        }
        piece
    }

    /// Whether a stop text came.
    pub fn is_stopped(&self) -> bool {
        self.stopped_by.is_some()
    }

    /// The stop text that came.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stopped_by.as_deref()
    }

    /// Whether a tool was called.
    pub fn has_tool_calls(&self) -> bool {
        self.tools.as_ref().is_some_and(ToolCallParser::has_calls)
    }

    fn show(&mut self, text: &str) -> Piece {
        let mut piece = Piece {
            tokens: std::mem::take(&mut self.pending),
            ..Piece::default()
        };
        match self.stop.push(text) {
            Found::Open(text) => self.parse(&text, &mut piece),
            Found::Stopped { text, stop } => {
                self.stopped_by = Some(stop);
                self.parse(&text, &mut piece);
                self.close(&mut piece);
            }
        }
        piece
    }

    fn parse(&mut self, text: &str, piece: &mut Piece) {
        match &mut self.tools {
            None => piece.text.push_str(text),
            Some(parser) => {
                let parsed = parser.push(text);
                piece.text.push_str(&parsed.text);
                piece.tool_calls.extend(parsed.calls);
            }
        }
    }

    fn close(&mut self, piece: &mut Piece) {
        if let Some(parser) = &mut self.tools {
            piece.text.push_str(&parser.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use lps_engine_core::request::TokenId;
    use proptest::prelude::*;

    use super::*;
    use crate::model::directory::{ModelDirectory, Source};

    fn tokenizer() -> Arc<Tokenizer> {
        static DEMO: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
            let demo = ModelDirectory::open(&Source::Demo).unwrap();
            Arc::new(Tokenizer::open(&demo).unwrap())
        });
        Arc::clone(&DEMO)
    }

    /// Pieces of a text, and of each how many tokens were read for it.
    fn pieces(choice: &mut ChoiceText, tokens: &[TokenId]) -> Vec<(usize, Piece)> {
        let sampled = |&token| Sampled {
            token,
            logprobs: None,
        };
        let read = tokens.iter().map(sampled).enumerate();
        read.filter_map(|(at, one)| Some((at + 1, choice.push(one)?)))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// What an engine does that goes on with another's answer.
        #[test]
        fn whoever_reads_what_was_shown_says_the_rest(
            words in proptest::collection::vec(
                prop_oneof!["[a-c🌍é ]{1,4}", Just("<tool_call>".to_owned()), Just("</tool_call>".to_owned()),
                    Just("{\"name\": \"f\", \"arguments\": {\"x\": 1}}".to_owned())],
                1..12,
            ),
            stops in proptest::collection::vec("[a-c🌍 ]{1,3}", 0..3),
            tools in any::<bool>(),
        ) {
            let tokenizer = tokenizer();
            let call = CallId::parse("c").unwrap();
            let rules = TextRules {
                stops,
                tools: tools.then_some(ToolRules { call, only_one: false }),
                ..TextRules::default()
            };
            let tokens = tokenizer.encode(&words.concat(), false).unwrap();
            let mut whole = ChoiceText::new(Arc::clone(&tokenizer), &rules, 0);
            let shown = pieces(&mut whole, &tokens);
            let last = whole.finish();
            for (index, (read, _)) in shown.iter().enumerate() {
                let mut again = ChoiceText::new(Arc::clone(&tokenizer), &rules, 0);
                pieces(&mut again, &tokens[..*read]);
                let rest: Vec<Piece> = pieces(&mut again, &tokens[*read..]).into_iter().map(|(_, piece)| piece).collect();
                let expected: Vec<Piece> = shown[index + 1..].iter().map(|(_, piece)| piece.clone()).collect();
                prop_assert_eq!(rest, expected);
                prop_assert_eq!(&again.finish(), &last);
                prop_assert_eq!(again.is_stopped(), whole.is_stopped());
                prop_assert_eq!(again.has_tool_calls(), whole.has_tool_calls());
            }
        }
    }

    fn run(text: &str, rules: &TextRules) -> (String, usize, bool) {
        let tokenizer = tokenizer();
        let tokens = tokenizer.encode(text, false).unwrap();
        let mut choice = ChoiceText::new(tokenizer, rules, 0);
        let sampled = |token| Sampled {
            token,
            logprobs: None,
        };
        let mut pieces: Vec<_> = tokens
            .into_iter()
            .filter_map(|t| choice.push(sampled(t)))
            .collect();
        pieces.push(choice.finish());
        let tokens = pieces.iter().map(|piece| piece.tokens.len()).sum();
        (
            pieces.into_iter().map(|piece| piece.text).collect(),
            tokens,
            choice.is_stopped(),
        )
    }

    #[test]
    fn nothing_after_a_stop_text_is_given_out() {
        let rules = TextRules {
            stops: vec!["🌍!".to_owned()],
            ..TextRules::default()
        };
        let (text, _, stopped) = run("Hello 🌍! Bye", &rules);
        assert_eq!((text.as_str(), stopped), ("Hello ", true));
        let (text, tokens, stopped) = run("Hello 🌍", &rules);
        assert_eq!((text.as_str(), stopped), ("Hello 🌍", false));
        assert!(
            tokens > 4,
            "tokens that were held back come with the last piece"
        );
    }

    #[test]
    fn special_tokens_are_left_out_where_asked() {
        let skip = TextRules {
            skip_special: true,
            ..TextRules::default()
        };
        assert_eq!(run("a<tool_call>b", &skip).0, "ab");
        assert_eq!(
            run("a<tool_call>b", &TextRules::default()).0,
            "a<tool_call>b"
        );
    }
}
