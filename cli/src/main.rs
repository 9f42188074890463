//! `lps`, the user's tool: reads the command line, does what it says, and tells what went wrong in one line.

use std::io::Write;
use std::process::ExitCode;

use lps_cli::args::{self, Cli};
use lps_cli::up::manifest::Problems;
use lps_cli::why::Unanswered;
use lps_runtime::causes::with_causes;

/// What sysexits.h calls a usage error: what was written makes no sense.
const EXIT_USAGE: u8 = 64;
/// `lps why` knows nothing; 1 says that a resource is not ready.
const EXIT_UNANSWERED: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let cli = Cli::read(&words).unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(args::run(cli));
    // A read of standard input cannot be taken back, and must not hold the process.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) if nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// `lps programs | head` is no error.
fn nobody_reads(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let code = if error.is::<Problems>() {
        ExitCode::from(EXIT_USAGE)
    } else if error.is::<Unanswered>() {
        ExitCode::from(EXIT_UNANSWERED)
    } else {
        ExitCode::FAILURE
    };
    let mut out = std::io::stderr().lock();
    for line in with_causes(error.as_ref()).lines() {
        // Where standard error is closed, the exit code still tells.
        let _ = writeln!(out, "lps: {line}");
    }
    code
}
