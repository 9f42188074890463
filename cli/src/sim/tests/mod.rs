//! The simulator. By file: unit engines with known schedules and gates; engines that take steps; what goes wrong.

mod faults;
mod steps;
mod unit;

use super::*;
use crate::sim::record::Record;

fn setup(settings: Settings, engine: &str, engines: u32) -> Setup {
    Setup {
        settings,
        engine: engine.parse().expect("valid"),
        engines,
        faults: None,
        checks: true,
        until: None,
        clairvoyant: false,
        naming: Naming::Said,
    }
}

/// The rules of a policy with some settings.
fn set(policy: &str, pairs: &[&str]) -> Settings {
    let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
    settings(policy, &pairs).expect("valid")
}

fn workload(text: &str, seed: u64) -> Workload {
    Workload::open(text, Place { seed, slots: 8 }).expect("valid")
}

fn summary(policy: &str, workload: &Workload, record: &Record) -> Summary {
    let alone: Vec<Micros> = workload.programs.iter().map(ProgramSpec::alone).collect();
    Summary::new(policy, (workload, &alone), record)
}
