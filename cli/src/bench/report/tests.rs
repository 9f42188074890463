//! Pages from folders as they are written.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{page, read};

fn put(folder: &Path, files: &[(&str, String)]) {
    fs::create_dir_all(folder).expect("is made");
    for (name, text) in files {
        fs::write(folder.join(name), text).expect("is written");
    }
}

fn a_run(folder: &Path, label: &str, mean: f64) {
    let summary = json!({"label": label, "workload": "chat,<b>", "seed": 3, "programs": {"unfinished": 1},
        "completion_s": {"mean": mean, "p95": 9.0},
        "censoring": "Measured are all.", "waits_s": {"no_capacity": 4.0, "home_busy": 1.0}});
    let programs = "program,measured,arrival_s,completion_s,state\na,true,0.0,2.0,completed\nb,true,2.0,4.0,completed\n\
        c,true,4.0,,unfinished\nd,false,1.0,100.0,completed\n";
    let engines = "time_s,engine,running,waiting,kv_percent\n0.5,e/1,1,0,10\n1.0,e/1,2,1,30\n";
    let files = [
        ("summary.json", summary.to_string()),
        ("programs.csv", programs.to_owned()),
        ("engines.csv", engines.to_owned()),
    ];
    put(folder, &files);
}

#[test]
fn a_page_says_what_its_folders_say() {
    let folder = tempfile::tempdir().expect("a folder");
    a_run(&folder.path().join("x/atlas"), "atlas", 2.5);
    a_run(&folder.path().join("x/fcfs"), "fcfs", 5.0);
    let spread = json!({"mean": 2.0, "p95": 3.0, "deviation": 0.1});
    let batch = json!({"label": "static", "levels": [{"concurrency": 4, "answered": 8, "failed": 0, "latency_s": spread,
        "ttft_s": spread, "output_tokens_per_s": spread}]});
    put(
        &folder.path().join("y"),
        &[("summary.json", batch.to_string())],
    );
    let found = read::read(&[folder.path().to_owned()]).expect("valid");
    let [atlas, _] = &found.runs[..] else {
        panic!("two runs")
    };
    // What was not measured is in no figure; what did not end counts in the whole.
    assert_eq!((atlas.completions_s.len(), atlas.measured), (2, 3));
    assert_eq!(atlas.rate, 0.5);
    let page = page::page("A & B", &found).expect("memory");
    for words in [
        "<title>A &amp; B</title>",
        "atlas 2.50 s, fcfs 5.00 s. The slowest takes 2.00 times the fastest.",
        "Not all programs completed: 2 unfinished.",
        "chat,&lt;b&gt;",
        "no capacity",
        "at most 30 %",
        "Measured are all.",
        "calls at once",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("chat,<b>"), "text from a file is text");
    for outside in ["http://", "https://", "<script", "<link", "<img"] {
        let rest = page.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !rest.contains(outside),
            "{outside}: the page fetches nothing"
        );
    }
}

#[test]
fn a_folder_that_is_no_study_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = || {
        format!(
            "{:#}",
            read::read(&[folder.path().to_owned()]).expect_err("none")
        )
    };
    assert!(read().contains("no study in it"), "{}", read());
    put(folder.path(), &[("summary.json", "{".to_owned())]);
    assert!(read().contains("summary.json: EOF"), "{}", read());
    put(
        folder.path(),
        &[("summary.json", r#"{"label":"l"}"#.to_owned())],
    );
    assert!(read().contains("programs.csv"), "{}", read());
    put(
        folder.path(),
        &[(
            "programs.csv",
            "program,state,arrival_s,completion_s\na,completed,x,1\n".to_owned(),
        )],
    );
    assert!(
        read().contains("programs.csv: CSV deserialize error"),
        "{}",
        read()
    );
}
