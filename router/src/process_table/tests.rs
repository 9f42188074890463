//! The table alone: known answers, folding, lives of programs, bounds.

use lps_api::ids::{CallId, ClassName, ModelName, ProgramId, TenantId, ThreadId};
use lps_api::protocol::CallUsage;
use lps_api::quantity::{Attempt, Micros, Tokens};
use lps_api::scheduling::{Estimator, Policy, Settings, Unit};

use super::*;
use crate::message::{IdentitySource, Parents, ProgramKey};

fn program() -> ProgramKey {
    ProgramKey {
        tenant: TenantId::anonymous(),
        program: ProgramId::parse("x").expect("a name"),
    }
}

/// A table with one program; time stands still, since the table reads only what it is told.
struct Bench {
    table: ProcessTable,
    settings: Settings,
    next: u64,
    now: Micros,
    /// Whose calls come.
    program: ProgramKey,
}

impl Bench {
    fn new(policy: Policy, estimator: Estimator) -> Self {
        let settings = Settings {
            policy,
            estimator,
            ..Settings::default()
        };
        Self {
            table: ProcessTable::default(),
            settings,
            next: 0,
            now: Micros::ZERO,
            program: program(),
        }
    }

    fn arrive(&mut self, name: &str, parents: Parents, source: IdentitySource) -> CallKey {
        self.next += 1;
        let key = CallKey(self.next);
        let call = NewCall {
            key,
            id: CallId::parse(name).expect("a name"),
            program: self.program.clone(),
            class: ClassName::unnamed(),
            thread: ThreadId::main(),
            parents,
            model: ModelName::parse("m").expect("a name"),
            source,
            prompt_tokens: Tokens(1),
            expected_output_tokens: Tokens(1),
            expected_service: None,
        };
        self.table.arrive(call, &self.settings, self.now);
        self.table.check_integrity();
        key
    }

    fn named(&mut self, name: &str, parents: &[&str]) -> CallKey {
        let parents = parents
            .iter()
            .map(|name| CallId::parse(name).expect("a name"))
            .collect();
        self.arrive(name, Parents::Named(parents), IdentitySource::Headers)
    }

    fn use_up(&mut self, key: CallKey, seconds: u64) -> Charge {
        let usage = CallUsage {
            executor_us: Micros::from_secs(seconds),
            ..CallUsage::default()
        };
        let attempt = self.table.call(key).map_or(Attempt(0), |call| call.attempt);
        let charge = self.table.charge((key, attempt), usage, Unit::Time);
        self.table.check_integrity();
        charge
    }

    fn end(&mut self, key: CallKey) {
        self.table.end(key, Outcome::Completed, self.now);
        self.table.check_integrity();
    }

    fn run(&mut self, name: &str, parents: &[&str], seconds: u64) -> u64 {
        let key = self.named(name, parents);
        let p = self.p(key);
        self.use_up(key, seconds);
        self.end(key);
        p
    }

    fn p(&self, key: CallKey) -> u64 {
        self.table.call(key).expect("open").p.0 / 1_000_000
    }

    fn row(&self) -> &Row {
        self.table.last(&program()).expect("known")
    }

    fn totals(&self) -> (u64, u64) {
        let row = self.row();
        (
            row.service_total().0 / 1_000_000,
            row.critical_path().0 / 1_000_000,
        )
    }
}

const ESTIMATES: [(Policy, Estimator); 3] = [
    (Policy::Plas, Estimator::Scalar),
    (Policy::Atlas, Estimator::Scalar),
    (Policy::Atlas, Estimator::Dag),
];

/// r→{a,b}, b→b2, {a,b2}→j; a call becomes ready when its parents have ended, and they run one after another.
fn diamond(order: [&str; 5], policy: (Policy, Estimator)) -> (Bench, Vec<(&'static str, u64)>) {
    const CALLS: [(&str, &[&str], u64); 5] = [
        ("r", &[], 2),
        ("a", &["r"], 5),
        ("b", &["r"], 1),
        ("b2", &["b"], 1),
        ("j", &["a", "b2"], 1),
    ];
    let mut bench = Bench::new(policy.0, policy.1);
    let mut ready: Vec<(&str, CallKey)> = Vec::new();
    let mut ended: Vec<&str> = Vec::new();
    let mut p = Vec::new();
    for next in order {
        for (name, parents, _) in CALLS {
            let is_new = ready.iter().all(|(other, _)| *other != name);
            if is_new && parents.iter().all(|parent| ended.contains(parent)) {
                let key = bench.named(name, parents);
                p.push((name, bench.p(key)));
                ready.push((name, key));
            }
        }
        let (_, key) = ready.iter().find(|(name, _)| *name == next).expect("ready");
        let (_, _, seconds) = CALLS
            .iter()
            .find(|(name, ..)| *name == next)
            .expect("known");
        let key = *key;
        bench.use_up(key, *seconds);
        bench.end(key);
        ended.push(next);
    }
    (bench, p)
}

#[test]
fn known_answers_of_the_diamond() {
    let orders = [
        (
            ["r", "a", "b", "b2", "j"],
            [(2, 8, 9), (2, 7, 8), (2, 3, 7)],
            (10, 9),
        ),
        (
            ["r", "b", "b2", "a", "j"],
            [(2, 3, 9), (2, 3, 7), (2, 3, 7)],
            (10, 8),
        ),
    ];
    for (order, expected, totals) in orders {
        for (policy, (sides, b2, join)) in ESTIMATES.into_iter().zip(expected) {
            let (bench, p) = diamond(order, policy);
            let of = |name| p.iter().find(|(other, _)| *other == name).map(|(_, p)| *p);
            assert_eq!(
                (of("a"), of("b")),
                (Some(sides), Some(sides)),
                "{order:?} {policy:?}"
            );
            assert_eq!(
                (of("b2"), of("j")),
                (Some(b2), Some(join)),
                "{order:?} {policy:?}"
            );
            assert_eq!(bench.totals(), totals, "{order:?} {policy:?}");
        }
    }
}

#[test]
fn a_join_weighs_the_path_under_atlas_and_the_sum_under_plas() {
    for (policy, expected) in ESTIMATES.into_iter().zip([13, 3, 3]) {
        let mut bench = Bench::new(policy.0, policy.1);
        bench.run("root", &[], 1);
        let names = ["c1", "c2", "c3", "c4", "c5", "c6"];
        let keys = names.map(|name| bench.named(name, &["root"]));
        for key in keys {
            bench.use_up(key, 2);
        }
        for key in keys {
            bench.end(key);
        }
        let join = bench.named("join", &names);
        assert_eq!(bench.p(join), expected, "{policy:?}");
    }
}

#[test]
fn on_one_thread_all_estimates_are_the_sum() {
    for policy in ESTIMATES {
        let mut bench = Bench::new(policy.0, policy.1);
        let mut sum = 0;
        for (index, seconds) in [3, 1, 4, 1, 5].into_iter().enumerate() {
            let key = bench.arrive(
                &format!("c{index}"),
                Parents::Unsaid,
                IdentitySource::Session,
            );
            assert_eq!(bench.p(key), sum, "{policy:?}");
            bench.use_up(key, seconds);
            bench.end(key);
            sum += seconds;
        }
        assert_eq!(bench.totals(), (14, 14));
    }
}

#[test]
fn an_unknown_parent_falls_back_and_is_counted() {
    let mut bench = Bench::new(Policy::Atlas, Estimator::Dag);
    bench.run("a", &[], 3);
    assert_eq!(bench.run("b", &["nobody", "a"], 1), 3, "the scalar");
    assert_eq!(bench.run("c", &[], 1), 0, "a second root");
    assert_eq!(bench.row().unknown_parents, 1);
}

#[test]
fn reports_are_cumulative_and_only_increases_count() {
    let mut bench = Bench::new(Policy::Plas, Estimator::Scalar);
    let call = bench.named("a", &[]);
    let charged = [2, 2, 1, 5, 4].map(|seconds| bench.use_up(call, seconds).service.0 / 1_000_000);
    assert_eq!(charged, [2, 0, 0, 3, 0]);
    let late = bench
        .table
        .charge((call, Attempt(1)), usage_s(99), Unit::Time);
    assert_eq!(late, Charge::default(), "another attempt's");
    bench.end(call);
    assert_eq!(bench.use_up(call, 50), Charge::default(), "a late one");
    assert_eq!(bench.totals(), (5, 5));
}

fn usage_s(seconds: u64) -> CallUsage {
    CallUsage {
        executor_us: Micros::from_secs(seconds),
        ..CallUsage::default()
    }
}

#[test]
fn a_failed_attempt_drops_its_part_and_a_cancelled_call_keeps_it() {
    let mut bench = Bench::new(Policy::Atlas, Estimator::Scalar);
    let failing = bench.named("a", &[]);
    bench.use_up(failing, 4);
    let child = bench.named("b", &["a"]);
    assert_eq!(bench.p(child), 4, "a running parent counts what it has");
    bench.table.drop_attempt(failing);
    bench.table.check_integrity();
    assert_eq!(bench.totals(), (0, 0));
    bench.use_up(child, 2);
    assert_eq!(
        bench.totals(),
        (2, 2),
        "a path is never longer than all service"
    );
    bench.use_up(failing, 3);
    bench.table.end(failing, Outcome::Cancelled, bench.now);
    bench.table.check_integrity();
    assert_eq!(bench.totals(), (5, 5));
}

#[test]
fn tokens_can_be_the_unit() {
    let unit = Unit::Tokens {
        prompt_us: 10,
        output_us: 100,
    };
    let mut bench = Bench::new(Policy::Plas, Estimator::Scalar);
    let call = bench.named("a", &[]);
    let mut charge = |prompt, cached, output, executor| {
        let usage = CallUsage {
            prompt_tokens: Tokens(prompt),
            cached_tokens: Tokens(cached),
            output_tokens: Tokens(output),
            executor_us: Micros(executor),
        };
        bench
            .table
            .charge((call, Attempt(0)), usage, unit)
            .service
            .0
    };
    let charged = [
        charge(50, 20, 0, 0),
        charge(50, 20, 0, 7),
        charge(50, 20, 3, 9),
    ];
    assert_eq!(charged, [0, 300, 300], "a prompt is charged when it runs");
}

#[test]
fn a_single_call_that_is_followed_goes_on_with_all_that_it_had() {
    let mut bench = Bench::new(Policy::Atlas, Estimator::Scalar);
    let parent = || Parents::Named(vec![CallId::parse("a").expect("a name")]);
    let single = bench.arrive("a", Parents::Unsaid, IdentitySource::Single);
    bench.use_up(single, 3);
    bench.end(single);
    assert_eq!(bench.table.live_of(&program().tenant), 0);

    let next = bench.arrive("b", parent(), IdentitySource::Prefix);
    assert!(bench.table.take_over().is_empty(), "it is not over");
    assert_eq!((bench.p(next), bench.row().generation), (3, 1));
    assert_eq!(bench.row().source, IdentitySource::Prefix);
    bench.use_up(next, 2);
    bench.end(next);
    assert_eq!(bench.row().state(), ProgramState::InTool);
    assert_eq!((bench.totals(), bench.row().ended().count()), ((5, 5), 2));
    bench.table.expire(IDLE_LIMIT);
    assert_eq!(bench.row().state(), ProgramState::Expired);

    let again = bench.arrive("c", parent(), IdentitySource::Prefix);
    assert_eq!(
        (bench.p(again), bench.row().generation),
        (0, 2),
        "that one was more"
    );
}

#[test]
fn programs_end_as_they_were_opened() {
    let mut bench = Bench::new(Policy::Atlas, Estimator::Scalar);
    let single = bench.arrive("a", Parents::Unsaid, IdentitySource::Single);
    assert_eq!(bench.row().state(), ProgramState::Live);
    bench.end(single);
    assert_eq!(bench.row().state(), ProgramState::Ended);

    let call = bench.named("b", &[]);
    assert_eq!(bench.row().generation, 1, "named again, it goes on");
    bench.now = IDLE_LIMIT + IDLE_LIMIT;
    bench.table.expire(bench.now);
    assert_eq!(
        bench.row().state(),
        ProgramState::Live,
        "never with a call open"
    );
    bench.end(call);
    assert_eq!(bench.row().state(), ProgramState::InTool);
    let due = bench.table.next_expiry().expect("it expires");
    assert_eq!(due, bench.now + IDLE_LIMIT);
    bench.table.expire(due);
    assert_eq!(bench.row().state(), ProgramState::Expired);

    let open = bench.named("c", &[]);
    assert_eq!(bench.table.close(&program(), due), [open]);
    assert_eq!(bench.row().state(), ProgramState::Ending);
    let next = bench.named("d", &[]);
    assert_eq!(bench.row().generation, 3, "a new life");
    bench.end(open);
    bench.end(next);
    bench.table.check_integrity();
}

fn open(bench: &mut Bench, name: &str, blocks: Option<ProgramKey>) -> ProgramKey {
    let key = ProgramKey {
        tenant: TenantId::anonymous(),
        program: ProgramId::parse(name).expect("a name"),
    };
    let opening = Opening {
        program: key.clone(),
        class: ClassName::unnamed(),
        idle_limit: Micros::from_secs(60),
        blocks,
    };
    bench.table.open(opening, Micros::ZERO);
    bench.table.check_integrity();
    key
}

#[test]
fn a_blocking_childs_calls_are_its_parents() {
    let mut bench = Bench::new(Policy::Plas, Estimator::Scalar);
    let root = bench.named("root", &[]);
    bench.use_up(root, 3);
    let child = open(&mut bench, "child", Some(program()));
    let grandchild = open(&mut bench, "grandchild", Some(child.clone()));
    let stranger = open(&mut bench, "stranger", None);
    bench.program = grandchild.clone();
    let call = bench.named("c", &[]);
    assert_eq!(bench.p(call), 3, "it stands where its parent does");
    bench.use_up(call, 2);
    bench.end(call);
    let row = bench.table.live(&program()).expect("it is live");
    assert_eq!(row.service_total(), Micros::from_secs(5));
    let threads: Vec<_> = row.threads().map(|(thread, _)| thread.as_str()).collect();
    assert_eq!(threads, ["main", "grandchild/main"]);
    assert_eq!(
        bench.table.live_of(&TenantId::anonymous()),
        2,
        "it and the stranger"
    );
    let open_one = bench.named("d", &[]);
    assert_eq!(bench.table.close(&grandchild, bench.now), [open_one]);
    assert!(bench.table.live(&grandchild).is_none());
    assert!(bench.table.live(&program()).is_some(), "the parent goes on");
    bench.end(open_one);
    bench.end(root);
    bench.table.close(&program(), bench.now);
    assert!(
        bench.table.live(&child).is_none(),
        "and takes its children along"
    );
    bench.program = child;
    bench.named("e", &[]);
    assert_eq!(
        bench.table.live_of(&stranger.tenant),
        2,
        "the name is free again"
    );
}

#[test]
fn an_opened_program_waits_for_its_first_call() {
    let mut bench = Bench::new(Policy::Atlas, Estimator::Scalar);
    let idle_limit = Micros::from_secs(60);
    let opening = Opening {
        program: program(),
        class: ClassName::unnamed(),
        idle_limit,
        blocks: None,
    };
    bench.table.open(opening, Micros::ZERO);
    assert_eq!(bench.row().state(), ProgramState::Live);
    bench.table.expire(idle_limit);
    assert_eq!(bench.row().state(), ProgramState::Expired);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut table = ProcessTable::default();
    let settings = Settings::default();
    for index in 0..20_000_u64 {
        let (program, source) = match index {
            0..5_000 => ("long".to_owned(), IdentitySource::Headers),
            _ => (format!("p{index}"), IdentitySource::Single),
        };
        let program = ProgramKey {
            tenant: TenantId::anonymous(),
            program: ProgramId::parse(&program).expect("a name"),
        };
        let call = NewCall {
            key: CallKey(index),
            id: CallId::parse(&format!("c{index}")).expect("a name"),
            program,
            class: ClassName::unnamed(),
            thread: ThreadId::parse(&format!("t{index}")).expect("a name"),
            parents: Parents::Unsaid,
            model: ModelName::parse("m").expect("a name"),
            source,
            prompt_tokens: Tokens(1),
            expected_output_tokens: Tokens(1),
            expected_service: None,
        };
        table.arrive(call, &settings, Micros(index));
        table.end(CallKey(index), Outcome::Completed, Micros(index));
        table.forget_ended();
    }
    table.check_integrity();
    let rows = table.rows().count();
    assert!(rows <= 1_001, "{rows} rows");
    let remembered: usize = table.rows().map(|row| row.ended().count()).sum();
    assert_eq!(table.call_names.len(), remembered);
    assert!(table.names.len() <= rows);
    assert!(
        table
            .rows()
            .all(|row| row.ended().count() <= 1_024 && row.threads().count() <= 1_024)
    );
}
