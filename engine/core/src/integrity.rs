//! The invariants, checked over the whole state. Owns nothing; what it finds wrong is a programmer's error, so it
//! panics.

use std::collections::{BTreeSet, HashMap};

use lps_api::ids::CallId;

use crate::call::{Arrival, Call, Calls, Place};
use crate::config::Preemption;
use crate::paging::cached_blocks;
use crate::scheduler::{PASSED_OVER_MAX, Scheduler};
use crate::sequence::{Sequence, Stage};

/// Panics where an invariant does not hold.
pub(crate) fn check(calls: &Calls, names: &HashMap<CallId, Arrival>, scheduler: &Scheduler) {
    let config = &scheduler.config;
    assert!(
        calls.len() <= config.max_calls as usize,
        "more calls than allowed"
    );
    assert_eq!(calls.len(), names.len(), "calls and names");

    let mut owners = vec![0; config.kv_blocks as usize];
    let (mut resident, mut waiting, mut gathering) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (arrival, call) in calls {
        assert_eq!(
            names.get(&call.id),
            Some(arrival),
            "call {} and its name",
            call.id
        );
        check_call(scheduler, call);
        if !call.gathered {
            gathering.insert(call.place(0));
        }
        for (choice, sequence) in (0..).zip(&call.choices) {
            check_sequence(scheduler, call.place(choice), sequence);
            for &block in &sequence.blocks {
                owners[block as usize] += 1;
            }
            if !sequence.blocks.is_empty() {
                resident.push(call.place(choice));
            } else if sequence.is_schedulable() && call.gathered {
                waiting.insert(call.place(choice));
            }
        }
    }
    resident.sort_unstable();
    let line = &scheduler.paging.line;
    assert_eq!(line.resident(), resident, "who holds pages");
    assert_eq!(*line.waiting(), waiting, "who waits");
    assert_eq!(*line.gathering(), gathering, "who gathers");
    scheduler.paging.blocks.check_integrity(&owners);

    let members = &scheduler.members;
    assert!(
        members.len() <= config.max_num_seqs as usize,
        "more sequences than slots"
    );
    let tokens: usize = members.iter().map(|member| member.len).sum();
    assert!(
        tokens <= config.max_batched_tokens as usize,
        "more tokens than the step may have"
    );
}

fn check_call(scheduler: &Scheduler, call: &Call) {
    let count = |stage| {
        call.choices
            .iter()
            .filter(|sequence| sequence.stage == stage)
            .count()
    };
    let id = &call.id;
    assert_eq!(
        call.open,
        call.choices.len() - count(Stage::Ended),
        "call {id}: open choices"
    );
    assert_eq!(
        call.blocked,
        count(Stage::Blocked),
        "call {id}: blocked choices"
    );
    assert!(
        call.open > call.blocked,
        "call {id}: all choices wait for each other"
    );
    assert!(
        call.charged_step <= scheduler.step,
        "call {id}: charged for a later step"
    );
    assert!(
        call.usage.cached_tokens <= call.usage.prompt_tokens,
        "call {id}: cached tokens"
    );
}

fn check_sequence(scheduler: &Scheduler, place: Place, sequence: &Sequence) {
    let tokens = sequence.tokens.len();
    let capacity = sequence.blocks.len() * scheduler.paging.blocks.block_tokens();
    assert!(
        sequence.computed <= capacity,
        "{place:?}: computed tokens without pages"
    );
    assert!(
        tokens <= scheduler.config.sequence_tokens_max(),
        "{place:?}: too long"
    );
    match sequence.stage {
        Stage::Ended | Stage::Blocked | Stage::Waiting => {
            assert!(
                sequence.blocks.is_empty(),
                "{place:?}: pages without having run"
            );
            assert_eq!(
                sequence.computed, 0,
                "{place:?}: computed without having run"
            );
        }
        Stage::Running => {
            assert!(!sequence.blocks.is_empty(), "{place:?}: runs without pages");
            assert_eq!(
                sequence.step, scheduler.step,
                "{place:?}: runs, but not in the last step"
            );
        }
        Stage::Preempted => {}
    }
    if sequence.stage != Stage::Ended {
        assert!(sequence.owed() > 0, "{place:?}: nothing left to compute");
    }
}

/// Panics where a step leaves out a sequence that fits, while one behind it runs or a slot and a token are left. To be
/// called before the step's results are in.
pub(crate) fn check_step(calls: &Calls, scheduler: &Scheduler) {
    let config = &scheduler.config;
    let members: BTreeSet<Place> = scheduler
        .members
        .iter()
        .filter_map(|m| calls_place(calls, m.arrival, m.choice))
        .collect();
    let tokens: usize = scheduler.members.iter().map(|member| member.len).sum();
    let exhausted = members.len() == config.max_num_seqs as usize
        || tokens == config.max_batched_tokens as usize;
    let line = &scheduler.paging.line;
    let mut passed_over = 0;
    let mut left_out: Vec<Place> = line
        .resident()
        .iter()
        .chain(line.waiting())
        .copied()
        .collect();
    left_out.retain(|place| !members.contains(place));
    left_out.sort_unstable();
    // A token was set aside for each of these at most, before it turned out that its pages had gone to a better one.
    let preempted = left_out
        .iter()
        .filter(|place| stage(calls, **place) == Stage::Preempted);
    let set_aside = tokens + preempted.count() >= config.max_batched_tokens as usize;
    for place in left_out {
        let waits = line.waiting().contains(&place);
        if exhausted && members.last().is_none_or(|last| *last < place) {
            continue;
        }
        let prompt = waits || owed(calls, place) > 1;
        if prompt && set_aside || waits && passed_over == PASSED_OVER_MAX {
            continue;
        }
        passed_over += u32::from(waits);
        assert!(
            lacks_pages(calls, scheduler, place),
            "{place:?} fits, but was left out"
        );
    }
}

fn calls_place(calls: &Calls, arrival: Arrival, choice: u32) -> Option<Place> {
    calls.get(&arrival).map(|call| call.place(choice))
}

fn owed(calls: &Calls, place: Place) -> usize {
    calls[&place.arrival].sequence(place.choice).owed()
}

fn stage(calls: &Calls, place: Place) -> Stage {
    calls[&place.arrival].sequence(place.choice).stage
}

/// Whether the pages that nobody before `place` holds are too few for it.
fn lacks_pages(calls: &Calls, scheduler: &Scheduler, place: Place) -> bool {
    let paging = &scheduler.paging;
    if scheduler.config.preemption == Preemption::Recompute {
        // Sequences that fell out have given their pages back since, so what there was cannot be told any more.
        return true;
    }
    let mut taken = BTreeSet::new();
    for better in paging
        .line
        .resident()
        .iter()
        .take_while(|other| **other < place)
    {
        taken.extend(&calls[&better.arrival].sequence(better.choice).blocks);
    }
    let call = &calls[&place.arrival];
    let sequence = call.sequence(place.choice);
    let total = sequence.tokens.len().div_ceil(paging.blocks.block_tokens());
    let mut have: BTreeSet<_> = sequence.blocks.iter().copied().collect();
    have.extend(
        cached_blocks(paging, call, place.choice)
            .iter()
            .filter(|b| taken.contains(*b)),
    );
    let others = taken.union(&have).count();
    total - have.len() > scheduler.config.kv_blocks as usize - others
}
