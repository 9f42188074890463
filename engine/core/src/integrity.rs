//! The invariants, checked over the whole state. Owns nothing; what it finds wrong is a programmer's error, so it
//! panics.

use std::collections::{BTreeSet, HashMap};

use lps_api::ids::CallId;

use crate::call::{Arrival, Call, Calls, Place};
use crate::scheduler::Scheduler;
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
    let line = &scheduler.line;
    assert_eq!(line.resident(), resident, "who holds pages");
    assert_eq!(*line.waiting(), waiting, "who waits");
    assert_eq!(*line.gathering(), gathering, "who gathers");
    scheduler.blocks.check_integrity(&owners);

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
    let capacity = sequence.blocks.len() * scheduler.blocks.block_tokens();
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
