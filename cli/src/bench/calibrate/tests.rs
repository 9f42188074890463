//! From logs to a profile, and what is said of logs that are none.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

fn hello(engine: &str, max_num_seqs: u32) -> String {
    format!(
        r#"{{"engine":{{"protocol":1,"engine":"{engine}","model":"m","incarnation":1,"max_num_seqs":{max_num_seqs},
        "max_model_len":2048,"max_batched_tokens":256,"block_tokens":16,"kv_blocks_total":64}}}}"#
    )
    .replace('\n', "")
}

/// Steps of a millisecond and 10 µs a token, 100 µs apart; each second call is alone, and comes a second later.
fn steps(count: u32) -> String {
    let (mut lines, mut time) = (String::new(), 0);
    for step in 1..=count {
        let len = if step % 2 == 1 { 32 } else { 1 };
        let duration = 1_000 + 10 * len;
        let call = step.div_ceil(2);
        let computed = if len == 1 { 32 } else { 0 };
        let sequences = format!(
            r#"[{{"call":"c{call}","choice":0,"computed":{computed},"len":{len},"samples":true}}]"#
        );
        let line = format!(
            r#""step":{step},"time_us":{time},"duration_us":{duration},"sequences":{sequences},"preempted":[]"#
        );
        writeln!(lines, "{{{line}}}").expect("a string takes all");
        time += duration + if len == 1 { 1_000_000 } else { 100 };
    }
    lines
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("the folder is there");
}

fn refusal(folder: &Path) -> String {
    match read::read(&[folder.to_path_buf()]).and_then(|logs| find(&logs, None)) {
        Ok(found) => panic!("{found:?}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_profile_is_made_of_all_logs_of_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    for engine in ["a", "b"] {
        let text = format!("{}\n{}", hello(engine, 8), steps(200));
        write(folder.path(), &format!("{engine}.jsonl"), &text);
    }
    let args = Args {
        steps: vec![folder.path().to_path_buf()],
        out: folder.path().join("profile.json"),
        name: None,
    };
    run(&args, true).expect("it is made");
    let path = args.out.display().to_string();
    let profile = Profile::open(&path).expect("what is written is read");
    assert_eq!(
        (
            profile.kv_tokens,
            profile.max_num_seqs,
            profile.max_batched_tokens
        ),
        (1_024, 8, 256)
    );
    // Only within a call does one step follow the other.
    assert!((profile.between_us - 100.0).abs() < 1e-6, "{profile:?}");
    let mut load = crate::sim::Load::default();
    load.add(32, 0);
    assert!(
        (profile.costs.step_us(load) - 1_320.0).abs() < 1.0,
        "{profile:?}"
    );
}

#[test]
fn a_log_that_is_cut_in_a_line_is_read_to_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = format!("{}\n{}", hello("a", 8), steps(150));
    text.truncate(text.len() - 20);
    write(folder.path(), "a.jsonl", &text);
    let logs = read::read(&[folder.path().to_path_buf()]).expect("it is read");
    // Neither the warm-up nor the last line.
    assert_eq!(logs[0].samples.len(), 148);
    let middle = text
        .replacen("\"step\":70", "\"step\":", 1)
        .replacen("\"time_us\"", "\"time", 1);
    write(folder.path(), "a.jsonl", &middle);
    assert!(
        refusal(folder.path()).contains("line 2"),
        "{}",
        refusal(folder.path())
    );
}

#[test]
fn what_is_no_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(refusal(folder.path()).contains("holds no .jsonl file"));
    write(folder.path(), "a.jsonl", &steps(150));
    assert!(refusal(folder.path()).contains("line 1 does not say whose steps"));
    write(folder.path(), "a.jsonl", &hello("a", 8));
    assert!(refusal(folder.path()).contains("no step is in it"));
    let some = format!("{}\n{}", hello("a", 8), steps(20));
    write(folder.path(), "a.jsonl", &some);
    assert!(refusal(folder.path()).contains("19 steps are too few"));
    let other = format!("{}\n{}", hello("b", 4), steps(20));
    write(folder.path(), "b.jsonl", &other);
    let both = refusal(folder.path());
    assert!(both.contains("b.jsonl is of m with 4 sequences"), "{both}");
}
