//! `lps-engine`: configuration, logs, server, and its end.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use lps_engine::config::{Config, GpuCheck, Task};
use lps_engine::server::{Host, Server};
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::Shutdown;
use lps_runtime::telemetry;

/// Of sysexits.h: the configuration has no use.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let task = match Task::parse() {
        Ok(task) => task,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Where even that cannot be written, the code says it.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match task {
        Task::Serve(config) => serve(*config),
        Task::GpuCheck(check) => gpu_check(&check),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each message holds that of its cause.
            eprintln!("lps-engine: {error}");
            let known = error.downcast_ref::<lps_engine::server::Error>();
            end(known.map_or(1, lps_engine::server::Error::exit_code))
        }
    }
}

/// What failed may have left a thread behind that loads or computes.
fn end(code: u8) -> ExitCode {
    #[cfg(feature = "torch")]
    lps_engine::kernels::native::end_now(code);
    #[cfg(not(feature = "torch"))]
    ExitCode::from(code)
}

#[cfg(feature = "torch")]
fn gpu_check(check: &GpuCheck) -> anyhow::Result<()> {
    use lps_engine::model::Device;
    use lps_engine::model::torch;
    torch::process::init(Device::Cuda, None)?;
    Ok(torch::gpu_check::run(&check.out)?)
}

#[cfg(not(feature = "torch"))]
fn gpu_check(_: &GpuCheck) -> anyhow::Result<()> {
    anyhow::bail!("gpu-check: this build has no libtorch; build with default features")
}

fn serve(config: Config) -> anyhow::Result<()> {
    #[cfg(feature = "torch")]
    lps_engine::model::torch::process::init(config.device, config.threads)?;
    if config.exit_with_parent {
        end_with_parent()?;
    }
    config.check().map_err(lps_engine::server::Error::from)?;
    let telemetry = telemetry::init(config.log_format, &config.log_level)
        .map_err(lps_engine::server::Error::from)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the calendar"
    )]
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let (clock, started) = (Clock::start(), started.unwrap_or(Duration::ZERO));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Parsing and text take little beside the model; more threads would take its processors.
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let host = Host {
            shutdown: Shutdown::on_signals()?,
            clock,
            started,
            telemetry: Some(telemetry),
        };
        let shutdown = host.shutdown.clone();
        let server = tokio::select! {
            server = Server::start(config, host) => server?,
            () = shutdown.drain() => return Ok(()),
        };
        anyhow::Ok(server.finish().await?)
    });
    // Nobody waits for a thread that still loads or computes.
    runtime.shutdown_background();
    result
}

/// The kernel ends this process with its parent, even where that is killed.
fn end_with_parent() -> anyhow::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL))?;
    anyhow::ensure!(getppid() == parent, "the parent process has ended already");
    Ok(())
}
