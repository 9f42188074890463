//! `lps-engine gpu-check`: whether the kernels are right on the device that is there, and how fast it is. Owns: what is
//! tried, and the report. Knows no checkpoint: weights are drawn.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Whole steps of a model: graphs against operators, and their times.
mod steps;
/// Attention against 64 bits, and its bandwidth.
mod attention;
/// How the device's time is taken.
mod timing;

use std::path::Path;

use serde::Serialize;
use tch::{Device, TchError};

use crate::kernels::cuda::library::{self, Library};
use crate::kernels::native::{self, InferenceMode};
use crate::model;
use crate::model::torch::gpu_check::attention::Sweep;
use crate::model::torch::gpu_check::steps::{Model, StepTime};

/// Why there is no good report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device failed.
    #[error("gpu-check: {0}")]
    Device(String),
    /// The model for the steps cannot be made.
    #[error("gpu-check: {0}")]
    Model(#[from] model::Error),
    /// The report cannot be written.
    #[error("gpu-check: --out {path}: {source}")]
    Report {
        /// Where to.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was written, and is not good.
    #[error("gpu-check: {failed} of {all} checks failed")]
    Failed {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Device(native::reason(error))
    }
}

/// Something that must be equal.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    /// The largest difference.
    worst: f64,
    /// And what it may be.
    most: f64,
    passed: bool,
}

impl Check {
    fn new(what: String, (worst, most): (f64, f64)) -> Self {
        // What is no number is above nothing.
        let passed = worst <= most;
        let word = if passed { "ok" } else { "FAILED" };
        say(&format!("{word:6} {what}: {worst:.2e}, at most {most:.0e}"));
        Self {
            what,
            worst,
            most,
            passed,
        }
    }
}

/// How fast memory is read and written.
#[derive(Debug, Serialize)]
struct Rate {
    what: String,
    bytes: u64,
    ms: f64,
    gb_per_s: f64,
}

impl Rate {
    fn new(what: String, bytes: u64, ms: f64) -> Self {
        let gb_per_s = bytes as f64 / 1e6 / ms;
        say(&format!("{what}: {gb_per_s:.0} GB/s, {ms:.3} ms"));
        Self {
            what,
            bytes,
            ms,
            gb_per_s,
        }
    }
}

/// What is written.
#[derive(Debug, Serialize)]
struct Report {
    engine: &'static str,
    device: library::Device,
    checks: Vec<Check>,
    rates: Vec<Rate>,
    /// Whose steps were timed.
    model: &'static str,
    steps: Vec<StepTime>,
    memory: library::Memory,
}

/// Where it is tried.
#[derive(Debug, Clone, Copy)]
struct Target {
    library: Library,
    device: Device,
}

/// How much of it.
#[derive(Debug)]
struct Extent {
    sweep: Sweep,
    model: Model,
}

/// Tries everything, tells about it on the way, and writes the report.
///
/// # Errors
/// When the device fails, or a check does; the report of failed checks is written.
pub fn run(out: &Path) -> Result<(), Error> {
    let nothing = || Error::Device("CUDA is not loaded".to_owned());
    let library = Library::loaded().ok_or_else(nothing)?;
    library.begin_stream()?;
    let device = library.device().map_err(Error::Device)?;
    let extent = Extent {
        sweep: Sweep::whole(),
        model: Model::fitting(device.memory_bytes),
    };
    let target = Target {
        library,
        device: Device::Cuda(0),
    };
    let report = Report::make(target, device, &extent)?;
    report.write(out).map_err(|source| Error::Report {
        path: out.display().to_string(),
        source,
    })?;
    report.verdict()
}

impl Report {
    fn make(target: Target, device: library::Device, extent: &Extent) -> Result<Self, Error> {
        let (major, minor) = device.capability;
        say(&format!(
            "{}, compute capability {major}.{minor}, torch {}",
            device.name, device.torch
        ));
        let inference = InferenceMode::begin()?;
        let mut checks = attention::checks(target, &extent.sweep)?;
        let rates = attention::rates(target, &extent.sweep)?;
        drop(inference);
        let (graphs, steps) = steps::run(target, &extent.model)?;
        checks.extend(graphs);
        Ok(Self {
            engine: env!("CARGO_PKG_VERSION"),
            device,
            checks,
            rates,
            model: extent.model.name,
            steps,
            memory: target.library.memory()?,
        })
    }

    fn write(&self, out: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(out, text + "\n")
    }

    fn verdict(&self) -> Result<(), Error> {
        let failed = self.checks.iter().filter(|check| !check.passed).count();
        let all = self.checks.len();
        if failed > 0 {
            return Err(Error::Failed { failed, all });
        }
        Ok(())
    }
}

/// For whoever watches; the report has it all again.
fn say(line: &str) {
    eprintln!("gpu-check: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cuda::library::emulated;

    fn report(library: Library) -> Report {
        let device = library::Device {
            name: "a processor".to_owned(),
            torch: String::new(),
            memory_bytes: 0,
            capability: (0, 0),
            multiprocessors: 0,
            driver: 0,
            runtime: 0,
        };
        let extent = Extent {
            sweep: Sweep::small(),
            model: Model::small(),
        };
        let target = Target {
            library,
            device: Device::Cpu,
        };
        Report::make(target, device, &extent).unwrap()
    }

    #[test]
    fn right_kernels_pass_and_all_is_written() {
        let report = report(emulated::library(true));
        report.verdict().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("report.json");
        report.write(&out).unwrap();
        let written: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        assert_eq!(written["device"]["name"], "a processor");
        for part in ["checks", "rates", "steps"] {
            assert!(!written[part].as_array().unwrap().is_empty(), "{part}");
        }
    }

    #[test]
    fn wrong_kernels_are_found_out() {
        let report = report(emulated::wrong());
        let error = report.verdict().unwrap_err().to_string();
        assert!(error.contains("checks failed"), "{error}");
        let passed = |check: &&Check| check.passed && check.what.starts_with("attention");
        assert_eq!(report.checks.iter().filter(passed).count(), 0);
    }
}
