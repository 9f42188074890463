//! Who runs when: tables of steps, each written as `call:new tokens` in order of preference.

use lps_api::protocol::CallState;
use lps_api::quantity::{Micros, Order};
use lps_engine_core::core::{Batching, Config, Finish, Preemption, Refusal};
use lps_engine_core::request::{Request, Stopping};

use crate::support::*;

#[track_caller]
fn check_steps(engine: &mut Engine, expected: &[&str]) {
    let steps: Vec<_> = expected.iter().map(|_| engine.step_line()).collect();
    assert_eq!(steps, expected);
}

#[test]
fn a_prompt_is_computed_in_chunks_and_decodes_go_on_beside_it() {
    let mut engine = Engine::new(Config {
        max_batched_tokens: 8,
        ..config()
    });
    engine.add(request("short", 5, &prompt(1, 3), 9));
    check_steps(&mut engine, &["short:3"]);
    engine.add(request("long", 0, &prompt(2, 20), 3));
    // The long prompt stands before the short call, and leaves it its one token.
    let expected = [
        "long:7 short:1",
        "long:7 short:1",
        "long:6 short:1",
        "long:1 short:1",
    ];
    check_steps(&mut engine, &expected);
    engine.finish();
}

#[test]
fn the_chunk_size_changes_no_text() {
    let asked = request("a", 0, &prompt(1, 30), 12);
    let expected = alone(&asked);
    for max_batched_tokens in [1, 3, 4, 5, 64] {
        for prefix_cache in [false, true] {
            let mut engine = Engine::new(Config {
                max_batched_tokens,
                prefix_cache,
                ..config()
            });
            engine.add(asked.clone());
            engine.finish();
            assert_eq!(
                engine.end("a").texts,
                expected.texts,
                "chunks of {max_batched_tokens}"
            );
        }
    }
}

#[test]
fn prompts_share_a_step_in_order_and_the_rest_waits() {
    let mut engine = Engine::new(Config {
        max_batched_tokens: 8,
        ..config()
    });
    for (name, queue) in [("c", 2), ("a", 0), ("b", 1)] {
        engine.add(request(name, queue, &prompt(u32::from(queue), 6), 2));
    }
    check_steps(&mut engine, &["a:6 b:2", "a:1 b:4 c:3", "b:1 c:3", "c:1"]);
    engine.finish();
}

#[test]
fn equal_orders_run_by_arrival() {
    let mut engine = Engine::new(Config {
        max_num_seqs: 1,
        ..config()
    });
    for name in ["z", "m", "a"] {
        engine.add(request(name, 0, &prompt(1, 2), 1));
    }
    check_steps(&mut engine, &["z:2", "m:2", "a:2"]);
}

#[test]
fn an_urgent_call_has_the_slot_one_step_later_and_the_victim_resumes_where_it_was() {
    for (preemption, resumed) in [
        (Preemption::Keep, "victim:1"),
        (Preemption::Recompute, "victim:3"),
    ] {
        let mut engine = Engine::new(Config {
            max_num_seqs: 1,
            preemption,
            ..config()
        });
        let victim = request("victim", 1, &prompt(1, 9), 8);
        engine.add(victim.clone());
        check_steps(&mut engine, &["victim:9", "victim:1"]);
        engine.add(request("urgent", 0, &prompt(2, 5), 3));
        check_steps(&mut engine, &["urgent:5"]);
        assert_eq!(
            engine
                .core
                .progress_of(&call_id("victim"))
                .map(|progress| progress.state),
            Some(CallState::Preempted)
        );
        // 11 tokens are known. Pages kept: one is owed. Given back: two full pages are found again, three tokens are
        // computed once more.
        check_steps(&mut engine, &["urgent:1", "urgent:1", resumed]);
        engine.finish();
        assert_eq!(
            engine.text("victim"),
            alone(&victim).texts[&0],
            "{preemption:?}"
        );
        // Six more steps after the two before and the one just seen make eight tokens; urgent ones cost it nothing.
        assert_eq!(engine.end("victim").usage.executor_us, Micros::from_secs(8));
        assert_eq!(engine.end("urgent").usage.executor_us, Micros::from_secs(3));
    }
}

#[test]
fn without_a_prefix_cache_recompute_starts_from_the_first_token() {
    let mut engine = Engine::new(Config {
        max_num_seqs: 1,
        preemption: Preemption::Recompute,
        prefix_cache: false,
        ..config()
    });
    engine.add(request("victim", 1, &prompt(1, 9), 8));
    check_steps(&mut engine, &["victim:9", "victim:1"]);
    engine.add(request("urgent", 0, &prompt(2, 5), 1));
    check_steps(&mut engine, &["urgent:5", "victim:11"]);
    engine.finish();
}

#[test]
fn kept_pages_are_given_back_from_the_tail_when_a_better_call_needs_them() {
    // Six pages of four tokens. The victim holds four, the urgent call needs three.
    let mut engine = Engine::new(Config {
        kv_blocks: 6,
        max_num_seqs: 1,
        prefix_cache: false,
        ..config()
    });
    let victim = request("victim", 1, &prompt(1, 13), 6);
    engine.add(victim.clone());
    check_steps(&mut engine, &["victim:13"]);
    engine.add(request("urgent", 0, &prompt(2, 9), 2));
    // One page is lost, three with 12 tokens are kept; 14 tokens are known.
    check_steps(
        &mut engine,
        &["urgent:9", "urgent:1", "victim:2", "victim:1"],
    );
    engine.finish();
    assert_eq!(engine.text("victim"), alone(&victim).texts[&0]);
}

#[test]
fn a_decode_that_needs_a_page_takes_it_from_the_last_of_the_order() {
    // Four pages: each of two calls starts with two; at the ninth token the better one takes the worse one's last.
    let mut engine = Engine::new(Config {
        kv_blocks: 4,
        prefix_cache: false,
        ..config()
    });
    let (a, b) = (
        request("a", 0, &prompt(1, 7), 5),
        request("b", 1, &prompt(2, 7), 5),
    );
    engine.add(a.clone());
    engine.add(b.clone());
    check_steps(
        &mut engine,
        &[
            "a:7 b:7", "a:1 b:1", "a:1", "a:1", "a:1", "b:5", "b:1", "b:1",
        ],
    );
    engine.finish();
    assert_eq!(engine.text("a"), alone(&a).texts[&0]);
    assert_eq!(engine.text("b"), alone(&b).texts[&0]);
}

#[test]
fn who_does_not_fit_is_passed_over_and_displaces_when_it_does() {
    // Six pages: `a` holds three, `big` needs five, `small` runs beside `a` until `big` can have them.
    let mut engine = Engine::new(Config {
        kv_blocks: 6,
        prefix_cache: false,
        ..config()
    });
    engine.add(request("a", 0, &prompt(1, 9), 3));
    engine.add(request("big", 1, &prompt(2, 20), 2));
    engine.add(request("small", 2, &prompt(3, 5), 9));
    let expected = ["a:9 small:5", "a:1 small:1", "a:1 small:1", "big:20"];
    check_steps(&mut engine, &expected);
    // `big` needs a sixth page; `small` kept one of its two for a while, and now gives it up as well.
    check_steps(&mut engine, &["big:1", "small:8"]);
    engine.finish();
}

#[test]
fn a_new_order_holds_from_the_next_step_on() {
    let mut engine = Engine::new(Config {
        max_num_seqs: 1,
        ..config()
    });
    engine.add(request("a", 1, &prompt(1, 2), 9));
    engine.add(request("b", 2, &prompt(2, 2), 9));
    check_steps(&mut engine, &["a:2"]);
    assert!(
        engine
            .core
            .reorder(&call_id("b"), Order { queue: 0, rank: 0 })
    );
    check_steps(&mut engine, &["b:2"]);
    assert!(
        engine
            .core
            .reorder(&call_id("b"), Order { queue: 1, rank: 1 })
    );
    check_steps(&mut engine, &["a:1"]);
    assert!(!engine.core.reorder(&call_id("nobody"), Order::default()));
    engine.finish();
}

#[test]
fn siblings_wait_for_the_prompt_and_share_its_full_pages() {
    let asked = Request {
        choices: 3,
        ..request("a", 0, &prompt(1, 10), 3)
    };
    let mut engine = Engine::new(Config {
        max_batched_tokens: 6,
        ..config()
    });
    engine.add(asked.clone());
    // Two full pages are shared; the two tokens of the last page are computed by each.
    check_steps(
        &mut engine,
        &["a:6", "a:4", "a:1 a/1:2 a/2:2", "a:1 a/1:1 a/2:1"],
    );
    engine.finish();
    let end = engine.end("a");
    assert_eq!(end.texts, alone(&asked).texts);
    assert_eq!(end.usage.output_tokens.0, 9);
    assert_eq!(
        end.usage.executor_us,
        Micros::from_secs(5),
        "a step is charged once a call"
    );
}

#[test]
fn resumed_output_counts_and_is_not_emitted_again() {
    let asked = request("a", 0, &prompt(1, 6), 7);
    let whole = alone(&asked).texts[&0].clone();
    for known in 0..=7 {
        let mut engine = Engine::new(config());
        engine.add(Request {
            resumed: whole[..known].to_vec(),
            ..asked.clone()
        });
        engine.finish();
        assert_eq!(engine.text("a"), &whole[known..], "resumed after {known}");
        assert_eq!(engine.end("a").usage.output_tokens.0, 7);
        assert_eq!(engine.end("a").finishes[&0], Finish::Length);
    }
}

#[test]
fn a_stop_token_ends_a_choice_unseen_but_not_before_min_tokens() {
    let with = |min_tokens| Request {
        stopping: Stopping {
            max_tokens: 200,
            min_tokens,
            stop_tokens: vec![STOP],
        },
        ..request("a", 0, &prompt(1, 6), 0)
    };
    for min_tokens in [0, 60] {
        let mut engine = Engine::new(config());
        engine.add(with(min_tokens));
        engine.finish();
        let text = engine.text("a");
        assert!(
            text.len() >= min_tokens as usize && text.len() < 200,
            "{} tokens",
            text.len()
        );
        assert!(!text.contains(&STOP));
        assert_eq!(engine.end("a").finishes[&0], Finish::Stop);
    }
}

#[test]
fn the_end_of_the_context_ends_a_choice() {
    let mut engine = Engine::new(Config {
        max_model_len: 16,
        ..config()
    });
    engine.add(request("a", 0, &prompt(1, 10), 100));
    engine.finish();
    assert_eq!(engine.text("a").len(), 6);
    assert_eq!(engine.end("a").finishes[&0], Finish::Length);
}

#[test]
fn what_can_never_run_is_refused() {
    let mut engine = Engine::new(Config {
        kv_blocks: 3,
        max_calls: 1,
        ..config()
    });
    let too_long = engine
        .core
        .add(request("a", 0, &prompt(1, 12), 1), Micros::ZERO);
    assert_eq!(
        too_long,
        Err(Refusal::TooLong {
            prompt: 12,
            limit: 12
        })
    );
    engine.add(request("a", 0, &prompt(1, 11), 5));
    let again = engine
        .core
        .add(request("a", 0, &prompt(1, 3), 1), Micros::ZERO);
    assert_eq!(again, Err(Refusal::Duplicate(call_id("a"))));
    let full = engine
        .core
        .add(request("b", 0, &prompt(1, 3), 1), Micros::ZERO);
    assert_eq!(full, Err(Refusal::Full(1)));
    engine.finish();
    assert_eq!(engine.text("a").len(), 1, "the pool ends the text");
}

#[test]
fn a_static_batch_waits_until_it_is_full_and_runs_to_its_end() {
    let mut engine = Engine::new(Config {
        max_num_seqs: 2,
        batching: Batching::Static,
        ..config()
    });
    engine.add(request("a", 0, &prompt(1, 2), 3));
    assert!(!engine.step());
    assert_eq!(engine.core.wake_at(), None);
    engine.add(request("b", 0, &prompt(2, 2), 1));
    engine.add(request("c", 0, &prompt(3, 2), 1));
    engine.add(request("d", 0, &prompt(4, 2), 1));
    // The slot of `b` stays empty.
    check_steps(&mut engine, &["a:2 b:2", "a:1", "a:1", "c:2 d:2"]);
    engine.finish();
}

#[test]
fn a_timeout_batch_starts_when_its_first_call_has_waited_enough() {
    let batching = Batching::Timeout(Micros::from_secs(5));
    let mut engine = Engine::new(Config {
        max_num_seqs: 3,
        batching,
        ..config()
    });
    engine.now = Micros::from_secs(10);
    engine.add(request("a", 9, &prompt(1, 2), 1));
    engine.now = Micros::from_secs(12);
    engine.add(request("b", 0, &prompt(2, 2), 2));
    assert!(!engine.step());
    assert_eq!(engine.core.wake_at(), Some(Micros::from_secs(15)));
    engine.now = Micros::from_secs(15);
    check_steps(&mut engine, &["b:2 a:2"]);
    assert_eq!(engine.core.wake_at(), None, "a batch runs");
    check_steps(&mut engine, &["b:1"]);
    engine.finish();
}

#[test]
fn load_and_progress_tell_where_calls_stand() {
    let mut engine = Engine::new(Config {
        max_num_seqs: 2,
        ..config()
    });
    engine.add(Request {
        choices: 2,
        ..request("a", 0, &prompt(1, 4), 3)
    });
    engine.add(request("b", 1, &prompt(2, 4), 3));
    engine.add(request("c", 2, &prompt(3, 4), 3));
    check_steps(&mut engine, &["a:4 b:4"]);
    check_steps(&mut engine, &["a:1 a/1:4"]);
    let load = engine.core.load();
    assert_eq!((load.running, load.waiting), (2, 2));
    let progress = engine.core.progress();
    let states: Vec<_> = progress.iter().map(|call| call.state).collect();
    assert_eq!(
        states,
        [CallState::Running, CallState::Preempted, CallState::Waiting]
    );
    let tokens: Vec<_> = progress
        .iter()
        .map(|call| call.usage.output_tokens.0)
        .collect();
    assert_eq!(tokens, [3, 1, 0]);
    engine.finish();
}

/// Regression: `d` takes a page from `z`, which then decodes no longer, so that the token set aside for it is left.
/// It must not go to `w`, which stands before `d` and was passed: the walk would turn back.
#[test]
fn a_token_that_becomes_free_late_does_not_turn_the_walk_back() {
    let mut engine = Engine::new(Config {
        kv_blocks: 4,
        max_batched_tokens: 3,
        prefix_cache: false,
        ..config()
    });
    engine.add(request("z", 2, &prompt(1, 4), 9));
    check_steps(&mut engine, &["z:3", "z:1"]);
    engine.add(request("d", 1, &prompt(2, 4), 9));
    check_steps(&mut engine, &["d:2 z:1"]);
    engine.add(request("a", 0, &prompt(3, 1), 9));
    check_steps(&mut engine, &["a:1 d:1 z:1", "a:1 d:1 z:1"]);
    engine.add(request("w", 0, &prompt(4, 2), 9));
    check_steps(&mut engine, &["a:1 d:1", "a:1 w:1 d:1"]);
    engine.finish();
}

#[test]
fn nothing_is_set_aside_for_a_decode_that_loses_its_pages() {
    let mut engine = Engine::new(Config {
        kv_blocks: 4,
        max_batched_tokens: 4,
        prefix_cache: false,
        ..config()
    });
    engine.add(request("z", 1, &prompt(1, 9), 2));
    check_steps(&mut engine, &["z:4", "z:4", "z:1"]);
    engine.add(request("urgent", 0, &prompt(2, 9), 1));
    check_steps(&mut engine, &["urgent:4", "urgent:4", "urgent:1"]);
    engine.finish();
}
