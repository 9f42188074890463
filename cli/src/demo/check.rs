//! The demo's proof. Owns: recomputing a program's row from what its calls' answers said they used. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::console::duration;

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    /// Its name.
    pub(super) call: String,
    /// What it depended on.
    pub(super) parents: Vec<String>,
    /// What it used, as its answer said.
    pub(super) executor_us: u64,
}

/// The largest sum along a chain of calls; parents come before their children.
fn longest_path(calls: &[Done]) -> u64 {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for done in calls {
        let starts = done
            .parents
            .iter()
            .filter_map(|parent| ends.get(parent.as_str()));
        let end = starts.max().copied().unwrap_or(0) + done.executor_us;
        ends.insert(&done.call, end);
    }
    ends.into_values().max().unwrap_or(0)
}

/// Compares the row with the calls; the lines say what was found equal.
///
/// # Errors
/// When the row's service is not the sum of the calls', or its critical path not the longest of them.
pub(super) fn verdict(row: &Value, calls: &[Done]) -> anyhow::Result<Vec<String>> {
    let figure = |name: &str| {
        row[name]
            .as_u64()
            .with_context(|| format!("the row has no {name}"))
    };
    let (service, path) = (figure("service_total_us")?, figure("critical_path_us")?);
    let sum: u64 = calls.iter().map(|done| done.executor_us).sum();
    ensure!(
        service == sum,
        "the row's service is {service} µs, its calls used {sum} µs"
    );
    let longest = longest_path(calls);
    // A step that becomes ready after a sibling has ended counts from there: the row may be above, never below.
    ensure!(
        (longest..=sum).contains(&path),
        "the row's critical path is {path} µs, the longest chain of its calls {longest} µs"
    );
    let compared = if path == longest {
        format!(
            "equals the longest chain of calls, recomputed from {} answers",
            calls.len()
        )
    } else {
        format!(
            "covers the longest chain of calls, {longest} µs: a step began after another had ended"
        )
    };
    Ok(vec![
        format!(
            "service {service} µs ({}) is the sum of what the answers say",
            duration(service)
        ),
        format!("critical path {path} µs ({}) {compared}", duration(path)),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn done(call: &str, parents: &[&str], executor_us: u64) -> Done {
        let parents = parents.iter().map(|parent| (*parent).to_owned()).collect();
        Done {
            call: call.to_owned(),
            parents,
            executor_us,
        }
    }

    fn diamond() -> Vec<Done> {
        vec![
            done("r", &[], 2),
            done("a", &["r"], 5),
            done("b", &["r"], 1),
            done("b2", &["b"], 1),
            done("j", &["a", "b2"], 1),
        ]
    }

    #[test]
    fn the_longest_chain_counts() {
        assert_eq!(longest_path(&diamond()), 8);
        assert_eq!(longest_path(&[]), 0);
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused() {
        for (service, path, fits) in [
            (10, 8, true),
            (10, 9, true),
            (10, 7, false),
            (10, 11, false),
            (9, 8, false),
        ] {
            let row = json!({"service_total_us": service, "critical_path_us": path});
            assert_eq!(verdict(&row, &diamond()).is_ok(), fits, "{row}");
        }
        assert!(verdict(&json!({}), &diamond()).is_err());
    }
}
