//! Workloads: what is refused and how it is named, what comes back from a file, what the generators make.

use super::command::{Args, run};
use super::statistics::{Quantity, Statistics};
use super::*;

const PLACE: Place = Place { seed: 1, slots: 8 };

/// What a generator makes.
fn made(text: &str) -> Workload {
    Workload::open(text, PLACE).expect(text)
}

fn programs_of(lines: &str) -> anyhow::Result<Workload> {
    Workload::read(lines.as_bytes(), "w")
}

fn trace_of(lines: &str) -> anyhow::Result<Workload> {
    trace::read(lines.as_bytes(), "t")
}

/// There is no workload, and these words say why.
#[track_caller]
fn assert_refused(workload: anyhow::Result<Workload>, words: &str) {
    let error = workload.err();
    let error = error.unwrap_or_else(|| panic!("it is valid, and should be: {words}"));
    let error = format!("{error:#}");
    assert!(error.contains(words), "{words}: {error}");
}

#[test]
fn an_error_names_file_line_and_field() {
    let good = r#"{"program":"x","calls":[{"call":"a"}]}"#;
    for (lines, words) in [
        (
            r#"{"program":"x","calls":[]}"#,
            "w:1: field calls: a program has at least one call",
        ),
        (
            r#"{"program":"x y","calls":[{"call":"a"}]}"#,
            "w:1: field program: an id has",
        ),
        (
            r#"{"program":"x","calls":[{"call":"a","gap_s":-1}]}"#,
            "w:1: field calls[0].gap_s: -1",
        ),
        (
            r#"{"program":"x","calls":[{"call":"a","prompt_tokens":-1}]}"#,
            "w:1: field calls[0].prompt_tokens",
        ),
        (
            r#"{"program":"x","calls":[{"call":"a","parnts":[]}]}"#,
            "w:1: field calls[0].parnts: unknown field",
        ),
        (
            r#"{"program":"x","calls":[{"call":"a","parents":["q"]}]}"#,
            "w:1: field calls[0].parents: no call q",
        ),
        (
            r#"{"program":"x","calls":[{"call":"a","parents":["a"]}]}"#,
            "no cycle",
        ),
        (
            r#"{"program":"x","calls":[{"call":"a","parents":["b"]},{"call":"b","parents":["a"]}]}"#,
            "no cycle",
        ),
        (
            r#"{"program":"x","calls":[{"call":"a"},{"call":"a"}]}"#,
            "w:1: field calls[1].call: a is there twice",
        ),
        (
            &format!("{good}\n{good}"),
            "w:2: field program: x is on line 1 already",
        ),
        (
            &format!(
                "{}\n{good}",
                r#"{"program":"y","arrival_s":2,"calls":[{"call":"a"}]}"#
            ),
            "w:2: field arrival_s",
        ),
        ("{", "w:1: field"),
        ("", "no program in it"),
    ] {
        assert_refused(programs_of(lines), words);
    }
}

/// A sum of no times between arrivals once was minus zero.
#[test]
fn one_program_arrives_over_no_time() {
    let line = r#"{"program":"x","calls":[{"call":"a"}]}"#;
    let workload = programs_of(line).expect("valid");
    let heading = Statistics::of(&workload).heading();
    assert!(heading.contains("arriving over 0.0 s"), "{heading}");
}

#[test]
fn a_prompt_that_is_not_given_continues_its_thread() {
    let line = r#"{"program":"x","calls":[{"call":"a","new_tokens":100,"output_tokens":7},{"call":"b","new_tokens":5}]}"#;
    let workload = programs_of(line).expect("valid");
    let calls = &workload.programs[0].calls;
    assert_eq!((calls[1].prompt.0, &calls[1].parents[..]), (112, &[0][..]));
}

#[test]
fn what_is_not_there_is_said() {
    for (text, words) in [
        ("nothing", "uniform, chat, react, mcts, map-reduce"),
        ("uniform,programs=0", "its range is 1..="),
        ("chat,gap=-1", "its range is 0..="),
        ("chat,gap=NaN", "its range is 0..="),
        ("react,rate=inf", "its range is"),
        ("react,cv=11", "its range is 0.1..=10"),
        ("react,arrivals=sometimes", "poisson, bursty or at-once"),
        ("uniform,colour=1", "its settings are"),
        ("uniform,programs", "a setting is key=value"),
        ("./missing.jsonl", "open workload"),
        ("trace:missing", "open workload"),
    ] {
        assert_refused(Workload::open(text, PLACE), words);
    }
}

#[test]
fn a_file_under_the_wrong_name_is_told_its_right_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, line: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("\n{line}\n")).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let calls = write("calls", r#"{"program":"p","call":"a","start":1,"end":2}"#);
    let programs = write("programs", r#"{"program":"p","calls":[{"call":"a"}]}"#);
    for (text, words) in [
        (calls.clone(), format!("name it trace:{calls}")),
        (
            format!("trace:{programs}"),
            "name it without trace:".to_owned(),
        ),
        (
            format!("traces:{calls}"),
            format!("are named trace:{calls}"),
        ),
        (format!("file:{programs}"), format!("programs {programs}")),
    ] {
        assert_refused(Workload::open(&text, PLACE), &words);
    }
    for text in [format!("trace:{calls}"), programs] {
        assert_eq!(
            Workload::open(&text, PLACE).expect("right").programs.len(),
            1
        );
    }
    // What is wrong inside is still said, and no other name is proposed.
    let odd = write("odd", r#"{"program":"p","colour":1}"#);
    let error = Workload::open(&odd, PLACE).expect_err("no calls");
    assert!(!format!("{error:#}").contains("name it"), "{error:#}");
}

#[test]
fn a_recorded_trace_becomes_programs_with_gaps() {
    let lines = r#"
{"program":"p","call":"join","parent":["a","b"],"start":109.5,"end":110,"output_tokens":3}
{"program":"p","call":"root","start":100,"end":102,"prompt_tokens":10}
{"program":"p","call":"a","thread":"left","parent":"root","start":103,"end":108}
{"program":"p","call":"b","thread":"right","parent":"root","start":102,"end":109}
{"program":"p","call":"late","thread":"other","start":104,"end":105}
{"program":"p","call":"after","start":112,"end":113}
{"program":"q","call":"x","start":90,"end":91}
"#;
    let workload = trace_of(lines).expect("valid");
    let [q, p] = &workload.programs[..] else {
        panic!("two programs")
    };
    assert_eq!(
        (q.arrival.as_secs_f64(), p.arrival.as_secs_f64()),
        (0.0, 10.0)
    );
    let seen: Vec<_> = p
        .calls
        .iter()
        .map(|call| {
            let gap = call.gap.as_secs_f64();
            (
                call.call.as_str(),
                call.parents.clone(),
                gap,
                call.service.as_secs_f64(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("root", vec![], 0.0, 2.0),
            ("b", vec![0], 0.0, 7.0),
            ("a", vec![0], 1.0, 5.0),
            // On a thread of its own and without a parent: a second root, counted from the arrival.
            ("late", vec![], 4.0, 1.0),
            ("join", vec![2, 1], 0.5, 0.5),
            // Nobody says its parent: the last call of its thread.
            ("after", vec![4], 2.0, 1.0),
        ]
    );
}

#[test]
fn a_trace_that_cannot_be_is_refused_with_its_line_and_field() {
    let root = r#"{"program":"p","call":"r","start":0,"end":2}"#;
    for (line, words) in [
        (
            r#"{"program":"p","call":"a","start":3,"end":2}"#,
            "t:2: field end",
        ),
        (
            r#"{"program":"p","call":"a","start":-1,"end":2}"#,
            "t:2: field start: -1",
        ),
        (
            r#"{"program":"p","call":"a","start":1e999,"end":2}"#,
            "t:2: field",
        ),
        (
            r#"{"program":"p","call":"a","parent":"z","start":3,"end":4}"#,
            "t:2: field parent: no call z in p",
        ),
        (
            r#"{"program":"p","call":"a","parent":"a","start":3,"end":4}"#,
            "there is a cycle",
        ),
        (
            r#"{"program":"p","call":"a","parent":"r","start":1,"end":4}"#,
            "t:2: field start: a begins before",
        ),
        (
            r#"{"program":"p","call":"r","start":3,"end":4}"#,
            "t:2: field call: r is in p twice",
        ),
        (
            r#"{"program":"p","call":"a","start":3}"#,
            "missing field `end`",
        ),
        (
            r#"{"program":"p","call":"a","start":3,"end":4} x"#,
            "t:2: after its end",
        ),
    ] {
        assert_refused(trace_of(&format!("{root}\n{line}")), words);
    }
    assert!(trace_of("\n").is_err());
}

#[test]
fn what_is_written_is_read_back_the_same() {
    for name in [
        "uniform",
        "coding",
        "mcts",
        "map-reduce",
        "deep-research",
        "mixed",
    ] {
        let made = made(&format!("{name},programs=6,calls-max=40"));
        let mut file = Vec::new();
        made.write(&mut file).expect("memory");
        let read = Workload::read(&file[..], "w").expect(name);
        assert!(read == made, "{name}");
    }
}

#[test]
fn the_same_seed_makes_the_same_workload() {
    let make = |seed| Workload::open("mixed,programs=20", Place { seed, ..PLACE }).expect("valid");
    assert!(make(3) == make(3));
    assert!(make(3) != make(4));
}

fn mean(statistics: &Statistics, class: &str, quantity: Quantity) -> f64 {
    let json = serde_json::to_value(&statistics.lines).expect("plain");
    let name = serde_json::to_value(quantity).expect("plain");
    let lines = json.as_array().expect("lines");
    let line = lines
        .iter()
        .find(|line| line["class"] == class && line["quantity"] == name);
    line.expect("is there")["mean"].as_f64().expect("a number")
}

/// The means of what is generated, against those that were published; wide enough for 1,500 programs of heavy tails.
#[test]
fn generated_means_are_the_published_ones() {
    let mut wrong = Vec::new();
    for (class, quantity, published, tolerance) in [
        ("chat", Quantity::Calls, 6.66, 0.1),
        ("chat", Quantity::Output, 277.0, 0.05),
        ("react", Quantity::Calls, 10.75, 0.06),
        ("react", Quantity::Prompt, 735.0, 0.12),
        ("react", Quantity::Output, 34.0, 0.05),
        ("mcts", Quantity::Calls, 159.7, 0.05),
        ("mcts", Quantity::Prompt, 467.0, 0.1),
        ("mcts", Quantity::Output, 72.6, 0.05),
        ("swe-bench", Quantity::Calls, 10.9, 0.05),
        ("swe-bench", Quantity::ProgramTokens, 70_126.0, 0.1),
        ("swe-bench", Quantity::Gap, 0.925, 0.25),
        ("deep-research", Quantity::Calls, 15.0, 0.1),
        ("deep-research", Quantity::Output, 300.0, 0.1),
        ("deep-research", Quantity::Gap, 25.0, 0.15),
    ] {
        let workload = made(&format!("{class},programs=1500"));
        let made = mean(&Statistics::of(&workload), class, quantity);
        if (made / published - 1.0).abs() >= tolerance {
            wrong.push(format!(
                "{class} {quantity:?}: {made}, published {published}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn arrivals_are_as_bursty_as_asked() {
    for (arrivals, expected, tolerance) in [
        ("arrivals=poisson", 1.0, 0.1),
        ("arrivals=bursty", 2.5, 0.4),
        ("cv=0.5", 0.5, 0.05),
    ] {
        let workload = made(&format!("uniform,programs=4000,rate=2,{arrivals}"));
        let statistics = Statistics::of(&workload);
        let off = (statistics.arrivals_cv - expected).abs();
        assert!(off < tolerance, "{arrivals}: {}", statistics.arrivals_cv);
    }
}

/// A prompt holds what its thread said before, unless the context was compacted; no prompt is longer than the context.
#[test]
fn prompts_grow_with_their_threads() {
    for name in [
        "chat",
        "react",
        "swe-bench",
        "coding",
        "mcts",
        "deep-research",
    ] {
        let workload = made(&format!("{name},programs=30,context=3000,scale=0.5"));
        for program in &workload.programs {
            for call in &program.calls {
                assert!(call.prompt.0 <= 1_500, "{name}: {}", call.prompt.0);
                assert!(call.shared_prefix.0 <= call.prompt.0, "{name}");
                let Some(parent) = call.parents.first().map(|parent| &program.calls[*parent])
                else {
                    continue;
                };
                let continues = call.thread == parent.thread && program.calls.len() > 1;
                let known = parent.prompt.0 + parent.output.0;
                let is_chain = !["mcts", "deep-research"].contains(&name);
                if continues && is_chain && call.prompt.0 != 375 {
                    assert!(
                        call.prompt.0 > known,
                        "{name}: {} after {known}",
                        call.prompt.0
                    );
                }
            }
        }
    }
}

#[test]
fn the_command_writes_what_it_describes() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("w.jsonl");
    let args = Args {
        workload: "react,programs=5".to_owned(),
        seed: 7,
        slots: 4,
        out: Some(out.clone()),
    };
    run(&args, true).expect("it runs");
    let place = Place { seed: 7, slots: 4 };
    let file = out.to_str().expect("UTF-8");
    let read = Workload::open(file, place).expect("valid");
    assert!(read == Workload::open("react,programs=5", place).expect("valid"));
}

/// A mean of zero once drew not-a-number, which became the longest gap.
#[test]
fn without_a_gap_there_is_none() {
    for name in ["chat", "react", "swe-bench", "map-reduce", "uniform"] {
        let workload = made(&format!("{name},programs=5,gap=0"));
        let mut calls = workload.programs.iter().flat_map(|program| &program.calls);
        assert!(calls.all(|call| call.gap == Micros::ZERO), "{name}");
    }
}
