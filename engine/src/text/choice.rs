//! What becomes of one choice's tokens. Owns: the way from a token to what a client may see: text, then reasoning, then stop
//! texts, which end the answer and not the reasoning before it, then tool calls. Nothing after a stop text is ever given out.

use std::sync::Arc;

use lps_api::openai::ToolCallDelta;
use lps_engine_core::batch::Sampled;
use lps_engine_core::request::TokenId;

use crate::text::detokeniser::Detokeniser;
use crate::text::reasoning::{Parsed, ReasoningParser, ReasoningRules};
use crate::text::stop::{Found, StopMatcher};
use crate::text::tokenizer::Tokenizer;
use crate::text::tool_calls::{self, ToolCallParser, ToolRules};

/// What a request says about its text.
#[derive(Debug, Clone, Default)]
pub struct TextRules {
    /// Texts that end a choice.
    pub stops: Vec<String>,
    /// Whether they are part of it.
    pub include_stop: bool,
    /// Whether special tokens are left out, but for those that are looked for.
    pub skip_special: bool,
    /// Whether reasoning is looked for.
    pub reasoning: Option<ReasoningRules>,
    /// Whether tool calls are looked for.
    pub tools: Option<ToolRules>,
}

impl TextRules {
    /// Special tokens that are not left out, because they mark something.
    fn marks(&self, tokenizer: &Tokenizer) -> Vec<TokenId> {
        let reasoning = self.reasoning.iter().flat_map(|rules| rules.format.marks());
        let tools = self.tools.iter().flat_map(|rules| rules.format.marks());
        let marks = reasoning.chain(tools);
        marks.filter_map(|mark| tokenizer.special(mark)).collect()
    }
}

/// One choice's text on its way to the client.
#[derive(Debug)]
pub struct ChoiceText {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    /// Special tokens that are text all the same.
    marks: Vec<TokenId>,
    detokeniser: Detokeniser,
    reasoning: Option<ReasoningParser>,
    /// Whether the client sees it.
    shows_reasoning: bool,
    /// Tokens before the answer.
    reasoning_tokens: u32,
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
    /// What the model reasoned before its answer.
    pub reasoning: String,
    /// Text.
    pub text: String,
    /// What is new of tool calls, one entry a call.
    pub tool_calls: Vec<ToolCallDelta>,
    /// The tokens that were taken since the last piece.
    pub tokens: Vec<Sampled>,
}

impl Piece {
    /// Whether there is nothing to be shown.
    pub fn is_empty(&self) -> bool {
        self.says_nothing() && self.tokens.is_empty()
    }

    /// Whether there is nothing but tokens.
    fn says_nothing(&self) -> bool {
        self.reasoning.is_empty() && self.text.is_empty() && self.tool_calls.is_empty()
    }

    /// Takes the next piece in.
    pub fn extend(&mut self, next: Self) {
        self.reasoning += &next.reasoning;
        self.take(next.text, next.tool_calls);
        self.tokens.extend(next.tokens);
    }

    fn take(&mut self, text: String, calls: Vec<ToolCallDelta>) {
        self.text += &text;
        for call in calls {
            tool_calls::add(&mut self.tool_calls, call);
        }
    }
}

impl ChoiceText {
    /// An empty choice; `index` is its place in the answer.
    pub fn new(tokenizer: Arc<Tokenizer>, rules: &TextRules, index: u32) -> Self {
        let reasoning = rules.reasoning.as_ref();
        let tools = rules.tools.as_ref();
        Self {
            skip_special: rules.skip_special,
            marks: rules.marks(&tokenizer),
            detokeniser: Detokeniser::new(&tokenizer),
            reasoning: reasoning.map(ReasoningParser::new),
            shows_reasoning: reasoning.is_some_and(|rules| rules.is_shown),
            reasoning_tokens: 0,
            stop: StopMatcher::new(&rules.stops, rules.include_stop),
            tools: tools.map(|rules| ToolCallParser::new(rules, index)),
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
        let text = if self.is_left_out(sampled.token) {
            String::new()
        } else {
            self.detokeniser.push(sampled.token, &self.tokenizer)
        };
        self.pending.push(sampled);
        if self
            .reasoning
            .as_ref()
            .is_some_and(|reasoning| !reasoning.is_over())
        {
            self.reasoning_tokens += 1;
        }
        let piece = self.show(&text);
        if piece.says_nothing() && !self.is_stopped() {
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
        let text = self.detokeniser.finish(&self.tokenizer);
        let mut piece = self.show(&text);
        if let Some(reasoning) = &mut self.reasoning
            && self.stopped_by.is_none()
        {
            let rest = reasoning.finish();
            self.reason(rest, &mut piece);
        }
        if !self.is_stopped() {
            let held = self.stop.finish();
            self.parse(&held, &mut piece);
            self.close(&mut piece);
        }
        piece
    }

    /// Tokens that the model spent before its answer; `None` where reasoning is not looked for.
    pub fn reasoning_tokens(&self) -> Option<u32> {
        let reasoning = self.reasoning.as_ref()?;
        Some(match reasoning.has_reasoned() {
            true => self.reasoning_tokens,
            false => 0,
        })
    }

    /// Whether a stop text came.
    pub fn is_stopped(&self) -> bool {
        self.stopped_by.is_some()
    }

    /// The stop text that came.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stopped_by.as_deref()
    }

    /// Whether a tool was called, and no call was left without its end.
    pub fn has_whole_tool_calls(&self) -> bool {
        let tools = self.tools.as_ref();
        tools.is_some_and(ToolCallParser::has_whole_calls)
    }

    fn is_left_out(&self, token: TokenId) -> bool {
        self.skip_special && self.tokenizer.is_special(token) && !self.marks.contains(&token)
    }

    fn show(&mut self, text: &str) -> Piece {
        let mut piece = Piece {
            tokens: std::mem::take(&mut self.pending),
            ..Piece::default()
        };
        match &mut self.reasoning {
            None => self.answer(text, &mut piece),
            Some(reasoning) => {
                let parsed = reasoning.push(text);
                self.reason(parsed, &mut piece);
            }
        }
        piece
    }

    fn reason(&mut self, parsed: Parsed, piece: &mut Piece) {
        if self.shows_reasoning {
            piece.reasoning += &parsed.reasoning;
        }
        self.answer(&parsed.answer, piece);
    }

    fn answer(&mut self, text: &str, piece: &mut Piece) {
        match self.stop.push(text) {
            Found::Open(text) => self.parse(&text, piece),
            Found::Stopped { text, stop } => {
                self.stopped_by = Some(stop);
                self.parse(&text, piece);
                self.close(piece);
            }
        }
    }

    fn parse(&mut self, text: &str, piece: &mut Piece) {
        match &mut self.tools {
            None => piece.text.push_str(text),
            Some(parser) => {
                let parsed = parser.push(text);
                piece.take(parsed.text, parsed.calls);
            }
        }
    }

    fn close(&mut self, piece: &mut Piece) {
        if let Some(parser) = &mut self.tools {
            let parsed = parser.finish();
            piece.take(parsed.text, parsed.calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use lps_api::ids::CallId;
    use proptest::prelude::*;

    use super::*;
    use crate::model::directory::{ModelDirectory, Source};
    use crate::text::reasoning::{Stage, THINK};
    use crate::text::tool_calls::format::{ALL, HERMES};

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

    const WORDS: [&str; 12] = [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]f[ARGS]",
        "{\"name\": \"f\", \"arguments\": {\"x\": 1}}",
        // Arguments that are cut, or that break.
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": ",
        "{\"x\": ",
        "True",
        "}",
        "<|tool_call>call:f{x:1}<tool_call|>",
        "\n",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// What an engine does that goes on with another's answer.
        #[test]
        fn whoever_reads_what_was_shown_says_the_rest(
            words in proptest::collection::vec(
                prop_oneof!["[a-c🌍é ]{1,4}", prop::sample::select(&WORDS[..]).prop_map(str::to_owned)],
                1..12,
            ),
            stops in proptest::collection::vec("[a-c🌍 ]{1,3}", 0..3),
            (format, only_one) in (proptest::option::of(prop::sample::select(&ALL[..])), proptest::bool::ANY),
            stage in proptest::option::of(prop_oneof![Just(Stage::Before), Just(Stage::Inside)]),
        ) {
            let tokenizer = tokenizer();
            let call = CallId::parse("c").unwrap();
            let rules = TextRules {
                stops,
                tools: format.map(|format| ToolRules { format, call, offered: vec!["f".to_owned()], only_one }),
                reasoning: stage.map(|stage| ReasoningRules { format: &THINK, stage, is_shown: true }),
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
                prop_assert_eq!(again.has_whole_tool_calls(), whole.has_whole_tool_calls());
                prop_assert_eq!(again.reasoning_tokens(), whole.reasoning_tokens());
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
    fn special_tokens_that_mark_something_are_not_left_out() {
        let rules = TextRules {
            skip_special: true,
            tools: Some(ToolRules {
                format: &HERMES,
                call: CallId::parse("c").unwrap(),
                offered: Vec::new(),
                only_one: false,
            }),
            ..TextRules::default()
        };
        let call = "<tool_call>{\"name\": 7}</tool_call>";
        assert_eq!(
            run(&format!("a<|im_start|>{call}"), &rules).0,
            format!("a{call}")
        );
    }

    #[test]
    fn a_stop_text_ends_the_answer_and_not_the_reasoning_before_it() {
        let reasoning = |is_shown| ReasoningRules {
            format: &THINK,
            stage: Stage::Before,
            is_shown,
        };
        for is_shown in [true, false] {
            let rules = TextRules {
                stops: vec!["b".to_owned()],
                reasoning: Some(reasoning(is_shown)),
                ..TextRules::default()
            };
            let tokenizer = tokenizer();
            let tokens = tokenizer
                .encode("<think>a b c</think>a b c", false)
                .unwrap();
            let mut choice = ChoiceText::new(tokenizer, &rules, 0);
            let mut said = Piece::default();
            for (_, piece) in pieces(&mut choice, &tokens) {
                said.reasoning += &piece.reasoning;
                said.text += &piece.text;
            }
            let reasoning = if is_shown { "a b c" } else { "" };
            assert_eq!(
                (said.reasoning.as_str(), said.text.as_str()),
                (reasoning, "a ")
            );
            assert!(choice.is_stopped() && choice.reasoning_tokens().unwrap() > 5);
        }
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
