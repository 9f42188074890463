//! Who stays and who goes, and that all sums are those of adding one by one.

use super::*;

const CLASS: ClassId = ClassId(0);

fn context(tokens: u64, shared: u64) -> Context {
    Context {
        tokens,
        class: CLASS,
        shared,
    }
}

/// A program that came with a call and left it, so that it is between two calls.
fn rested(set: &mut WorkingSet, row: u64, tokens: u64, lease_end: u64) {
    let (row, call) = (RowId(row), CallKey(row));
    set.admit(row, context(tokens, 0));
    set.sit(row, (call, &ThreadId::main()), tokens);
    set.stand_up(row, call, (ThreadId::main(), tokens));
    set.rest(row, Micros(lease_end));
    set.check_integrity();
}

#[test]
fn a_shared_beginning_counts_once() {
    let mut set = WorkingSet::default();
    for row in 1..=3 {
        let need = set.need(context(100, 60));
        assert_eq!(need, if row == 1 { 100 } else { 40 });
        set.admit(RowId(row), context(100, 60));
        set.sit(RowId(row), (CallKey(row), &ThreadId::main()), 100);
        set.check_integrity();
    }
    assert_eq!(set.used(), 60 + 3 * 40);
    for row in 1..=3 {
        assert!(set.remove(RowId(row)));
        set.check_integrity();
    }
    assert_eq!(set.used(), 0);
    assert!(!set.remove(RowId(1)));
}

#[test]
fn room_comes_from_leases_that_are_over_the_oldest_first() {
    let mut set = WorkingSet::default();
    rested(&mut set, 1, 40, 30);
    rested(&mut set, 2, 40, 10);
    set.pass(Micros(9));
    assert_eq!(
        (set.room(100), set.next_lease_end()),
        (Some(20), Some(Micros(10)))
    );
    set.pass(Micros(10));
    assert_eq!(
        (set.room(100), set.next_lease_end()),
        (Some(60), Some(Micros(30)))
    );
    set.pass(Micros(30));
    assert_eq!(set.room(100), Some(100));
    assert_eq!(set.make_room(context(50, 0), (100, 100)), [RowId(2)]);
    assert_eq!((set.used(), set.next_lease_end()), (40, None));
}

#[test]
fn who_goes_may_take_the_shared_beginning_along() {
    let mut set = WorkingSet::default();
    for row in 1..=2 {
        set.admit(RowId(row), context(60, if row == 1 { 50 } else { 0 }));
        set.sit(RowId(row), (CallKey(row), &ThreadId::main()), 60);
        set.stand_up(RowId(row), CallKey(row), (ThreadId::main(), 60));
        set.rest(RowId(row), Micros(row));
    }
    assert_eq!(set.used(), 120, "50 are shared");
    let newcomer = context(80, 50);
    set.pass(Micros(9));
    assert!(set.room(90).is_some_and(|room| set.need(newcomer) <= room));
    assert_eq!(set.make_room(newcomer, (90, 120)), [RowId(1), RowId(2)]);
    set.admit(RowId(3), newcomer);
    set.sit(RowId(3), (CallKey(3), &ThreadId::main()), 80);
    assert_eq!(set.used(), 80);
}

#[test]
fn growth_sends_the_smallest_quiet_one_and_then_the_last_admitted_away() {
    let mut set = WorkingSet::default();
    rested(&mut set, 1, 30, 1_000);
    rested(&mut set, 2, 20, 1_000);
    for row in 3..=5 {
        set.admit(RowId(row), context(0, 0));
    }
    set.sit(RowId(3), (CallKey(3), &ThreadId::main()), 50);
    set.grow(RowId(3), CallKey(3), 70);
    set.grow(RowId(3), CallKey(3), 60);
    assert_eq!(set.used(), 120);
    assert_eq!(set.shrink(100, RowId(3)), [RowId(2)]);
    assert_eq!(
        set.shrink(50, RowId(3)),
        [RowId(1), RowId(5), RowId(4)],
        "a stream in flight stays"
    );
    assert_eq!(set.used(), 70);
}

proptest::proptest! {
    /// Who has a call there stays, whatever else happens, and what can be freed is freed. All sums are those of adding one
    /// by one, whatever time does meanwhile.
    #[test]
    fn a_program_with_a_call_stays(steps in proptest::collection::vec((0_u64..5, 0_u8..6, 1_u64..60), 1..60)) {
        let (mut set, thread) = (WorkingSet::default(), ThreadId::main());
        for (row, what, tokens) in steps {
            let (row, call) = (RowId(row), CallKey(row));
            let is_there = set.holds(row);
            let has_call = |set: &WorkingSet, row| set.residents.get(&row).is_some_and(|it| !it.calls.is_empty());
            match what {
                0 if !is_there => set.admit(row, context(tokens, tokens / 2)),
                1 if is_there && !has_call(&set, row) => {
                    set.wake(row);
                    set.sit(row, (call, &thread), tokens);
                }
                2 if has_call(&set, row) => {
                    set.stand_up(row, call, (thread.clone(), tokens));
                    set.rest(row, Micros(tokens));
                }
                3 => set.pass(Micros(tokens)),
                // A thread goes on elsewhere, though its program rests here.
                4 => drop(set.forget_thread(row, &thread)),
                _ => set.grow(row, call, tokens * 2),
            }
            set.check_integrity();
            let busy: Vec<RowId> = (0..5).map(RowId).filter(|row| has_call(&set, *row)).collect();
            set.shrink(100, row);
            assert!(busy.iter().all(|row| set.holds(*row)));
            assert!(set.used() <= 100 || set.programs() as usize <= busy.len() + 1);
            set.check_integrity();
        }
    }
}

#[test]
fn a_thread_that_goes_on_is_not_counted_twice() {
    let mut set = WorkingSet::default();
    rested(&mut set, 1, 40, 10);
    set.wake(RowId(1));
    set.sit(RowId(1), (CallKey(9), &ThreadId::main()), 55);
    assert_eq!((set.used(), set.programs()), (55, 1));
    assert!(!set.is_free_for_one());
    set.stand_up(RowId(1), CallKey(9), (ThreadId::main(), 50));
    assert!(set.forget_thread(RowId(1), &ThreadId::main()));
    assert_eq!(set.used(), 0);
    set.check_integrity();
}
