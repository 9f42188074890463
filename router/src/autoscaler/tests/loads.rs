//! The whole under loads over time: what it must never do, and what it must have done by a certain time. Each test
//! prints its figures (`cargo test -- --nocapture`).

use super::scaling;
use super::world::{Agent, Second, World};
use crate::autoscaler::Reason;
use crate::discovery::Scaling;

/// How long a call takes in the loads without agents.
const CALL_S: u64 = 10;
/// After this, nothing of what was is remembered: the delay, the windows, one engine after the other.
const REST_S: u64 = 900;

/// Calls so many thousandths of a second apart, at a rate that changes.
fn at_rate(mut milli_per_second: impl FnMut(u64) -> u64) -> impl FnMut(u64) -> u32 {
    let mut owed = 0;
    move |second| {
        owed += milli_per_second(second);
        let calls = owed / 1_000;
        owed %= 1_000;
        calls as u32
    }
}

fn most(seconds: &[Second], figure: impl Fn(&Second) -> u32) -> u32 {
    seconds.iter().map(figure).max().unwrap_or(0)
}

/// What holds for every load.
fn check(name: &str, world: &World) {
    let peak = most(&world.seconds, |second| second.load);
    let replicas = most(&world.seconds, |second| second.replicas);
    let engine_seconds: u64 = world.seconds.iter().map(|s| u64::from(s.replicas)).sum();
    let mut waits = world.waits.clone();
    waits.sort_unstable();
    println!(
        "{name}: {} calls, load at most {peak}, engines at most {replicas}, {engine_seconds} engine seconds in {} s, \
         waits p50 {} s p95 {} s, {} changes",
        waits.len(),
        world.seconds.len(),
        waits[waits.len() / 2],
        waits[waits.len() * 95 / 100],
        world.changes.len(),
    );
    let needed = peak.div_ceil(world.scaling.target).max(world.scaling.min);
    assert!(
        replicas <= needed.min(world.scaling.max),
        "{name}: more than the peak needs"
    );
    for second in &world.seconds[1..] {
        let is_kept = second.live == 0 || second.replicas > 0 || second.load > 0;
        assert!(is_kept, "{name}: a live program without an engine");
    }
}

fn changes_between(world: &World, from: u64, to: u64) -> Vec<(u64, u32, Reason)> {
    let changes = world
        .changes
        .iter()
        .filter(|(at, ..)| (from..to).contains(at));
    changes
        .map(|(at, to, decision)| (*at, *to, decision.reason))
        .collect()
}

fn one_to_forty() -> Scaling {
    Scaling {
        min: 1,
        max: 40,
        ..scaling()
    }
}

#[test]
fn step() {
    for start_s in [5, 30, 120, 240] {
        let mut world = World::new(one_to_forty(), start_s);
        world.run(
            1_800,
            CALL_S,
            at_rate(|second| if second < 120 { 300 } else { 4_000 }),
        );
        let settled = world.seconds[1_799].replicas;
        world.run(REST_S, CALL_S, |_| 0);
        check(&format!("step, start {start_s} s"), &world);
        assert!(
            (5..=7).contains(&settled),
            "40 calls at a time are 5 engines of 8: {settled}"
        );
        assert_eq!(changes_between(&world, 1_500, 1_800), []);
        assert_eq!(world.seconds.last().unwrap().replicas, 1);
    }
}

#[test]
fn ramp() {
    let mut world = World::new(one_to_forty(), 30);
    world.run(1_200, CALL_S, at_rate(|second| second * 5));
    world.run(1_200, CALL_S, at_rate(|second| (1_200 - second) * 5));
    world.run(REST_S, CALL_S, |_| 0);
    check("ramp", &world);
    // Six calls a second are sixty at a time: up once, down once, never the other way between.
    let up: Vec<u32> = changes_between(&world, 0, 1_200)
        .iter()
        .map(|c| c.1)
        .collect();
    let down: Vec<u32> = changes_between(&world, 1_300, 3_300)
        .iter()
        .map(|c| c.1)
        .collect();
    assert!(up.is_sorted(), "{up:?}");
    assert!(down.is_sorted_by(|a, b| a > b), "{down:?}");
    assert_eq!(world.seconds.last().unwrap().replicas, 1);
}

#[test]
fn burst() {
    let mut world = World::new(one_to_forty(), 30);
    world.run(300, CALL_S, at_rate(|_| 300));
    world.run(5, CALL_S, |_| 20);
    world.run(REST_S, CALL_S, at_rate(|_| 300));
    check("burst", &world);
    let first = changes_between(&world, 300, 400)[0];
    assert!(first.0 <= 304 && first.2 == Reason::Burst, "{first:?}");
    assert_eq!(world.seconds.last().unwrap().replicas, 1);
}

#[test]
fn sine() {
    for period_s in [240, 1_800] {
        let mut world = World::new(one_to_forty(), 30);
        let wave = |second: u64| {
            let angle = second as f64 * std::f64::consts::TAU / period_s as f64;
            (3_000.0 - 2_500.0 * angle.cos()) as u64
        };
        world.run(7_200, CALL_S, at_rate(wave));
        check(&format!("sine of {period_s} s"), &world);
        let mut last = world.seconds[1_800].replicas;
        let mut directions: Vec<bool> = Vec::new();
        for (_, to, _) in changes_between(&world, 1_801, 7_200) {
            directions.push(to > last);
            last = to;
        }
        directions.dedup();
        // A trough that is shorter than the delay changes nothing; three long waves are followed down and up.
        let turns = if period_s == 240 { 0 } else { 7 };
        assert!(directions.len() <= turns, "{directions:?}");
        world.run(REST_S, CALL_S, |_| 0);
        assert_eq!(world.seconds.last().unwrap().replicas, 1);
    }
}

#[test]
fn a_long_tool_call_keeps_one_engine_and_no_more() {
    let mut world = World::new(scaling(), 30);
    // Three agents on their own times, whose tools take twenty minutes.
    world.agents = [10, 200, 390]
        .map(|begins| Agent::new(begins, (15, 1_200), 4))
        .to_vec();
    world.run(6_000, CALL_S, |_| 0);
    check("long tools", &world);
    assert_eq!(most(&world.seconds, |second| second.replicas), 1);
    let idle_at = world.changes.last().unwrap();
    assert_eq!((idle_at.1, idle_at.2.reason), (0, Reason::Idle));
    let last_live = world
        .seconds
        .iter()
        .rposition(|second| second.live > 0)
        .unwrap() as u64;
    assert_eq!(
        idle_at.0,
        last_live + 1 + 120,
        "two minutes after the last program"
    );
}

#[test]
fn engines_are_there_when_agents_come_back() {
    let quick = Scaling {
        scale_down_delay: super::S(60),
        ..scaling()
    };
    let mut world = World::new(quick, 30);
    world.agents = vec![Agent::new(10, (10, 300), 5); 40];
    let mut calls = Vec::new();
    for _ in 0..2_000 {
        let before = world.waits.len();
        world.run(1, CALL_S, |_| 0);
        if world.waits.len() > before {
            calls.push((
                world.seconds.len() as u64 - 1,
                world.waits[before..].to_vec(),
            ));
        }
    }
    check("agents with tools of five minutes", &world);
    // The first time nothing is known, the second time no gap is: from the third on, engines start before the calls.
    let third = world.waits.len() / 5 * 2;
    let late = &world.waits[third..];
    println!(
        "  wait at most {} s before, {} s since the gap is known",
        world.waits[..third].iter().max().unwrap(),
        late.iter().max().unwrap(),
    );
    assert!(late.iter().all(|wait| *wait <= 2), "{calls:?}");
    let prewarm = world
        .changes
        .iter()
        .filter(|c| c.2.reason == Reason::Prewarm);
    assert!(prewarm.count() >= 3);
}

#[test]
fn a_trace() {
    let trace = include_str!("trace.csv");
    let mut calls = std::collections::BTreeMap::new();
    for line in trace.lines().skip(1) {
        let (second, count) = line.split_once(',').unwrap();
        calls.insert(
            second.parse::<u64>().unwrap(),
            count.parse::<u32>().unwrap(),
        );
    }
    let mut world = World::new(scaling(), 20);
    world.run(3_000, CALL_S, |second| {
        calls.get(&second).copied().unwrap_or(0)
    });
    world.run(REST_S, CALL_S, |_| 0);
    check("trace", &world);
    assert_eq!(world.waits.len() as u32, calls.values().sum::<u32>());
    assert!(world.changes.len() <= 40, "{}", world.changes.len());
    assert_eq!(world.seconds.last().unwrap().replicas, 0);
}
