//! What is found of programs whose clients say nothing, and what that is worth.

use super::*;

const RECORDED: [&str; 6] = [
    "openai",
    "own_ids",
    "agents_sdk",
    "agents_sdk_responses",
    "anthropic",
    "langchain",
];

fn args() -> Args {
    Args {
        workload: Vec::new(),
        trace: Vec::new(),
        alike: false,
        policy: "atlas".to_owned(),
        engine: "unit:slots=4".to_owned(),
        seeds: vec![1, 2],
    }
}

#[test]
fn chats_and_agents_are_found_and_gain_as_if_their_clients_said_it() {
    for workload in ["chat,programs=60", "react,programs=40", "mcts,programs=4"] {
        let row = generated(&args(), workload).expect(workload);
        let verdict = &row.verdict;
        assert_eq!(verdict.programs.precision(), Some(1.0), "{workload}");
        assert_eq!(verdict.programs.recall(), Some(1.0), "{workload}");
        // Each node of a search is a thread; the first one behind another is found on that one's.
        let is_chain = !workload.starts_with("mcts");
        assert!(
            !is_chain || verdict.threads.recall() == Some(1.0),
            "{workload}"
        );
        let seeds: Vec<u64> = row.runs.iter().map(|it| it.seed).collect();
        assert_eq!(seeds, [1, 2]);
        for it in &row.runs {
            let (found, said) = (it.found, it.said);
            assert!(
                found.completion_s <= 1.1 * said.completion_s
                    && found.token_latency_s <= 1.1 * said.token_latency_s,
                "{workload}: {it:?}"
            );
        }
    }
}

/// Requests of real clients (tests/traces/record.py says which).
#[test]
fn recorded_clients_are_found() {
    for name in RECORDED {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/traces");
        let path = std::path::Path::new(folder).join(format!("{name}.jsonl"));
        let verdict = Verdict::of(&recorded::put(&path).expect(name));
        for score in [verdict.programs, verdict.threads, verdict.parents] {
            assert_eq!(
                (score.precision(), score.recall()),
                (Some(1.0), Some(1.0)),
                "{name}"
            );
        }
        assert!(verdict.parents.truth > 0, "{name}");
    }
}

#[test]
fn a_line_that_is_no_request_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.jsonl");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#;
    let first = format!(r#"{{"program":"p","call":"a","body":{body}}}"#);
    for (second, expected) in [
        (first.clone(), ":2: field call"),
        (
            first.replace("\"a\",\"body", "\"b\",\"parents\":[\"x\"],\"body"),
            ":2: field parents: x",
        ),
        (
            r#"{"program":"p","call":"b","body":{}}"#.to_owned(),
            ":2: the router would refuse",
        ),
        (
            first.replace(
                "\"call\":\"a\"",
                "\"call\":\"b\",\"path\":\"/v1/embeddings\"",
            ),
            ":2: the router would refuse",
        ),
        ("{}".to_owned(), ":2: missing field"),
    ] {
        std::fs::write(&path, format!("{first}\n{second}\n")).expect("a file");
        let error = format!("{:#}", recorded::put(&path).expect_err(&second));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn seeds_are_told_as_median_least_and_most() {
    let text = |value: f64| format!("{value:.1}");
    assert_eq!(spread(vec![3.0, 1.0, 2.0], text), "2.0 (1.0–3.0)");
    assert_eq!(spread(vec![3.0], text), "3.0");
}

#[test]
fn what_shares_no_message_is_not_found_but_never_mixed_up() {
    let row = generated(&args(), "uniform,programs=20").expect("it runs");
    assert_eq!(row.verdict.programs.precision(), None);
    assert_eq!(row.verdict.programs.recall(), Some(0.0));
}

#[test]
fn chats_that_all_ask_the_same_are_told_apart_by_their_answers() {
    let args = Args {
        alike: true,
        ..args()
    };
    let row = generated(&args, "chat,programs=60").expect("it runs");
    let precision = row.verdict.programs.precision().expect("some are found");
    assert!((0.5..1.0).contains(&precision), "{precision}");
}
