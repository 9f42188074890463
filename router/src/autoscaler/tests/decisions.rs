//! One decision after the other, in tables.

use lps_api::quantity::Micros;
use lps_api::resource::ScalingRule;

use super::{S, quiet, scaling, seen};
use crate::autoscaler::{Autoscaler, Observed, Reason};
use crate::discovery::Scaling;

/// One look: when, what is seen, and what is to come of it.
struct Look(u64, Observed, u32, Reason);

/// Looks at each, and every second between two of them at the one before; so each figure holds until the next one.
fn check(what: &str, settings: Scaling, looks: &[Look]) {
    let mut autoscaler = Autoscaler::new(Micros::ZERO);
    let mut last: Option<&Look> = None;
    for look in looks {
        if let Some(Look(from, before, ..)) = last {
            for second in from + 1..look.0 {
                autoscaler.on(before, &settings, S(second));
            }
        }
        let decision = autoscaler.on(&look.1, &settings, S(look.0));
        let got = (decision.desired, decision.reason);
        assert_eq!(
            got,
            (look.2, look.3),
            "{what} at {} s: {}",
            look.0,
            decision.text
        );
        last = Some(look);
    }
}

fn with(engines: u32, running: u32, change: impl FnOnce(&mut Observed)) -> Observed {
    let mut observed = seen(engines, running);
    change(&mut observed);
    observed
}

#[test]
fn more_engines_come_with_the_load_of_a_minute() {
    check(
        "slowly more",
        scaling(),
        &[
            Look(0, seen(1, 6), 1, Reason::Steady),
            // Within ten percent of what one engine is for.
            Look(60, seen(1, 9), 1, Reason::Steady),
            Look(115, seen(1, 9), 1, Reason::Steady),
            // Six for 9 s, nine for 51 s.
            Look(116, seen(1, 9), 1, Reason::Steady),
            Look(119, seen(1, 9), 2, Reason::Load),
            Look(120, seen(2, 9), 2, Reason::Steady),
        ],
    );
}

#[test]
fn a_burst_counts_within_seconds_and_lets_none_go_for_a_minute() {
    let quick = Scaling {
        scale_down_delay: S(0),
        ..scaling()
    };
    check(
        "burst",
        quick,
        &[
            Look(0, seen(2, 8), 2, Reason::Steady),
            Look(100, seen(2, 60), 2, Reason::TooFull),
            // Three of six seconds: 34 calls on the mean are five engines for two.
            Look(103, seen(2, 60), 5, Reason::Burst),
            Look(104, seen(5, 60), 5, Reason::Steady),
            Look(105, seen(5, 60), 6, Reason::Burst),
            // The step: four more than 15 s before.
            Look(106, seen(6, 60), 6, Reason::StepLimit),
            Look(110, seen(6, 0), 6, Reason::StepLimit),
            Look(130, seen(6, 0), 6, Reason::Burst),
            Look(160, seen(6, 0), 6, Reason::Burst),
            Look(170, seen(6, 0), 5, Reason::LessLoad),
        ],
    );
}

#[test]
fn steps_double_or_add_four_in_fifteen_seconds() {
    let wide = Scaling {
        max: 100,
        ..scaling()
    };
    check(
        "steps",
        wide,
        &[
            Look(0, seen(2, 800), 6, Reason::Load),
            Look(1, seen(6, 800), 6, Reason::StepLimit),
            Look(15, seen(6, 800), 12, Reason::Load),
            Look(29, seen(12, 800), 12, Reason::StepLimit),
            Look(30, seen(12, 800), 24, Reason::Load),
            Look(45, seen(24, 800), 48, Reason::Load),
            Look(60, seen(48, 800), 96, Reason::Load),
            // Within ten percent.
            Look(75, seen(96, 800), 96, Reason::Steady),
            Look(90, seen(96, 900), 96, Reason::Steady),
            Look(150, seen(96, 900), 100, Reason::Load),
            Look(151, seen(100, 900), 100, Reason::AtMaximum),
        ],
    );
}

#[test]
fn from_zero_at_once_and_to_what_waits() {
    for (waiting, max, expected) in [
        (1, 10, 1),
        (8, 10, 1),
        (9, 10, 2),
        (72, 10, 9),
        (500, 10, 10),
    ] {
        let waits = with(0, 0, |seen| {
            seen.demand.waiting = waiting;
            seen.demand.live_programs = waiting;
        });
        let settings = Scaling { max, ..scaling() };
        check(
            "from zero",
            settings,
            &[
                Look(0, seen(0, 0), 0, Reason::Steady),
                Look(100, waits, expected, Reason::FromZero),
            ],
        );
    }
}

#[test]
fn fewer_one_by_one_and_none_before_all_is_calm() {
    let draining = with(2, 0, |seen| {
        seen.demand.live_programs = 1;
        seen.demand.engines_draining = 1;
    });
    let quiet_one = |engines| with(engines, 0, |seen| seen.demand.live_programs = 1);
    let rolling = with(3, 0, |seen| {
        seen.demand.live_programs = 1;
        seen.written.rolling_out = true;
    });
    let half_gone = with(3, 0, |seen| {
        seen.demand.live_programs = 1;
        seen.written.replicas = 2;
    });
    let short = Scaling {
        scale_down_delay: S(20),
        ..scaling()
    };
    check(
        "fewer",
        short,
        &[
            Look(0, quiet_one(3), 3, Reason::Steady),
            Look(21, quiet_one(3), 3, Reason::Settling),
            Look(50, rolling, 3, Reason::Settling),
            Look(51, quiet_one(3), 3, Reason::Settling),
            Look(109, quiet_one(3), 3, Reason::Settling),
            Look(110, quiet_one(3), 2, Reason::LessLoad),
            Look(111, half_gone, 2, Reason::Draining),
            Look(112, draining, 2, Reason::Draining),
            Look(130, quiet_one(2), 1, Reason::LessLoad),
            // The last stays as long as a program lives.
            Look(131, quiet_one(1), 1, Reason::LivePrograms),
            Look(5_000, quiet_one(1), 1, Reason::LivePrograms),
            Look(5_001, seen(1, 0), 1, Reason::Steady),
            Look(5_120, seen(1, 0), 1, Reason::Steady),
            Look(5_121, seen(1, 0), 0, Reason::Idle),
        ],
    );
}

#[test]
fn what_is_left_must_not_be_too_full() {
    let context = |tokens| {
        with(2, 4, |seen| {
            seen.demand.kv_used_tokens = tokens;
            seen.demand.kv_tokens_per_engine = 1_000;
        })
    };
    let short = Scaling {
        scale_down_delay: S(20),
        ..scaling()
    };
    check(
        "too full",
        short,
        &[
            Look(0, seen(2, 7), 2, Reason::Steady),
            Look(70, seen(2, 7), 2, Reason::TooFull),
            Look(140, context(801), 2, Reason::TooFull),
            Look(210, context(800), 1, Reason::LessLoad),
        ],
    );
}

#[test]
fn engines_start_before_programs_come_back() {
    let expects = |quiet_programs: &[_]| {
        with(1, 0, |seen| {
            seen.demand.live_programs = 20;
            seen.demand.quiet = quiet_programs.to_vec();
            seen.written.cold_start = Some(S(30));
        })
    };
    for (programs, expected, reason) in [
        (vec![quiet(200, 240, 17)], 1, Reason::LivePrograms),
        (vec![quiet(210, 240, 17)], 3, Reason::Prewarm),
        (
            vec![quiet(210, 240, 8), quiet(500, 510, 1)],
            2,
            Reason::Prewarm,
        ),
        (vec![quiet(300, 240, 17)], 3, Reason::Prewarm),
        // Overdue by more than a gap.
        (vec![quiet(481, 240, 17)], 1, Reason::LivePrograms),
        // So short a gap is in the mean of the load.
        (vec![quiet(1, 20, 17)], 1, Reason::LivePrograms),
    ] {
        let what = format!("{programs:?}");
        let looks = [
            Look(0, expects(&[]), 1, Reason::Steady),
            Look(400, expects(&programs), expected, reason),
        ];
        check(&what, scaling(), &looks);
    }
}

#[test]
fn a_late_start_is_no_capacity_and_no_reason_for_more() {
    let late = with(5, 40, |seen| seen.demand.engines_up = 1);
    check(
        "late",
        scaling(),
        &[
            Look(0, seen(5, 40), 5, Reason::Steady),
            Look(1, late.clone(), 5, Reason::Steady),
            Look(120, late.clone(), 5, Reason::Steady),
            Look(121, late.clone(), 5, Reason::StartsLate),
            Look(5_000, late, 5, Reason::StartsLate),
        ],
    );
}

#[test]
fn bounds_stand_above_all() {
    let narrow = Scaling {
        min: 2,
        max: 3,
        ..scaling()
    };
    check(
        "bounds",
        narrow,
        &[
            Look(0, seen(0, 0), 2, Reason::Bounds),
            Look(1, seen(7, 0), 3, Reason::Bounds),
            Look(2, seen(2, 90), 2, Reason::Steady),
            Look(5, seen(2, 90), 3, Reason::Load),
            Look(6, seen(3, 90), 3, Reason::AtMaximum),
            Look(500, seen(3, 0), 3, Reason::AtMaximum),
            Look(1_000, seen(2, 0), 2, Reason::Steady),
        ],
    );
}

#[test]
fn a_bound_is_named_in_words_that_need_no_other() {
    let decide = |written, scaling: &Scaling| {
        let mut autoscaler = Autoscaler::new(Micros::ZERO);
        let decision = autoscaler.on(&seen(written, 0), scaling, Micros::ZERO);
        decision.text
    };
    let bounds = |min, max| Scaling {
        min,
        max,
        ..scaling()
    };
    assert_eq!(
        decide(0, &bounds(1, 1)),
        "engines from 0 to 1: scaling.min asks for at least so many"
    );
    assert_eq!(
        decide(7, &bounds(2, 3)),
        "engines from 7 to 3: scaling.max allows no more"
    );
    assert_eq!(
        decide(3, &bounds(2, 2)),
        "engines from 3 to 2: scaling.max allows no more"
    );
}

#[test]
fn a_dry_run_tells_once_and_changes_nothing() {
    let dry = Scaling {
        dry_run: true,
        ..scaling()
    };
    let mut autoscaler = Autoscaler::new(Micros::ZERO);
    let mut changes = 0;
    for second in 0..600 {
        let decision = autoscaler.on(&seen(1, 20), &dry, S(second));
        assert_eq!((decision.desired, decision.to), (1, 3));
        assert!(decision.text.starts_with("dry run"), "{}", decision.text);
        changes += u32::from(decision.changed);
    }
    assert_eq!(changes, 1);
    let history: Vec<_> = autoscaler.history().map(|c| (c.from, c.to)).collect();
    assert_eq!(history, [(1, 3)]);
}

#[test]
fn the_last_five_changes_are_told() {
    let mut autoscaler = Autoscaler::new(Micros::ZERO);
    for engines in 0..8 {
        let settings = Scaling::fixed(engines + 1);
        let decision = autoscaler.on(&seen(engines, 0), &settings, S(u64::from(engines)));
        assert!(decision.changed);
    }
    let history: Vec<_> = autoscaler.history().map(|c| (c.at, c.to)).collect();
    assert_eq!(
        history,
        [8, 7, 6, 5, 4].map(|to: u32| (S(u64::from(to) - 1), to))
    );
}

/// What `lps up` did before there was another rule: kept as it was.
#[test]
fn the_plain_rule_asks_by_the_queue() {
    let plain = Scaling {
        rule: ScalingRule::Queue,
        target: 4,
        max: 9,
        scale_down_delay: S(10),
        idle_after: S(60),
        ..scaling()
    };
    let waits = |engines, waiting, busy| {
        with(engines, 0, |seen| {
            (seen.demand.waiting, seen.demand.engines_busy) = (waiting, busy);
        })
    };
    check(
        "queue",
        plain,
        &[
            Look(0, waits(0, 0, 0), 0, Reason::Steady),
            // Between two evaluations, but there is no engine.
            Look(1, waits(0, 5, 0), 2, Reason::FromZero),
            Look(2, waits(2, 40, 2), 2, Reason::Steady),
            Look(11, waits(2, 40, 2), 9, Reason::Queue),
            Look(12, waits(9, 0, 3), 9, Reason::AtMaximum),
            Look(21, waits(9, 0, 3), 9, Reason::AtMaximum),
            Look(31, waits(9, 0, 3), 3, Reason::LessLoad),
            Look(32, waits(3, 0, 0), 3, Reason::Steady),
            Look(41, waits(3, 0, 0), 3, Reason::Steady),
            Look(51, waits(3, 0, 0), 1, Reason::LessLoad),
            Look(52, waits(1, 0, 0), 1, Reason::Steady),
            Look(100, waits(1, 0, 0), 1, Reason::Steady),
            Look(101, waits(1, 0, 0), 0, Reason::Idle),
        ],
    );
}
