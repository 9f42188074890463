//! What holds whatever is seen.

use lps_api::quantity::Micros;
use lps_api::resource::ScalingRule;
use proptest::prelude::*;

use super::{S, seen};
use crate::autoscaler::{Autoscaler, Demand, Observed, QuietProgram, Reason, Written};
use crate::discovery::Scaling;

prop_compose! {
    fn any_scaling()(
        rule in prop_oneof![Just(ScalingRule::Programs), Just(ScalingRule::Queue)],
        target in 0_u32..20, min in 0_u32..6, max in 0_u32..12,
        idle_s in 0_u64..200, delay_s in 0_u64..200, dry_run in any::<bool>(),
    ) -> Scaling {
        Scaling { rule, target, min, max, idle_after: S(idle_s), scale_down_delay: S(delay_s), dry_run }
    }
}

prop_compose! {
    fn any_demand()(
        (running, waiting_in_engine, waiting) in (0_u32..100, 0_u32..20, 0_u32..200),
        live_programs in 0_u32..40,
        quiet in prop::collection::vec((0_u64..600, 0_u64..600, 0_u32..50), 0..4),
        (engines_up, engines_busy, engines_draining) in (0_u32..12, 0_u32..12, 0_u32..3),
        kv_used_tokens in prop_oneof![Just(0), any::<u64>()], kv_tokens_per_engine in 0_u64..1_000,
    ) -> Demand {
        let quiet = quiet.into_iter().map(|(idle, gap, programs)| QuietProgram {
            idle_for: S(idle), usual_gap: S(gap), programs,
        });
        Demand {
            running, waiting_in_engine, waiting, live_programs, quiet: quiet.collect(),
            engines_up, engines_busy, engines_draining, kv_used_tokens, kv_tokens_per_engine,
        }
    }
}

/// Seconds until a look, what is seen, and engines asked for by another meanwhile.
fn looks() -> impl Strategy<Value = Vec<(u64, Demand, Option<u32>)>> {
    let other = prop_oneof![9 => Just(None), 1 => (0_u32..15).prop_map(Some)];
    prop::collection::vec((0_u64..90, any_demand(), other), 1..60)
}

proptest! {
    #[test]
    fn never_outside_of_the_bounds_and_the_same_for_the_same(scaling in any_scaling(), looks in looks()) {
        let mut autoscaler = Autoscaler::new(Micros::ZERO);
        let (mut now, mut replicas) = (Micros::ZERO, 0);
        for (seconds, demand, other) in looks {
            now += S(seconds);
            replicas = other.unwrap_or(replicas);
            let seen = Observed { demand, written: Written { replicas, ..Written::default() } };
            let first = autoscaler.on(&seen, &scaling, now);
            let again = autoscaler.on(&seen, &scaling, now);
            prop_assert!((scaling.min..=scaling.max.max(scaling.min)).contains(&first.desired));
            prop_assert_eq!((first.desired, first.to, first.reason), (again.desired, again.to, again.reason));
            prop_assert!(!again.changed);
            prop_assert!(autoscaler.history().count() <= 5);
            if scaling.rule == ScalingRule::Programs && scaling.max > 0 && !scaling.dry_run {
                let has_work = seen.demand.live_programs > 0 || seen.demand.load() > 0;
                prop_assert!(first.desired > 0 || !has_work, "{}", first.text);
                if first.reason == Reason::Burst {
                    prop_assert!(first.desired >= replicas);
                }
                let bounds_act = replicas > scaling.max.max(scaling.min);
                prop_assert!(first.desired + 1 >= replicas || bounds_act, "one at a time");
            }
            replicas = first.desired;
        }
    }

    #[test]
    fn a_constant_load_comes_to_rest(
        load in 0_u32..200, target in 1_u32..20, first in 0_u32..20, delay_s in 0_u64..400,
    ) {
        let scaling = Scaling { target, max: 20, scale_down_delay: S(delay_s), idle_after: S(60), ..Scaling::fixed(0) };
        let mut autoscaler = Autoscaler::new(Micros::ZERO);
        let mut replicas = first;
        let (mut changes, mut directions) = (0, Vec::new());
        for second in 0..3_000 {
            let desired = autoscaler.on(&seen(replicas, load), &scaling, S(second)).desired;
            if desired != replicas {
                directions.push(desired > replicas);
                changes = second;
            }
            replicas = desired;
        }
        prop_assert!(changes < 1_000, "changes at {changes} s");
        directions.dedup();
        prop_assert!(directions.len() <= 1, "up and down under a constant load");
        let needed = load.div_ceil(target).min(20);
        prop_assert!(u64::from(replicas) * 11 * u64::from(target) >= u64::from(load) * 10 || replicas == 20);
        prop_assert!(replicas <= first.max(needed));
        prop_assert_eq!(replicas == 0, load == 0);
    }
}
