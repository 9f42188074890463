//! Numbers of which no token can be drawn: whose call ends, what becomes of its pages, and that nobody else notices.

use lps_engine_core::core::{Config, Finish};
use lps_engine_core::defect::{Defect, Failure, Numbers};
use lps_engine_core::request::{Request, TokenId};

use crate::support::*;

fn spoilt(len: usize) -> Vec<TokenId> {
    let mut prompt = prompt(1, len);
    prompt[len - 1] = SPOILT;
    prompt
}

#[test]
fn its_call_ends_and_the_others_of_the_batch_go_on() {
    let (b, c) = (
        request("b", 0, &prompt(2, 5), 12),
        request("c", 2, &prompt(1, 10), 9),
    );
    let expected = [alone(&b).texts, alone(&c).texts];
    let mut engine = Engine::new(config());
    engine.add(b);
    engine.add(request("a", 1, &spoilt(11), 9));
    engine.add(c);
    assert_eq!(engine.step_line(), "b:5 a:11 c:10");
    let failure = Failure {
        step: 1,
        numbers: Numbers::Logits {
            choice: 0,
            position: 11,
        },
        defect: Defect::NotANumber,
    };
    let end = engine.end("a");
    assert_eq!(end.finish, Some(Finish::Failed(failure)));
    assert!(end.texts[&0].is_empty());
    let usage = end.usage;
    assert_eq!((usage.prompt_tokens.0, usage.output_tokens.0), (11, 0));
    assert_eq!(usage.executor_us.0, 1_000_000, "the step is charged");
    assert_eq!(
        failure.to_string(),
        "the logits of choice 0 at position 11 hold not-a-number (NaN), in step 1"
    );
    engine.finish();
    assert_eq!(
        [&engine.end("b").texts, &engine.end("c").texts],
        [&expected[0], &expected[1]]
    );
}

#[test]
fn all_its_choices_end_in_whatever_state() {
    for (sequences, tokens) in [(1, 64), (2, 64), (4, 64), (4, 4)] {
        let mut engine = Engine::new(Config {
            max_num_seqs: sequences,
            max_batched_tokens: tokens,
            ..config()
        });
        let choices = 3;
        engine.add(Request {
            choices,
            ..request("a", 0, &spoilt(11), 9)
        });
        engine.add(request("b", 1, &prompt(2, 5), 4));
        engine.finish();
        let end = engine.end("a");
        assert_eq!(end.finishes.len(), choices as usize);
        assert!(
            end.finishes
                .values()
                .all(|finish| matches!(finish, Finish::Failed(_)))
        );
        assert_eq!(engine.text("b").len(), 4);
    }
}

/// A machine that errs for a moment spoils pages. If the prefix cache kept them, every later call with that beginning
/// would end like the first.
#[test]
fn what_it_wrote_is_served_to_nobody() {
    // The whole prompt in one step, and in steps of which only the last draws.
    for tokens in [64, 4] {
        let asked = |name| request(name, 0, &prompt(1, 23), 9);
        let mut engine = Engine::new(Config {
            max_batched_tokens: tokens,
            ..config()
        });
        engine.model.errs = 1;
        engine.add(asked("a"));
        engine.finish();
        assert!(matches!(engine.end("a").finish, Some(Finish::Failed(_))));
        assert_eq!(engine.core.load().kv_blocks_cached, 0);
        engine.add(asked("b"));
        engine.finish();
        assert_eq!(engine.end("b").texts, alone(&asked("b")).texts);
    }
}

#[test]
fn what_others_refer_to_stays_theirs() {
    let mut engine = Engine::new(config());
    let b = request("b", 0, &prompt(1, 24), 12);
    engine.add(b.clone());
    engine.step();
    // Shares the pages of the beginning, and spoils only its own.
    engine.add(request("a", 0, &spoilt(24), 9));
    engine.step();
    assert_eq!(engine.end("a").usage.cached_tokens.0, 20);
    engine.finish();
    assert_eq!(engine.end("b").texts, alone(&b).texts);
    assert!(engine.core.load().kv_blocks_cached > 0);
}
