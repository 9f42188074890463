//! Engines that take steps: roofline, and the real engine's core.

use lps_api::quantity::{Micros, Tokens};

use super::*;

/// Steps of 10 ms whatever is in them.
const FLAT: &str = r#"{"name":"flat","kv_tokens":4096,"max_num_seqs":4,"max_batched_tokens":100,
    "costs":{"step_us":[[1,10000.0]],"context_ns":0.0,"pair_ns":0.0,"sequence_us":0.0}}"#;

/// `--engine` words with this profile in a file.
fn profile(folder: &tempfile::TempDir, kind: &str, json: &str) -> String {
    let file = folder.path().join("profile.json");
    std::fs::write(&file, json).expect("written");
    format!("{kind}:{}", file.display())
}

fn lines(lines: &str) -> Workload {
    Workload::read(lines.as_bytes(), "lines").expect("valid")
}

const THREAD: &str = concat!(
    r#"{"program":"a","class":"k","arrival_s":0,"calls":["#,
    r#"{"call":"1","prompt_tokens":250,"shared_prefix_tokens":160,"output_tokens":6},"#,
    r#"{"call":"2","parents":["1"],"prompt_tokens":300,"output_tokens":4}]}"#,
    "\n",
    r#"{"program":"b","class":"k","arrival_s":10,"calls":["#,
    r#"{"call":"1","prompt_tokens":200,"shared_prefix_tokens":160,"output_tokens":1}]}"#,
);

const TOO_LONG: &str = concat!(
    r#"{"program":"a","arrival_s":0,"calls":[{"call":"1","prompt_tokens":10,"output_tokens":1},"#,
    r#"{"call":"2","parents":["1"],"prompt_tokens":5000,"output_tokens":1},"#,
    r#"{"call":"3","parents":["2"],"prompt_tokens":10,"output_tokens":1}]}"#,
);

#[test]
fn a_thread_finds_its_own_tokens_and_its_class_finds_the_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, cached) in [("roofline", [0, 255, 160]), ("core", [0, 240, 160])] {
        let engine = profile(&folder, kind, FLAT);
        let workload = lines(THREAD);
        let record = simulate(&workload, &setup(set("fcfs", &[]), &engine, 1)).expect("it ends");
        let calls: Vec<_> = record
            .calls
            .iter()
            .flatten()
            .flatten()
            .map(|call| &call.view)
            .collect();
        let seen: Vec<u32> = calls.iter().map(|call| call.cached_tokens.0).collect();
        // The last token of an answer is never computed. The core keeps whole pages of 16.
        assert_eq!(seen, cached, "{kind}");
        // 250 tokens in chunks of 100 are 3 steps, the last of which draws the first of 6 tokens.
        let service: Vec<u64> = calls
            .iter()
            .map(|call| call.service_us.0 / 10_000)
            .collect();
        assert_eq!(service, [8, 4, 1], "{kind}");
        assert_eq!(calls[1].output_tokens, Tokens(4));
        assert_eq!(
            record.calls[0][1].as_ref().map(|call| call.view.ready_us),
            Some(Micros(80_000))
        );
    }
}

/// Steps of the core are as far apart as the profile says, and only the steps are charged.
#[test]
fn time_between_steps_is_nobodys_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let apart = FLAT.replace("\"costs\"", "\"between_us\":1000,\"costs\"");
    let engine = profile(&folder, "core", &apart);
    let record = simulate(&lines(THREAD), &setup(set("fcfs", &[]), &engine, 1)).expect("it ends");
    let first = record.calls[0][0].as_ref().expect("it ended");
    assert_eq!(first.view.service_us, Micros(80_000));
    let next = record.calls[0][1].as_ref().expect("it ended");
    assert_eq!(next.view.ready_us, Micros(88_000));
}

#[test]
fn roofline_and_core_agree() {
    for (text, within) in [
        ("react,programs=60,rate=4", 0.02),
        ("chat,programs=30,rate=2", 0.02),
        ("mcts,programs=4,rate=1", 0.03),
    ] {
        let workload = workload(text, 3);
        let mean = |kind: &str| {
            let engine = format!("{kind}:a100-8b,slots=16,kv=100000");
            let record =
                simulate(&workload, &setup(set("atlas", &[]), &engine, 1)).expect("it ends");
            let summary = summary("atlas", &workload, &record);
            (summary.completion_s.mean, record.observed.as_secs_f64())
        };
        let (roofline, core) = (mean("roofline"), mean("core"));
        for (one, other) in [(roofline.0, core.0), (roofline.1, core.1)] {
            assert!(
                (one / other - 1.0).abs() <= within,
                "{text}: {roofline:?} and {core:?}"
            );
        }
    }
}

/// A pool that holds two of eight contexts: the order decides who runs, the rest is preempted and computed again.
#[test]
fn a_small_pool_preempts_and_recomputes() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = FLAT
        .replace("4096", "1024")
        .replace("\"max_num_seqs\":4", "\"max_num_seqs\":8");
    for kind in ["roofline", "core"] {
        let engine = profile(&folder, kind, &small);
        let workload = workload(
            "uniform,programs=8,calls=2,prompt=300,output=200,arrivals=at-once",
            1,
        );
        let rules = [
            "working_set=off",
            "oversubscription=2",
            "bounds=0.5,1",
            "quanta=0.5,0.5,none",
        ];
        let record = simulate(&workload, &setup(set("plas", &rules), &engine, 1)).expect("it ends");
        let summary = summary("plas", &workload, &record);
        let seen = serde_json::to_value(&summary).expect("json");
        assert!(seen["preemptions"].as_u64() > Some(0), "{kind}: {seen}");
        assert!(
            seen["recomputed_tokens"].as_u64() > Some(0),
            "{kind}: {seen}"
        );
        assert_eq!(seen["unfinished_programs"], 0, "{kind}");
    }
}

#[test]
fn a_call_that_no_engine_holds_is_told() {
    let workload = lines(TOO_LONG);
    let record = simulate(
        &workload,
        &setup(set("atlas", &[]), "roofline:a100-8b,kv=4096", 1),
    )
    .expect("it ends");
    let refused: Vec<_> = record
        .refused
        .iter()
        .map(|(at, _, unsent)| (*at, *unsent))
        .collect();
    assert_eq!(refused, [((0, 1), 2)]);
    let summary = serde_json::to_value(summary("atlas", &workload, &record)).expect("json");
    assert_eq!(
        (&summary["refused_programs"], &summary["refused_calls"]),
        (&1.into(), &2.into())
    );
    assert_eq!(
        (
            &summary["unfinished_programs"],
            &summary["completion_s"]["count"]
        ),
        (&0.into(), &0.into())
    );
    let table = report::programs_csv(&workload, &record).expect("written");
    assert!(
        String::from_utf8_lossy(&table)
            .trim_end()
            .ends_with("3,refused")
    );
}

#[test]
fn what_is_known_beforehand_makes_it_better() {
    let workload = workload("chat,programs=150,gap=1,rate=6", 2);
    let mean = |policy: &str| {
        let clairvoyant = policy == CLAIRVOYANT;
        let setup = Setup {
            clairvoyant,
            ..setup(set(policy, &[]), "roofline:a100-8b,slots=8", 1)
        };
        let record = simulate(&workload, &setup).expect("it ends");
        summary(policy, &workload, &record).completion_s.mean
    };
    let (srpt, fcfs) = (mean("srpt"), mean("fcfs"));
    assert!(srpt < fcfs, "{srpt} and {fcfs}");
}

#[test]
fn engines_that_are_not_there_are_told() {
    for (text, expected) in [
        ("roofline:b300", "a100-8b, h200-8b, or a file"),
        ("unit:slots=0", "1..=65536"),
        ("unit:kv=5", "how many slots"),
        ("core:a100-8b,kv=0", "1..=67108864"),
        ("core:a100-8b,tea=1", "slots=B"),
        ("steam:1", "unit:slots=B"),
    ] {
        let error = format!("{:#}", text.parse::<EngineSpec>().expect_err(text));
        assert!(error.contains(expected), "{text}: {error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to, expected) in [
        ("10000.0", "-1.0", "step_us"),
        ("4096", "0", "kv_tokens"),
        ("\"pair_ns\":0.0", "\"pair_ns\":-3", "pair_ns"),
        ("sequence_us", "sequences", "sequences"),
    ] {
        let engine = profile(&folder, "core", &FLAT.replace(from, to));
        let error = format!("{:#}", engine.parse::<EngineSpec>().expect_err(to));
        assert!(
            error.contains(expected) && error.contains("profile.json"),
            "{to}: {error}"
        );
    }
}

#[test]
fn what_has_not_ended_when_it_stops_is_unfinished() {
    let workload = workload("chat,programs=20,rate=1", 1);
    let setup = Setup {
        until: Some(Micros::from_secs(60)),
        ..setup(set("atlas", &[]), "core:a100-8b", 1)
    };
    let record = simulate(&workload, &setup).expect("it stops");
    let ended = record.programs.iter().flatten();
    assert!(ended.clone().all(|end| end.end <= Micros::from_secs(60)));
    let left = workload.programs.len() - ended.count();
    let seen = serde_json::to_value(summary("atlas", &workload, &record)).expect("json");
    assert!(left > 0);
    assert_eq!(seen["unfinished_programs"], left);
}
