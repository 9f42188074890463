//! Pages: found again by content, evicted in a known order, reported as they come and go.

use lps_api::ids::ProgramId;
use lps_api::protocol::CallUsage;
use lps_engine_core::core::{Config, KvEvents};
use lps_engine_core::request::{Request, TokenId};

use crate::support::*;

/// Runs one call to its end and gives its figures.
fn usage(engine: &mut Engine, request: Request) -> CallUsage {
    let name = request.call.to_string();
    let expected = alone(&request).texts;
    engine.add(request);
    engine.finish();
    assert_eq!(engine.end(&name).texts, expected, "{name}");
    engine.end(&name).usage
}

fn of_program(program: &str, request: Request) -> Request {
    Request {
        program: ProgramId::parse(program).expect("a valid name"),
        ..request
    }
}

#[test]
fn full_pages_of_a_prefix_are_found_again() {
    let mut engine = Engine::new(config());
    assert_eq!(
        usage(&mut engine, request("a", 0, &prompt(1, 11), 3))
            .cached_tokens
            .0,
        0
    );
    // Two full pages of the prompt; the third has output in it.
    let longer: Vec<TokenId> = prompt(1, 9).into_iter().chain(prompt(2, 9)).collect();
    assert_eq!(
        usage(&mut engine, request("b", 0, &longer, 3))
            .cached_tokens
            .0,
        8
    );
    assert_eq!(
        usage(&mut engine, request("c", 0, &prompt(3, 11), 3))
            .cached_tokens
            .0,
        0
    );
}

#[test]
fn a_continued_conversation_finds_its_output() {
    let mut engine = Engine::new(config());
    let first = request("a", 0, &prompt(1, 6), 8);
    engine.add(first.clone());
    engine.finish();
    let next: Vec<_> = prompt(1, 6)
        .iter()
        .chain(engine.text("a"))
        .copied()
        .chain(prompt(7, 4))
        .collect();
    // 6 + 8 tokens, of which the last one was drawn and never computed: 13, so three full pages.
    assert_eq!(
        usage(&mut engine, request("b", 0, &next, 3))
            .cached_tokens
            .0,
        12
    );
}

#[test]
fn a_fully_cached_prompt_still_computes_its_last_token() {
    let mut engine = Engine::new(config());
    usage(&mut engine, request("a", 0, &prompt(1, 12), 3));
    assert_eq!(
        usage(&mut engine, request("b", 0, &prompt(1, 12), 3))
            .cached_tokens
            .0,
        8
    );
    assert_eq!(
        usage(&mut engine, request("c", 0, &prompt(1, 13), 3))
            .cached_tokens
            .0,
        12
    );
}

#[test]
fn salts_do_not_see_each_other() {
    let mut engine = Engine::new(config());
    let salted = |name: &str, cache_salt| Request {
        cache_salt,
        ..request(name, 0, &prompt(1, 12), 2)
    };
    usage(&mut engine, salted("a", 1));
    assert_eq!(usage(&mut engine, salted("b", 2)).cached_tokens.0, 0);
    assert_eq!(usage(&mut engine, salted("c", 1)).cached_tokens.0, 8);
}

#[test]
fn without_a_prefix_cache_nothing_is_found_and_nothing_stays() {
    let mut engine = Engine::new(Config {
        prefix_cache: false,
        ..config()
    });
    usage(&mut engine, request("a", 0, &prompt(1, 12), 3));
    assert_eq!(
        usage(&mut engine, request("b", 0, &prompt(1, 12), 3))
            .cached_tokens
            .0,
        0
    );
    assert_eq!(engine.core.load().kv_blocks_free, engine.config.kv_blocks);
}

#[test]
fn the_least_recently_used_goes_first_and_a_chain_goes_from_its_tail() {
    // Eight pages; `a` and `b` leave three each (the fourth is partly filled).
    let mut engine = Engine::new(Config {
        kv_blocks: 8,
        ..config()
    });
    usage(&mut engine, request("a", 0, &prompt(1, 12), 2));
    usage(&mut engine, request("b", 0, &prompt(2, 12), 2));
    // Four pages: two are free, two come from the tail of `a`.
    usage(&mut engine, request("c", 0, &prompt(3, 12), 2));
    let cached = |engine: &mut Engine, name: &str, kind| {
        usage(engine, request(name, 0, &prompt(kind, 5), 1))
            .cached_tokens
            .0
    };
    assert_eq!(cached(&mut engine, "a1", 1), 4);
    assert_eq!(
        usage(&mut engine, request("b1", 0, &prompt(2, 13), 1))
            .cached_tokens
            .0,
        12
    );
}

#[test]
fn pages_of_a_released_program_go_first() {
    for released in [false, true] {
        let mut engine = Engine::new(Config {
            kv_blocks: 8,
            ..config()
        });
        usage(
            &mut engine,
            of_program("old", request("a", 0, &prompt(1, 12), 2)),
        );
        usage(
            &mut engine,
            of_program("gone", request("b", 0, &prompt(2, 12), 2)),
        );
        if released {
            engine
                .core
                .release(&ProgramId::parse("gone").expect("a valid name"));
            engine.core.check_integrity();
        }
        usage(&mut engine, request("c", 0, &prompt(3, 12), 2));
        let old = usage(
            &mut engine,
            of_program("old", request("a1", 0, &prompt(1, 13), 1)),
        );
        assert_eq!(old.cached_tokens.0, if released { 12 } else { 4 });
    }
}

#[test]
fn a_prefix_that_several_programs_use_outlives_one_of_them() {
    let mut engine = Engine::new(Config {
        kv_blocks: 8,
        ..config()
    });
    usage(
        &mut engine,
        of_program("first", request("a", 0, &prompt(1, 13), 1)),
    );
    usage(
        &mut engine,
        of_program("other", request("o", 0, &prompt(9, 5), 1)),
    );
    usage(
        &mut engine,
        of_program("second", request("b", 0, &prompt(1, 13), 1)),
    );
    engine
        .core
        .release(&ProgramId::parse("second").expect("a valid name"));
    // Five of eight pages are wanted: four are free, and the oldest of the cached ones is `other`'s.
    usage(&mut engine, request("c", 0, &prompt(3, 17), 1));
    let first = usage(
        &mut engine,
        of_program("first", request("a1", 0, &prompt(1, 13), 1)),
    );
    assert_eq!(first.cached_tokens.0, 12);
}

#[test]
fn events_tell_what_can_be_found() {
    let mut engine = Engine::new(Config {
        kv_blocks: 4,
        ..config()
    });
    usage(&mut engine, request("a", 0, &prompt(1, 9), 2));
    let first = engine.core.take_kv_events();
    assert_eq!((first.stored.len(), first.evicted.len()), (2, 0));
    assert_eq!(engine.core.take_kv_events(), KvEvents::default());
    // Four pages: both of `a` go. What `b` stores and what is overwritten meanwhile nets out.
    usage(&mut engine, request("b", 0, &prompt(2, 13), 2));
    usage(&mut engine, request("c", 0, &prompt(3, 13), 2));
    let second = engine.core.take_kv_events();
    assert_eq!(second.evicted, first.stored);
    assert_eq!(second.stored, engine.core.kv_hashes());
    assert_eq!(second.stored.len(), 3);
}

#[test]
fn equal_prompts_side_by_side_are_stored_once() {
    let mut engine = Engine::new(config());
    let (a, b) = (
        request("a", 0, &prompt(1, 12), 6),
        request("b", 0, &prompt(1, 12), 6),
    );
    engine.add(a.clone());
    engine.add(b);
    engine.finish();
    assert_eq!(engine.text("a"), engine.text("b"));
    assert_eq!(engine.text("a"), alone(&a).texts[&0]);
    assert_eq!(
        engine.core.kv_hashes().len(),
        4,
        "17 tokens were computed, by both"
    );
}

#[test]
fn idle_engines_hash_alike() {
    let hashes = || {
        let mut engine = Engine::new(config());
        usage(&mut engine, request("a", 0, &prompt(1, 12), 2));
        engine.core.kv_hashes()
    };
    assert_eq!(hashes(), hashes());
}
