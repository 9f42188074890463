//! `lps completion` as it is used: its reader may go before the end.

use std::process::{Command, Stdio};

#[test]
fn a_reader_that_goes_is_no_error() {
    let mut lps = Command::new(env!("CARGO_BIN_EXE_lps"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // Nobody reads, and the script is longer than what a pipe may hold by itself.
    drop(lps.stdout.take());
    let output = lps.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
}
