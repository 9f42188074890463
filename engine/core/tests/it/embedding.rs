//! Calls that ask for vectors: the order in which their texts run, what a step holds, and how calls end.

use std::collections::BTreeMap;
use std::sync::Arc;

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros, Order, Tokens};
use lps_engine_core::defect::{Defect, Failure, Numbers};
use lps_engine_core::embedding::{Config, Ended, Queue, Refusal, Request, Unfinished};
use proptest::prelude::*;

const CONFIG: Config = Config {
    max_batched_tokens: 10,
    max_calls: 4,
    max_held_tokens: 64,
};

fn name(number: u32) -> CallId {
    CallId::parse(&format!("c{number}")).unwrap()
}

/// A call whose every text is its own number, over and over.
fn request(number: u32, queue: u8, lens: &[usize]) -> Request {
    Request {
        call: name(number),
        attempt: Attempt(1),
        program: ProgramId::parse("p").unwrap(),
        order: Order { queue, rank: 0 },
        texts: lens
            .iter()
            .map(|len| Arc::from(vec![number; *len]))
            .collect(),
    }
}

/// Of each text, whose it was and how long.
type Ran = Vec<(u32, usize)>;

/// One step whose vectors are the texts' first token and length; what each text was, and who ended.
fn step(queue: &mut Queue) -> Option<(Ran, Vec<Ended>)> {
    let texts = queue.schedule()?;
    let ran: Vec<_> = texts
        .tokens
        .iter()
        .map(|text| (text[0], text.len()))
        .collect();
    let vectors = ran
        .iter()
        .map(|(call, len)| vec![*call as f32, *len as f32]);
    let ended = queue.complete(vectors.collect(), Micros(7));
    queue.check_integrity();
    Some((ran, ended))
}

#[test]
fn a_step_takes_the_first_of_the_line_that_fit() {
    let mut queue = Queue::new(CONFIG);
    queue.add(request(1, 1, &[4, 4, 4])).unwrap();
    queue.add(request(2, 0, &[3])).unwrap();
    queue.add(request(3, 1, &[1])).unwrap();
    let mut steps = Vec::new();
    while let Some((ran, ended)) = step(&mut queue) {
        let ended: Vec<_> = ended.iter().map(|end| end.call.to_string()).collect();
        steps.push((ran, ended.join(" ")));
    }
    // The third call's text would have fit into the first step, but it is not its turn.
    assert_eq!(
        steps,
        [
            (vec![(2, 3), (1, 4)], "c2".to_owned()),
            (vec![(1, 4), (1, 4), (3, 1)], "c1 c3".to_owned()),
        ]
    );
}

#[test]
fn a_text_that_is_longer_than_a_step_runs_alone() {
    let mut queue = Queue::new(CONFIG);
    queue.add(request(1, 0, &[2, 30, 2])).unwrap();
    let mut ran = Vec::new();
    while let Some((texts, _)) = step(&mut queue) {
        ran.push(texts);
    }
    assert_eq!(ran, [vec![(1, 2)], vec![(1, 30)], vec![(1, 2)]]);
}

#[test]
fn an_order_moves_what_has_not_begun() {
    let mut queue = Queue::new(CONFIG);
    for number in 1..=3 {
        queue.add(request(number, 1, &[10])).unwrap();
    }
    assert!(queue.reorder(&name(3), Order { queue: 0, rank: 0 }));
    assert!(!queue.reorder(&name(9), Order::default()));
    assert_eq!(step(&mut queue).unwrap().0, [(3, 10)]);
    let ended = queue.cancel(&name(1)).unwrap();
    let (vectors, used) = (ended.vectors, ended.usage.executor_us);
    assert_eq!((vectors, used), (Err(Unfinished::Cancelled), Micros(0)));
    assert_eq!(queue.cancel(&name(1)), None);
    assert_eq!(step(&mut queue).unwrap().0, [(2, 10)]);
    assert!(step(&mut queue).is_none() && queue.is_empty());
}

#[test]
fn a_call_is_reported_as_it_goes_and_charged_its_steps() {
    let mut queue = Queue::new(CONFIG);
    queue.add(request(1, 0, &[10, 10])).unwrap();
    let state = |queue: &Queue| queue.progress_of(&name(1)).map(|progress| progress.state);
    assert_eq!(state(&queue), Some(CallState::Waiting));
    assert_eq!((queue.load().running, queue.load().waiting), (0, 1));
    assert_eq!(queue.schedule().unwrap().step, 1);
    assert_eq!(state(&queue), Some(CallState::Running));
    assert_eq!((queue.load().running, queue.load().waiting), (1, 0));
    assert_eq!(queue.members().collect::<Vec<_>>(), [(&name(1), 0, 10)]);
    assert_eq!(queue.complete(vec![vec![1.0]], Micros(5)), []);
    assert_eq!(state(&queue), Some(CallState::Running));
    queue.schedule().unwrap();
    let ended = queue.complete(vec![vec![2.0]], Micros(6)).remove(0);
    assert_eq!(ended.vectors.unwrap(), [[1.0], [2.0]]);
    let usage = ended.usage;
    assert_eq!((usage.prompt_tokens.0, usage.executor_us), (20, Micros(11)));
}

#[test]
fn a_vector_with_a_defect_ends_its_call_and_no_other() {
    for (number, defect) in [
        (f32::NAN, Defect::NotANumber),
        (f32::INFINITY, Defect::Infinity),
        (f32::NEG_INFINITY, Defect::Infinity),
    ] {
        let mut queue = Queue::new(CONFIG);
        queue.add(request(1, 0, &[2, 2, 9])).unwrap();
        queue.add(request(2, 1, &[2])).unwrap();
        queue.schedule().unwrap();
        assert_eq!(
            queue
                .complete(vec![vec![1.0], vec![2.0, number]], Micros(5))
                .remove(0),
            Ended {
                call: name(1),
                attempt: Attempt(1),
                program: ProgramId::parse("p").unwrap(),
                usage: CallUsage {
                    prompt_tokens: Tokens(13),
                    executor_us: Micros(5),
                    ..CallUsage::default()
                },
                vectors: Err(Unfinished::Failed(Failure {
                    step: 1,
                    numbers: Numbers::Vector { text: 1 },
                    defect,
                })),
            }
        );
        queue.check_integrity();
        let (ran, ended) = step(&mut queue).unwrap();
        assert_eq!(ran, [(2, 2)], "nothing more of the first is computed");
        assert_eq!(ended[0].vectors, Ok(vec![vec![2.0, 2.0]]));
        assert!(queue.is_empty());
    }
}

#[test]
fn what_is_over_a_bound_is_refused() {
    let mut queue = Queue::new(CONFIG);
    queue.add(request(1, 0, &[60])).unwrap();
    assert_eq!(
        queue.add(request(1, 0, &[1])),
        Err(Refusal::Duplicate(name(1)))
    );
    assert_eq!(
        queue.add(request(2, 0, &[5])),
        Err(Refusal::Tokens { held: 60, more: 5 })
    );
    for number in 2..=4 {
        queue.add(request(number, 0, &[1])).unwrap();
    }
    assert_eq!(queue.add(request(5, 0, &[1])), Err(Refusal::Calls(4)));
    queue.cancel(&name(1)).unwrap();
    queue.add(request(5, 0, &[5])).unwrap();
    queue.check_integrity();
}

#[derive(Debug, Clone)]
enum Operation {
    Add { queue: u8, lens: Vec<usize> },
    Cancel(u32),
    Reorder(u32, u8),
    Step,
}

fn operation() -> impl Strategy<Value = Operation> {
    let lens = prop::collection::vec(1_usize..14, 1..5);
    prop_oneof![
        (0_u8..3, lens).prop_map(|(queue, lens)| Operation::Add { queue, lens }),
        (0_u32..30).prop_map(Operation::Cancel),
        (0_u32..30, 0_u8..3).prop_map(|(call, queue)| Operation::Reorder(call, queue)),
        Just(Operation::Step),
        Just(Operation::Step),
    ]
}

proptest! {
    /// Every call that is taken ends once, cancelled or with the vectors of its own texts in their order; a step holds
    /// no more than it may, and never leaves out the first of the line.
    #[test]
    fn every_call_has_its_own_vectors(operations in prop::collection::vec(operation(), 1..60)) {
        let mut queue = Queue::new(CONFIG);
        let mut open: BTreeMap<u32, (u8, Vec<usize>)> = BTreeMap::new();
        let mut number = 0;
        let rest = std::iter::repeat_n(Operation::Step, 100);
        for operation in operations.into_iter().chain(rest) {
            match operation {
                Operation::Add { queue: order, lens } => {
                    number += 1;
                    if queue.add(request(number, order, &lens)).is_ok() {
                        open.insert(number, (order, lens));
                    }
                }
                Operation::Cancel(call) => {
                    let ended = queue.cancel(&name(call));
                    prop_assert_eq!(ended.is_some(), open.remove(&call).is_some());
                }
                Operation::Reorder(call, order) => {
                    prop_assert_eq!(queue.reorder(&name(call), Order { queue: order, rank: 0 }), open.contains_key(&call));
                    if let Some(known) = open.get_mut(&call) {
                        known.0 = order;
                    }
                }
                Operation::Step => {
                    let Some((ran, ended)) = step(&mut queue) else {
                        prop_assert!(open.is_empty());
                        continue;
                    };
                    let tokens: usize = ran.iter().map(|(_, len)| len).sum();
                    prop_assert!(tokens <= 10 || ran.len() == 1, "{:?}", ran);
                    let first = open.iter().min_by_key(|(call, (order, _))| (*order, **call)).unwrap();
                    prop_assert_eq!(ran[0].0, *first.0);
                    for end in ended {
                        let call: u32 = end.call.as_str()[1..].parse().unwrap();
                        let (_, lens) = open.remove(&call).unwrap();
                        let expected: Vec<_> = lens.iter().map(|len| vec![call as f32, *len as f32]).collect();
                        prop_assert_eq!(end.vectors.unwrap(), expected);
                    }
                }
            }
            queue.check_integrity();
        }
        prop_assert!(queue.is_empty());
    }
}
