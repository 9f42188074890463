//! The pure parts: prompts, what is measured, tables.

use std::collections::BTreeMap;

use lps_api::quantity::Micros;
use serde_json::json;

use clap::Parser as _;

use super::batch::{Ask, asks};
use super::batch_table::{Row, Summary as BatchSummary, csv};
use super::prompt::{Answer, Palette, Prompter, Said};
use super::record::{
    CallState, ProgramRecord, ProgramState, Sheet, calls_csv, programs_csv, seconds,
};
use super::replay::Replay;
use super::summary::{Setup, Summary, Window};
use super::wire::{Failure, Outcome};
use crate::workload::content::before;
use crate::workload::{Place, ProgramSpec, Workload};

fn workload() -> Workload {
    let lines = r#"
{"program":"a","class":"k","calls":[
 {"call":"r","prompt_tokens":10,"shared_prefix_tokens":6,"output_tokens":4},
 {"call":"m1","thread":"left","parents":["r"],"prompt_tokens":20,"output_tokens":4},
 {"call":"m2","thread":"right","parents":["r"],"prompt_tokens":8,"shared_prefix_tokens":6,"output_tokens":4},
 {"call":"j","parents":["m1","m2","r"],"prompt_tokens":30,"output_tokens":4}]}
{"program":"b","class":"k","arrival_s":2,"calls":[{"call":"r","prompt_tokens":10,"shared_prefix_tokens":6,"output_tokens":4}]}
"#;
    let lines = lines.replace(",\n {", ",{").replace("[\n", "[");
    Workload::read(lines.as_bytes(), "w").expect("valid")
}

fn prompter(seed: u64) -> Prompter {
    Prompter {
        palette: Palette::Ids((100..164).collect()),
        seed,
    }
}

fn ids(said: &Said) -> Vec<u32> {
    match said {
        Said::Ids(ids) => ids.clone(),
        Said::Text { .. } => panic!("ids were asked for"),
    }
}

fn say(prompter: &Prompter, program: &ProgramSpec, call: usize, earlier: Option<&Said>) -> Said {
    prompter.prompt(program, &program.calls[call], earlier)
}

#[test]
fn prompts_have_the_wanted_length_and_share_what_they_should() {
    let workload = workload();
    let [a, b] = &workload.programs[..] else {
        panic!("two programs")
    };
    let prompter = prompter(1);
    let root = say(&prompter, a, 0, None);
    let other = say(&prompter, b, 0, None);
    assert_eq!((ids(&root).len(), ids(&other).len()), (10, 10));
    assert_eq!(ids(&root)[..6], ids(&other)[..6], "the class's prefix");
    assert_ne!(ids(&root)[6..], ids(&other)[6..]);
    let answer = Answer {
        ids: vec![7, 8, 9, 7],
        ..Answer::default()
    };
    let so_far = root.answered(&answer);
    let left = say(&prompter, a, 1, Some(&so_far));
    assert_eq!(ids(&left).len(), 20);
    assert_eq!(
        ids(&left)[..14],
        ids(&so_far)[..],
        "it goes on from what was answered"
    );
    let right = say(&prompter, a, 2, Some(&so_far));
    assert_eq!(ids(&right).len(), 8, "what does not fit is begun anew");
    assert_eq!(ids(&right)[..6], ids(&root)[..6], "with the class's prefix");
    assert_eq!(
        say(&prompter, a, 0, None),
        root,
        "the same seed says the same"
    );
    assert_ne!(say(&self::prompter(2), a, 0, None), root);
}

#[test]
fn a_call_goes_on_from_its_thread_or_its_first_parent() {
    let program = &workload().programs[0];
    let seen: Vec<_> = (0..4).map(|call| before(program, call)).collect();
    assert_eq!(seen, [None, Some(0), Some(0), Some(0)]);
}

#[test]
fn words_come_near_the_wanted_tokens() {
    let prompter = Prompter {
        palette: Palette::Words {
            tokens: 1.25,
            overhead: 20.0,
        },
        seed: 1,
    };
    for wanted in [1, 21, 60, 500] {
        let mut program = workload().programs[1].clone();
        program.calls[0].prompt = lps_api::quantity::Tokens(wanted);
        let said = say(&prompter, &program, 0, None);
        let Said::Text { text, tokens } = &said else {
            panic!("text was asked for")
        };
        let counted = text.split(' ').count() as f64 * 1.25;
        assert!((counted - tokens).abs() < 1e-6);
        let off = (tokens + 20.0 - f64::from(wanted)).abs();
        assert!(off <= 1.25 || wanted < 22, "{wanted}: {tokens}");
        assert!(!text.is_empty());
    }
}

#[test]
fn an_answer_is_read_from_chunks_of_both_kinds() {
    let mut outcome = Outcome::default();
    assert!(!outcome.take(&json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]})));
    assert!(outcome.take(&json!({"choices": [{"delta": {"content": "hi"}}]})));
    assert!(outcome.take(&json!({"choices": [{"text": "", "token_ids": [5, 6]}]})));
    let last = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4}}, "lps": {"executor_us": 70}});
    assert!(!outcome.take(&last));
    assert_eq!((outcome.prompt_tokens, outcome.cached_tokens), (9, 4));
    assert_eq!(
        (outcome.answer.tokens, &outcome.answer.ids[..]),
        (3, &[5, 6][..])
    );
    assert_eq!(
        (outcome.answer.text.as_str(), outcome.executor),
        ("hi", Some(Micros(70)))
    );
}

const fn at(seconds: u64) -> Micros {
    Micros::from_secs(seconds)
}

/// One program of one call in each state, beginning a second apart from 0.
fn states() -> (Workload, Sheet) {
    let text = "uniform,programs=6,calls=1,rate=1";
    let workload = Workload::open(text, Place { seed: 1, slots: 1 }).expect("valid");
    let mut sheet = Replay::empty_sheet(&workload).take();
    sheet.end = at(100);
    let refused = |is_refusal| {
        Some(Failure {
            is_refusal,
            message: format!("the prompt has {} tokens", 10 + u32::from(is_refusal)),
        })
    };
    let states = [
        (CallState::Completed, None),
        (CallState::Completed, None),
        (CallState::Open, None),
        (CallState::Refused, refused(true)),
        (CallState::Failed, refused(false)),
    ];
    for (index, (state, error)) in states.into_iter().enumerate() {
        let record = &mut sheet.programs[index];
        let begun = at(index as u64);
        record.arrival = Some(begun);
        let call = &mut record.calls[0];
        (call.state, call.ready, call.outcome.sent) = (state, Some(begun), begun + Micros(500));
        call.outcome.error = error;
        if state == CallState::Completed {
            call.outcome.first_token = Some(begun + at(1));
            call.outcome.end = begun + at(3);
            call.outcome.answer.tokens = 6;
            record.end = Some(begun + at(3));
        }
    }
    (workload, sheet)
}

fn summary(window: &Window) -> Summary {
    let (workload, sheet) = states();
    let setup = Setup {
        label: "l".to_owned(),
        url: "u".to_owned(),
        model: "m".to_owned(),
        workload: "w".to_owned(),
        seed: 1,
        pace: "open".to_owned(),
        plain: false,
    };
    Summary::new(setup, &workload, &sheet, (window, true))
}

#[test]
fn nothing_is_dropped_silently() {
    let window = Window {
        from: at(1),
        until: Some(at(10)),
        patience: Some(at(90)),
    };
    let summary = summary(&window);
    let counts = summary.programs;
    assert_eq!(
        (counts.measured, counts.warm_up, counts.not_started),
        (4, 1, 1)
    );
    let ends = [
        counts.completed,
        counts.unfinished,
        counts.refused,
        counts.failed,
    ];
    assert_eq!(ends, [1, 1, 1, 1]);
    // 3 s of the completed one, 98 s so far of the one that was cut off.
    assert_eq!(
        (summary.completion_s.count, summary.completion_s.max),
        (2, 98.0)
    );
    assert_eq!(summary.token_latency_s.mean, 0.5);
    assert_eq!(
        (summary.ttft_s.mean, summary.call_latency_s.mean),
        (1.0, 3.0)
    );
    assert_eq!(summary.lag_s.mean, 0.0005);
    let errors: Vec<_> = summary.errors.iter().collect();
    assert_eq!(errors, [(&"the prompt has N tokens".to_owned(), &2)]);
    for words in ["from 1 s to 10 s", "cut off at 100 s", "lower bounds"] {
        assert!(summary.censoring.contains(words), "{}", summary.censoring);
    }
}

#[test]
fn without_a_window_all_is_measured_and_nothing_is_cut() {
    let window = Window {
        from: Micros::ZERO,
        until: None,
        patience: None,
    };
    assert_eq!(window.cut(), None);
    assert!(window.begins(at(1_000_000)));
    assert_eq!(summary(&window).programs.measured, 5);
}

#[test]
fn tables_have_a_row_for_each_program_and_call() {
    let (workload, mut sheet) = states();
    let row = json!({"service_total_us": 2_500_000, "critical_path_us": 7, "wait_total_us": 0, "calls": [
        {"id": "x.c0", "engine": "e/1", "service_us": 2_500_000, "wait_us": 40,
         "waits": [{"reason": "no_capacity", "wait_us": 40}]},
        {"id": "another", "engine": "e/2"}]});
    sheet.programs[0].take_row(row, |id| (id == "x.c0").then_some(0));
    let mut waits = BTreeMap::new();
    sheet.programs[0].add_waits(&mut waits);
    assert_eq!(waits["no_capacity"], 0.00004);
    let programs = programs_csv(&workload, &sheet, |_| true).expect("memory");
    let programs = String::from_utf8(programs).expect("UTF-8");
    let lines: Vec<_> = programs.lines().collect();
    assert_eq!(lines.len(), 7);
    let first = "uniform-0,anonymous,uniform,true,0.000000,3.000000,3.000000,1,1,0,0,6,0.000000,1.000000,2.500000,0.000007,0.000000,completed,";
    assert_eq!(lines[1], first);
    assert!(
        lines[4].ends_with("refused,the prompt has 11 tokens"),
        "{}",
        lines[4]
    );
    let calls = calls_csv(&workload, &sheet).expect("memory");
    let calls = String::from_utf8(calls).expect("UTF-8");
    assert_eq!(calls.lines().count(), 7);
    assert!(
        calls.contains("e/1,2.500000,0.000040,completed,"),
        "{calls}"
    );
    assert!(calls.contains("not_reached"), "{calls}");
}

/// The flags of a study, as a command line gives them.
#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    study: super::batch::Args,
}

fn study(words: &[&str]) -> Vec<Ask> {
    let words = std::iter::once(&"batch").chain(words);
    let flags = Flags::try_parse_from(words).expect("valid");
    asks(&flags.study, None, &prompter(1))
}

#[test]
fn a_study_has_every_prompt_once() {
    let words = [
        "--runs",
        "2",
        "--prompts",
        "5",
        "--concurrency",
        "1,3",
        "--output-tokens",
        "9",
        "--vary",
    ];
    let asks = study(&words);
    assert_eq!(asks.len(), 2 * 2 * 5);
    let mut shown: Vec<_> = asks.iter().map(|ask| ask.shown.clone()).collect();
    shown.sort_unstable();
    shown.dedup();
    assert_eq!(shown.len(), 20, "none is sent twice");
    let mut lengths: Vec<_> = asks[..5].iter().map(|ask| ask.output).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [1, 3, 5, 7, 9], "from 1 to the most");
    assert!(asks.iter().all(|ask| ids(&ask.said).len() == 128));
    assert!(Flags::try_parse_from(["batch", "--concurrency", "0"]).is_err());
}

#[test]
fn a_study_leaves_a_row_for_each_prompt_and_figures_for_each_concurrency() {
    let asks = study(&[
        "--runs",
        "1",
        "--prompts",
        "3",
        "--concurrency",
        "2",
        "--prompt-tokens",
        "4",
    ]);
    let mut rows: Vec<_> = asks
        .iter()
        .map(|ask| {
            let mut outcome = Outcome {
                sent: at(1),
                first_token: Some(at(2)),
                end: at(5),
                prompt_tokens: 4,
                ..Outcome::default()
            };
            outcome.answer.tokens = 8;
            outcome.answer.text = "a,\"b".to_owned();
            if ask.seq == 3 {
                outcome.error = Some(Failure {
                    is_refusal: false,
                    message: "gone".to_owned(),
                });
            }
            Row::new(ask, 1, outcome)
        })
        .collect();
    rows.reverse();
    let table = String::from_utf8(csv(&rows).expect("memory")).expect("UTF-8");
    let lines: Vec<_> = table.lines().collect();
    let header = "run_num,seq,status,batch_num,input_tokens,output_tokens,total_tokens,latency,ttft,tokens_per_sec,prompt,\
                  output_prompt,error";
    assert_eq!(lines[0], header);
    let first = format!("1,1,ok,1,4,8,12,4.000000,1.000000,2.000,{},", asks[0].shown);
    assert!(lines[1].starts_with(&first), "{}", lines[1]);
    assert!(lines[1].ends_with("\"a,\"\"b\","), "{}", lines[1]);
    assert!(
        lines[3].starts_with("1,3,error,") && lines[3].ends_with(",gone"),
        "{}",
        lines[3]
    );
    let summary = BatchSummary::new("static", &rows, false);
    let json = serde_json::to_value(summary).expect("plain");
    let level = &json["levels"][0];
    assert_eq!(
        (&level["answered"], &level["failed"]),
        (&json!(2), &json!(1))
    );
    // 16 tokens of both calls in 4 s.
    assert_eq!(level["output_tokens_per_s"]["mean"], json!(4.0));
    assert_eq!(level["latency_s"]["mean"], json!(4.0));
}

#[test]
fn a_program_is_what_its_calls_are() {
    let mut record = ProgramRecord::default();
    assert_eq!(record.state(), ProgramState::NotStarted);
    record.arrival = Some(Micros::ZERO);
    assert_eq!(record.state(), ProgramState::Unfinished);
    assert_eq!(seconds(None), "");
}
