//! One engine's process. Owns: the child from its start to its end, its output, and the signals it gets. It reports
//! what happens and decides nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lps_api::ids::EngineId;
use lps_runtime::task;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::Client;

/// How often a starting engine is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(25);
/// Longest line of output that is kept, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// How a line begins that says why a program ended; what stands after it is advice.
const REASONS: [&str; 2] = ["lps-engine: ", "error: "];

/// What happened to an engine.
#[derive(Debug)]
pub(super) struct Report {
    /// Which one.
    pub(super) engine: EngineId,
    /// What.
    pub(super) event: Event,
}

/// What can happen.
#[derive(Debug)]
pub(super) enum Event {
    /// It serves at this address.
    Ready(SocketAddr),
    /// It ended.
    Ended {
        /// How: `exit status: 65`, `signal: 9 (SIGKILL)`.
        how: String,
        /// The line that says why, else the last that it wrote.
        last_line: Option<String>,
    },
}

/// How an engine is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Not yet.
    No,
    /// When it is idle.
    Drained,
    /// At once.
    Now,
}

/// What is started.
#[derive(Debug)]
pub(super) struct Launch {
    /// The engine's name.
    pub(super) engine: EngineId,
    /// The program.
    pub(super) program: PathBuf,
    /// Its flags.
    pub(super) flags: Vec<OsString>,
    /// Where it writes its addresses.
    pub(super) address_file: PathBuf,
    /// Where its output is kept.
    pub(super) log_file: PathBuf,
}

/// Starts an engine. Dropping the returned sender ends it at once.
///
/// # Errors
/// When the program or its files cannot be had.
pub(super) fn start(
    launch: Launch,
    reports: mpsc::Sender<Report>,
) -> std::io::Result<watch::Sender<Stop>> {
    match std::fs::remove_file(&launch.address_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(&launch.log_file)?;
    let mut child = Command::new(&launch.program)
        .args(&launch.flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal reaches the whole group: engines finish their calls first, so they have their own.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let stdout = keep_lines(&launch.engine, child.stdout.take(), log.try_clone()?);
    let stderr = keep_lines(&launch.engine, child.stderr.take(), log);
    let (stop, stopped) = watch::channel(Stop::No);
    let running = Running {
        child,
        stdout,
        stderr,
        stopped,
        reports,
        launch,
    };
    task::spawn("engine process", running.attend());
    Ok(stop)
}

struct Running {
    child: Child,
    stdout: JoinHandle<Option<String>>,
    stderr: JoinHandle<Option<String>>,
    stopped: watch::Receiver<Stop>,
    reports: mpsc::Sender<Report>,
    launch: Launch,
}

impl Running {
    async fn attend(mut self) {
        let mut waiting = true;
        let mut heard = true;
        let ready = becomes_ready(self.launch.address_file.clone());
        tokio::pin!(ready);
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                address = &mut ready, if waiting => {
                    waiting = false;
                    self.report(Event::Ready(address)).await;
                }
                change = self.stopped.changed(), if heard => {
                    heard = change.is_ok();
                    let stop = if heard { *self.stopped.borrow() } else { Stop::Now };
                    self.signal(stop);
                }
            }
        };
        // Its children could hold the pipes open, so the end of the output is not waited for for ever.
        let last = |lines: JoinHandle<Option<String>>| async {
            let ended = tokio::time::timeout(Duration::from_secs(1), lines).await;
            ended.ok().and_then(Result::ok).flatten()
        };
        let last_line = match last(self.stderr).await {
            Some(line) => Some(line),
            None => last(self.stdout).await,
        };
        let _ = std::fs::remove_file(&self.launch.address_file);
        let event = Event::Ended {
            how: how(status),
            last_line,
        };
        let report = Report {
            engine: self.launch.engine,
            event,
        };
        // Nobody hears it when the stack is being dropped.
        let _ = self.reports.send(report).await;
    }

    async fn report(&self, event: Event) {
        let report = Report {
            engine: self.launch.engine.clone(),
            event,
        };
        let _ = self.reports.send(report).await;
    }

    fn signal(&mut self, stop: Stop) {
        let signal = match stop {
            Stop::No => return,
            Stop::Drained => Signal::TERM,
            Stop::Now => Signal::KILL,
        };
        // The child is not reaped before `wait` returned, so the number is still its own.
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::warn!(engine = %self.launch.engine, %error, "cannot be signalled");
        }
    }
}

fn how(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("its end cannot be seen: {error}"),
    }
}

/// Copies output into the engine's file, and what is a warning or an error into our log; returns the line that says
/// why it ended, else the last.
fn keep_lines(
    engine: &EngineId,
    output: Option<impl AsyncRead + Unpin + Send + 'static>,
    mut log: File,
) -> JoinHandle<Option<String>> {
    let engine = engine.clone();
    task::spawn("engine output", async move {
        let (mut last, mut reason) = (None, None);
        let mut lines = BufReader::new(output?).split(b'\n');
        while let Ok(Some(mut bytes)) = lines.next_segment().await {
            bytes.truncate(LINE_BYTES_MAX);
            let line = crate::console::plain(String::from_utf8_lossy(&bytes).trim_end());
            if line.is_empty() {
                continue;
            }
            if let Err(error) = writeln!(log, "{line}") {
                tracing::warn!(%engine, %error, "the log file cannot be written");
            }
            forward(&engine, &line);
            if REASONS.iter().any(|prefix| line.starts_with(prefix)) {
                reason = Some(line.clone());
            }
            last = Some(line);
        }
        reason.or(last)
    })
}

/// The level stands early in a log line: after the time.
fn forward(engine: &EngineId, line: &str) {
    let beginning: String = line.chars().take(48).collect();
    if beginning.contains("ERROR") {
        tracing::error!("{engine} | {line}");
    } else if beginning.contains("WARN") {
        tracing::warn!("{engine} | {line}");
    } else {
        tracing::debug!("{engine} | {line}");
    }
}

/// The engine's address, once it is ready.
async fn becomes_ready(address_file: PathBuf) -> SocketAddr {
    let mut period = tokio::time::interval(LOOK_PERIOD);
    let (address, admin) = loop {
        period.tick().await;
        if let Some(addresses) = addresses(&address_file) {
            break addresses;
        }
    };
    let client =
        Client::new(&format!("http://{admin}"), None).expect("a socket address is an address");
    loop {
        period.tick().await;
        if client
            .status("/readyz")
            .await
            .is_ok_and(|status| status.is_success())
        {
            return address;
        }
    }
}

/// What an engine wrote: its HTTP address and its admin address, a line each.
fn addresses(file: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    let address = lines.next()?.parse().ok()?;
    let admin = lines.next()?.parse().ok()?;
    Some((address, admin))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a shell script in place of an engine.
    fn script(folder: &Path, body: &str) -> (watch::Sender<Stop>, mpsc::Receiver<Report>) {
        let script = folder.join("engine.sh");
        std::fs::write(&script, body).expect("written");
        let (tell, reports) = mpsc::channel(4);
        let launch = Launch {
            engine: EngineId::parse("a-0").expect("a name"),
            program: "/bin/sh".into(),
            flags: vec![script.into(), "--port".into(), "0".into()],
            address_file: folder.join("a-0.address"),
            log_file: folder.join("a-0.log"),
        };
        (start(launch, tell).expect("it starts"), reports)
    }

    async fn end(mut reports: mpsc::Receiver<Report>) -> (String, Option<String>) {
        match reports.recv().await.map(|report| report.event) {
            Some(Event::Ended { how, last_line }) => (how, last_line),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_end_is_told_with_the_last_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let body = "echo starts \"$@\"; echo 'model.safetensors: \u{1b}[31mtoo short' >&2; exit 65";
        let (_stop, reports) = script(folder.path(), body);
        let (how, last_line) = end(reports).await;
        assert_eq!(how, "exit status: 65");
        assert_eq!(
            last_line.as_deref(),
            Some("model.safetensors: \u{fffd}[31mtoo short")
        );
        let log = std::fs::read_to_string(folder.path().join("a-0.log")).expect("a log");
        assert!(log.contains("starts --port 0"), "{log}");
    }

    #[tokio::test]
    async fn an_engine_ends_as_it_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, reports) = script(folder.path(), "trap '' TERM; read -r line < /dev/zero");
        stop.send_replace(Stop::Now);
        assert!(end(reports).await.0.contains("SIGKILL"));
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, reports) = script(folder.path(), "exec sleep 1000");
        stop.send_replace(Stop::Drained);
        assert!(end(reports).await.0.contains("SIGTERM"));
    }

    #[tokio::test]
    async fn an_engine_that_nobody_holds_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, reports) = script(folder.path(), "exec sleep 1000");
        drop(stop);
        assert!(end(reports).await.0.contains("SIGKILL"));
    }

    #[test]
    fn an_address_file_has_two_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("address");
        assert_eq!(addresses(&file), None);
        std::fs::write(&file, "127.0.0.1:41233\n").expect("written");
        assert_eq!(addresses(&file), None);
        std::fs::write(&file, "127.0.0.1:41233\n127.0.0.1:41234\n").expect("written");
        let (address, admin) = addresses(&file).expect("complete");
        assert_eq!((address.port(), admin.port()), (41233, 41234));
    }
}
