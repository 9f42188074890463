//! Unit engines: known schedules, the gates, files.

use super::*;
use crate::sim::record;
use crate::workload::ProgramSpec;

/// The three programs of the known answers: X = two calls of 3, Y = three of 1, Z = one of 1, one after another.
fn known() -> Workload {
    let mut lines = String::new();
    for (program, services) in [
        ("X", &[3.0, 3.0][..]),
        ("Y", &[1.0, 1.0, 1.0]),
        ("Z", &[1.0]),
    ] {
        let calls = services.iter().enumerate().map(|(index, service)| {
            let parents: Vec<_> = (0..index).last().map(|last| format!("{program}{}", last + 1)).into_iter().collect();
            serde_json::json!({"call": format!("{program}{}", index + 1), "parents": parents, "service_s": service})
        });
        let calls: Vec<_> = calls.collect();
        lines += &format!(
            "{}\n",
            serde_json::json!({"program": program, "arrival_s": 0, "calls": calls})
        );
    }
    Workload::read(lines.as_bytes(), "known").expect("valid")
}

fn rules(policy: &str, pairs: &[&str]) -> Settings {
    let quiet = ["beta=none", "max_queue_wait=none", "oldest_every=none"];
    set(policy, &[&quiet[..], pairs].concat())
}

fn run_on(workload: &Workload, settings: Settings, slots: u32) -> Record {
    let setup = setup(settings, &format!("unit:slots={slots}"), 1);
    simulate(workload, &setup).expect("it ends")
}

/// Which call had the one slot in each second.
fn schedule(workload: &Workload, record: &Record) -> String {
    let mut seconds: Vec<(u64, &str)> = Vec::new();
    for slice in &record.slices {
        let name = workload.programs[slice.program].calls[slice.call]
            .call
            .as_str();
        seconds.extend((slice.start.0 / 1_000_000..slice.end.0 / 1_000_000).map(|at| (at, name)));
    }
    seconds.sort_unstable();
    seconds
        .into_iter()
        .map(|(_, name)| name)
        .collect::<Vec<_>>()
        .join(" ")
}

fn ends(record: &Record) -> Vec<u64> {
    let end = |program: &Option<record::ProgramEnd>| {
        program.as_ref().expect("it ended").end.0 / 1_000_000
    };
    record.programs.iter().map(end).collect()
}

#[test]
fn known_schedules() {
    let preemptive = ["bounds=2,4", "quanta=1,2,none"];
    for (policy, pairs, expected, expected_ends) in [
        ("fcfs", &[][..], "X1 X1 X1 Y1 Z1 X2 X2 X2 Y2 Y3", [8, 10, 5]),
        (
            "plas",
            &["bounds=1,2,3", "preemption=off"],
            "X1 X1 X1 Y1 Z1 Y2 Y3 X2 X2 X2",
            [10, 7, 5],
        ),
        (
            "plas",
            &preemptive,
            "X1 Y1 Z1 Y2 X1 X1 Y3 X2 X2 X2",
            [10, 7, 3],
        ),
        (
            "atlas",
            &preemptive,
            "X1 Y1 Z1 Y2 X1 X1 Y3 X2 X2 X2",
            [10, 7, 3],
        ),
        (
            "program-fcfs",
            &[],
            "X1 X1 X1 X2 X2 X2 Y1 Y2 Y3 Z1",
            [6, 9, 10],
        ),
    ] {
        for oversubscription in ["oversubscription=0", "oversubscription=2"] {
            let pairs: Vec<&str> = pairs.iter().copied().chain([oversubscription]).collect();
            let workload = known();
            let record = run_on(&workload, rules(policy, &pairs), 1);
            assert_eq!(schedule(&workload, &record), expected, "{policy} {pairs:?}");
            assert_eq!(ends(&record), expected_ends, "{policy} {pairs:?}");
        }
    }
}

#[test]
fn waits_and_rows_are_those_of_the_schedule() {
    let workload = known();
    let record = run_on(
        &workload,
        rules("plas", &["bounds=2,4", "quanta=1,2,none"]),
        1,
    );
    let rows: Vec<_> = record
        .programs
        .iter()
        .flatten()
        .map(|end| &end.row)
        .collect();
    let seconds = |of: fn(&lps_router::state::view::ProgramSummary) -> u64| -> Vec<u64> {
        rows.iter().map(|row| of(row) / 1_000_000).collect()
    };
    assert_eq!(seconds(|row| row.service_total_us.0), [6, 3, 1]);
    assert_eq!(seconds(|row| row.critical_path_us.0), [6, 3, 1]);
    assert_eq!(seconds(|row| row.wait_total_us.0).iter().sum::<u64>(), 10);
    let first = record.calls[0][0].as_ref().expect("it ended");
    assert_eq!(
        (
            first.view.preemptions,
            first.view.demotions,
            first.view.queue
        ),
        (1, 1, 2)
    );
}

#[test]
fn the_gate_program_fcfs_beats_plas_where_sizes_barely_vary() {
    for slots in [1, 8] {
        for seed in 1..=5 {
            let place = Place { seed, slots };
            let workload = Workload::open("uniform,programs=200", place).expect("valid");
            let mean = |policy| {
                let record = run_on(&workload, set(policy, &[]), slots as u32);
                summary(policy, &workload, &record).completion_s.mean
            };
            let (by_program, plas) = (mean("program-fcfs"), mean("plas"));
            assert!(
                by_program < plas,
                "seed {seed}, {slots} slots: {by_program} and {plas}"
            );
        }
    }
}

/// Until 50 have finished gittins knows nothing and goes by arrival, which is the best there is here.
#[test]
fn the_gate_gittins_is_as_good_as_program_fcfs_where_sizes_do_not_vary() {
    for slots in [1, 8] {
        let place = Place { seed: 2, slots };
        let workload = Workload::open("uniform,programs=1000", place).expect("valid");
        let mean = |policy| {
            let record = run_on(&workload, set(policy, &[]), slots as u32);
            summary(policy, &workload, &record).completion_s.mean
        };
        let (gittins, by_program) = (mean("gittins"), mean("program-fcfs"));
        let ratio = gittins / by_program;
        assert!(ratio <= 1.05, "{slots} slots: {gittins} and {by_program}");
    }
}

#[test]
fn all_that_is_offered_is_served_and_charged() {
    for name in ["uniform", "chat", "react", "map-reduce"] {
        let place = Place { seed: 3, slots: 8 };
        let workload = Workload::open(&format!("{name},programs=60"), place).expect("valid");
        for policy in ["fcfs", "program-fcfs", "mlfq", "plas", "atlas", "gittins"] {
            let setup = setup(set(policy, &["oversubscription=1"]), "unit:slots=4", 2);
            let record = simulate(&workload, &setup).expect("it ends");
            for (spec, end) in workload.programs.iter().zip(&record.programs) {
                let row = &end.as_ref().expect("it ended").row;
                let offered: lps_api::quantity::Micros =
                    spec.calls.iter().map(|call| call.service).sum();
                assert_eq!(row.service_total_us, offered, "{name} {policy}");
                assert!(true_path(spec) <= row.critical_path_us && row.critical_path_us <= offered);
            }
            let ran: u64 = record
                .slices
                .iter()
                .map(|slice| (slice.end - slice.start).0)
                .sum();
            let offered: u64 = workload
                .programs
                .iter()
                .flat_map(|p| &p.calls)
                .map(|c| c.service.0)
                .sum();
            assert_eq!(ran, offered, "{name} {policy}");
        }
    }
}

/// Programs whose contexts do not fit together: each is admitted, paused and resumed, and all end, whatever the policy.
#[test]
fn a_pool_too_small_for_all_serves_all() {
    for policy in ["fcfs", "program-fcfs", "mlfq", "plas", "atlas", "gittins"] {
        let place = Place { seed: 5, slots: 8 };
        let workload = Workload::open("chat,programs=40,load=2", place).expect("valid");
        let most = workload.programs.iter().flat_map(|program| &program.calls);
        let most = most
            .map(|call| u64::from(call.prompt.0) + u64::from(call.output.0))
            .max();
        let engine = format!("unit:slots=8,kv={}", most.expect("calls") * 11 / 10);
        let setup = setup(set(policy, &["acting_lease=0"]), &engine, 2);
        let record = simulate(&workload, &setup).expect("it ends");
        assert!(record.programs.iter().all(Option::is_some), "{policy}");
        assert!(record.residency.pauses > 0, "{policy}");
        let held = record
            .waits
            .iter()
            .any(|wait| wait.reason.as_str() == "working_set");
        assert!(held, "{policy}");
    }
}

/// The longest chain of services.
fn true_path(spec: &ProgramSpec) -> lps_api::quantity::Micros {
    let mut bare = spec.clone();
    for call in &mut bare.calls {
        call.gap = Default::default();
    }
    bare.alone()
}

#[test]
fn the_same_seed_writes_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = [
        "programs.csv",
        "calls.csv",
        "slices.csv",
        "summary.json",
        "completion.svg",
    ];
    let mut seen = Vec::new();
    for out in ["a", "b"] {
        let args = Args {
            workload: "react,programs=30".to_owned(),
            policy: vec!["plas".to_owned(), "atlas".to_owned()],
            settings: vec!["home_wait=2".to_owned()],
            engine: "unit:slots=2".to_owned(),
            engines: 2,
            seed: 7,
            faults: Some(2.0),
            no_checks: false,
            until: None,
            out: Some(folder.path().join(out)),
        };
        run(&args, true).expect("it runs");
        let read = |name: &str| std::fs::read(folder.path().join(out).join("atlas").join(name));
        seen.push(names.map(|name| read(name).expect(name)));
    }
    assert!(seen[0] == seen[1]);
    let header = String::from_utf8_lossy(&seen[0][1])
        .lines()
        .next()
        .map(str::to_owned);
    let expected = "program,call,thread,engine,ready_s,start_s,end_s,service_s,wait_s,p_s,queue,demotions,\
        promotions,preemptions,prompt_tokens,cached_tokens,output_tokens,state";
    assert_eq!(header.as_deref(), Some(expected));
}
