//! What engines had to do while programs ran. Owns: looking now and then at our router's list of engines.

use std::cell::RefCell;
use std::time::Duration;

use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use serde_json::Value;

use super::record::seconds;
use crate::client::Client;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// Looks that are kept; after that many, every other one is dropped and looks come half as often.
const LOOKS_MAX: usize = 4_096;

/// One engine at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look {
    pub(super) time: Micros,
    pub(super) engine: String,
    pub(super) running: u64,
    pub(super) waiting: u64,
    /// Share of its KV pool that is in use, in percent.
    pub(super) kv_percent: u64,
}

/// Looks until it is dropped.
pub(super) async fn watch(client: &Client, clock: Clock, looks: &RefCell<Vec<Look>>) {
    let mut every = EVERY;
    loop {
        if let Ok(list) = client.get("/v1/engines").await {
            let time = clock.now().into();
            looks.borrow_mut().extend(read(&list, time));
        }
        if looks.borrow().len() > LOOKS_MAX {
            thin(&mut looks.borrow_mut());
            every *= 2;
        }
        tokio::time::sleep(every).await;
    }
}

/// Drops every other time.
fn thin(looks: &mut Vec<Look>) {
    let mut last = None;
    let mut keeps = false;
    looks.retain(|look| {
        if last != Some(look.time) {
            last = Some(look.time);
            keeps = !keeps;
        }
        keeps
    });
}

fn read(list: &Value, time: Micros) -> Vec<Look> {
    let engines = list["data"].as_array().into_iter().flatten();
    let look = |engine: &Value| {
        let load = |name: &str| engine["load"][name].as_u64().unwrap_or_default();
        let kv = |name: &str| engine["kv"][name].as_u64().unwrap_or_default();
        Look {
            time,
            engine: engine["id"].as_str().unwrap_or_default().to_owned(),
            running: load("running"),
            waiting: load("waiting"),
            kv_percent: (100 * kv("blocks_used"))
                .checked_div(kv("blocks_total"))
                .unwrap_or_default(),
        }
    };
    engines.map(look).collect()
}

/// A row for each look.
pub(super) fn csv(looks: &[Look]) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["time_s", "engine", "running", "waiting", "kv_percent"])?;
    for look in looks {
        table.write_record([
            seconds(Some(look.time)),
            look.engine.clone(),
            look.running.to_string(),
            look.waiting.to_string(),
            look.kv_percent.to_string(),
        ])?;
    }
    Ok(table.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_every_other_time_whole() {
        let look = |time, engine: &str| Look {
            time: Micros(time),
            engine: engine.to_owned(),
            running: 0,
            waiting: 0,
            kv_percent: 0,
        };
        let mut looks = vec![
            look(1, "a"),
            look(1, "b"),
            look(2, "a"),
            look(2, "b"),
            look(3, "a"),
        ];
        thin(&mut looks);
        assert_eq!(looks, [look(1, "a"), look(1, "b"), look(3, "a")]);
    }
}
