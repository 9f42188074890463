//! What `--device cuda` and `gpu-check` say where there is no device: one line, whatever it is that is missing.

use std::process::Command;

/// Hides every device, so that this holds on machines with one too.
fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lps-engine"));
    command.args(arguments).env("CUDA_VISIBLE_DEVICES", "");
    let ended = command.output().expect("the engine starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), said)
}

#[test]
fn what_is_missing_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report.json");
    let serve = ["--model", "builtin:demo", "--device", "cuda"];
    let check = ["gpu-check", "--out", out.to_str().unwrap()];
    for arguments in [&serve[..], &check[..]] {
        let (code, said) = refusal(arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("lps-engine: device cuda: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(!out.exists());
}
