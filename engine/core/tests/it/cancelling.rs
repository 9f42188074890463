//! A cancel at every point of a call's life.

use lps_engine_core::core::{Batching, Config, Effect, Finish};
use lps_engine_core::model::Unmasked;
use lps_engine_core::request::Request;

use crate::support::*;

/// Cancels `a` after `steps` steps beside `b`, and checks that it ended once, that its pages are back, and that `b`
/// notices nothing.
#[track_caller]
fn check_cancel(config: Config, a: Request, b: Request, steps: usize) {
    let expected = alone(&b).texts;
    let mut engine = Engine::new(config);
    engine.add(b);
    engine.add(a);
    for _ in 0..steps {
        engine.step();
    }
    engine.cancel("a");
    engine.cancel("a");
    let end = engine.end("a");
    assert_eq!(end.finish, Some(Finish::Cancelled));
    assert!(
        end.finishes
            .values()
            .all(|finish| *finish == Finish::Cancelled),
        "{end:?}"
    );
    engine.finish();
    assert_eq!(engine.end("b").texts, expected);
}

#[test]
fn in_each_state() {
    let slow = Config {
        max_batched_tokens: 4,
        ..config()
    };
    let one = Config {
        max_num_seqs: 1,
        ..config()
    };
    let a = |queue| request("a", queue, &prompt(1, 11), 9);
    let b = |queue| request("b", queue, &prompt(2, 5), 12);
    // Queued.
    check_cancel(one.clone(), a(1), b(0), 0);
    check_cancel(one.clone(), a(1), b(0), 2);
    // After each chunk of the prompt, and decoding.
    for steps in 1..8 {
        check_cancel(slow.clone(), a(0), b(1), steps);
    }
    // Gathering for a batch.
    let gathering = Config {
        max_num_seqs: 2,
        batching: Batching::Static,
        ..config()
    };
    check_cancel(gathering, a(1), Request { choices: 2, ..b(0) }, 1);
}

#[test]
fn preempted_with_and_without_pages() {
    for prefix_cache in [false, true] {
        for kv_blocks in [5, 64] {
            let config = Config {
                max_num_seqs: 1,
                kv_blocks,
                prefix_cache,
                ..config()
            };
            let mut engine = Engine::new(config);
            engine.add(request("a", 1, &prompt(1, 11), 9));
            engine.step();
            engine.add(request("b", 0, &prompt(2, 9), 9));
            engine.step();
            engine.cancel("a");
            assert_eq!(engine.end("a").usage.output_tokens.0, 1);
            engine.finish();
        }
    }
}

#[test]
fn siblings_at_every_point() {
    for steps in 0..7 {
        let config = Config {
            max_batched_tokens: 6,
            ..config()
        };
        let a = Request {
            choices: 3,
            ..request("a", 0, &prompt(1, 11), 6)
        };
        check_cancel(config, a, request("b", 1, &prompt(2, 5), 12), steps);
    }
}

#[test]
fn while_its_step_is_out() {
    use lps_engine_core::model::Model as _;
    let mut engine = Engine::new(config());
    engine.add(request("a", 0, &prompt(1, 5), 9));
    engine.add(request("b", 0, &prompt(2, 5), 9));
    let batch = engine.core.schedule(engine.now).expect("work");
    let outputs = engine
        .model
        .step(&batch, &mut Unmasked)
        .expect("paper does not fail");
    engine.cancel("a");
    assert_eq!(engine.end("a").usage.executor_us.0, 0);
    let effects = engine.core.complete(outputs, lps_api::quantity::Micros(7));
    assert!(matches!(&effects[..], [Effect::Token { call, .. }] if *call == call_id("b")));
    engine.take(effects);
    engine.finish();
}

#[test]
fn a_choice_stops_alone_and_a_sibling_takes_over_the_prompt() {
    for steps in 0..5 {
        for choice in 0..3 {
            let asked = Request {
                choices: 3,
                ..request("a", 0, &prompt(1, 11), 6)
            };
            let expected = alone(&asked).texts;
            let mut engine = Engine::new(Config {
                max_batched_tokens: 6,
                ..config()
            });
            engine.add(asked);
            for _ in 0..steps {
                engine.step();
            }
            let effects = engine.core.stop_choice(&call_id("a"), choice);
            assert_eq!(effects.len(), 1);
            engine.take(effects);
            assert!(
                engine.core.stop_choice(&call_id("a"), choice).is_empty(),
                "twice is nothing"
            );
            engine.finish();
            let end = engine.end("a");
            assert_ne!(end.finish, Some(Finish::Cancelled));
            for (other, text) in &expected {
                if *other == choice {
                    assert!(text.starts_with(&end.texts[other]));
                    assert_eq!(end.finishes[other], Finish::Stop);
                } else {
                    assert_eq!(&end.texts[other], text);
                    assert_eq!(end.finishes[other], Finish::Length);
                }
            }
        }
    }
}

#[test]
fn unknown_calls_and_choices_are_nothing() {
    let mut engine = Engine::new(config());
    engine.add(request("a", 0, &prompt(1, 5), 2));
    assert!(engine.core.cancel(&call_id("b")).is_empty());
    assert!(engine.core.stop_choice(&call_id("b"), 0).is_empty());
    assert!(engine.core.stop_choice(&call_id("a"), 1).is_empty());
    engine.finish();
    assert!(engine.core.cancel(&call_id("a")).is_empty());
}
