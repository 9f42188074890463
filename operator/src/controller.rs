//! The operator at work. Owns: what it watches, and when a resource gets its next round. A resource whose round fails
//! waits longer each time; the others do not wait for it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use lps_api::resource::LLMProgramServing;
use lps_api::wellknown::label;
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::Shutdown;
use lps_runtime::task;
use lps_runtime::watch_pause::WatchPause;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::RoundResult;
use crate::round::round;
use crate::subject::{Error, Next, Tools};

/// Until the next look at a resource of which nothing is on its way: what was missed is found then.
const SETTLED: Duration = Duration::from_secs(300);
/// Until the next look while something is on its way: timeouts and backoffs are no events.
const UNSETTLED: Duration = Duration::from_secs(2);
/// After the first error; then twice as long each time.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after an error.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Rounds that wait to be told when the next one is.
const ASKED_MAX: usize = 64;
/// Rounds at the same time.
const ROUNDS_MAX: u16 = 8;

/// Works until the shutdown; in one namespace, or in all.
pub async fn run(client: Client, namespace: Option<&str>, tools: Tools, shutdown: Shutdown) {
    let resources: Api<LLMProgramServing> = scoped(&client, namespace);
    let engines = watcher::Config::default().labels(&format!("{}=lps-engine", label::NAME));
    let (failures, asked) = mpsc::channel(ASKED_MAX);
    let keeper = task::spawn("failures", keep_failures(asked));
    let work = Arc::new(Work { tools, failures });
    Controller::new(resources, watcher::Config::default().any_semantic())
        .with_config(kube::runtime::controller::Config::default().concurrency(ROUNDS_MAX))
        .owns(scoped::<Pod>(&client, namespace), engines.clone())
        .owns(scoped::<Service>(&client, namespace), engines.clone())
        .owns(
            scoped::<ServiceAccount>(&client, namespace),
            engines.clone(),
        )
        .owns(
            scoped::<PodDisruptionBudget>(&client, namespace),
            engines.clone(),
        )
        .owns(scoped::<NetworkPolicy>(&client, namespace), engines)
        .trigger_backoff(WatchPause)
        .graceful_shutdown_on(async move { shutdown.drain().await })
        .run(
            |resource, work| async move { Ok(work.round(&resource).await) },
            |_, _: &Infallible, _| Action::await_change(),
            Arc::clone(&work),
        )
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::debug!(%error, "a watch is broken; it is opened again");
            }
        })
        .await;
    keeper.abort();
}

/// Objects of the one namespace, or of all.
pub(crate) fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

struct Work {
    tools: Tools,
    failures: mpsc::Sender<Asked>,
}

/// A round's end, told to whoever counts failures.
struct Asked {
    key: String,
    failed: bool,
    /// How many rounds of this resource failed in a row.
    reply: oneshot::Sender<u32>,
}

impl Work {
    async fn round(&self, resource: &LLMProgramServing) -> Action {
        let clock = Clock::start();
        let result = round(resource, &self.tools).await;
        self.tools
            .metrics
            .round_ended(counted(&result), clock.now());
        let namespace = resource.namespace().unwrap_or_default();
        let name = resource.name_any();
        let failures = self
            .failures(format!("{namespace}/{name}"), result.is_err())
            .await;
        match result {
            Ok(Next::Settled) => Action::requeue(spread(SETTLED, &name)),
            Ok(Next::Unsettled) => Action::requeue(UNSETTLED),
            Ok(Next::Stalled | Next::Gone) => Action::await_change(),
            Err(error) => {
                let wait = spread(backoff(failures), &name);
                tracing::warn!(namespace, serving = name, %error, wait_s = wait.as_secs(), "the round failed");
                Action::requeue(wait)
            }
        }
    }

    async fn failures(&self, key: String, failed: bool) -> u32 {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { key, failed, reply };
        if self.failures.send(asked).await.is_err() {
            return 1;
        }
        answer.await.unwrap_or(1)
    }
}

fn counted(result: &Result<Next, Error>) -> RoundResult {
    match result {
        Ok(Next::Settled | Next::Gone) => RoundResult::Settled,
        Ok(Next::Unsettled) => RoundResult::Unsettled,
        Ok(Next::Stalled) => RoundResult::Stalled,
        Err(_) => RoundResult::Failed,
    }
}

/// Counts failed rounds; keeps a resource only while it fails.
async fn keep_failures(mut asked: mpsc::Receiver<Asked>) {
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(Asked { key, failed, reply }) = asked.recv().await {
        let count = if failed {
            let count = failures.entry(key).or_default();
            *count = count.saturating_add(1);
            *count
        } else {
            failures.remove(&key);
            0
        };
        // A round that was cut does not listen.
        let _ = reply.send(count);
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    (BACKOFF_MIN * 2_u32.pow(doublings)).min(BACKOFF_MAX)
}

/// Up to a quarter longer, by the name: what failed together is not tried together.
fn spread(wait: Duration, name: &str) -> Duration {
    let hash = name.bytes().fold(7_u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    wait + wait * (hash % 100) / 400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_wait_longer_each_time_up_to_a_bound() {
        let waits: Vec<u64> = [1, 2, 3, 6, 7, 40].map(|n| backoff(n).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
        let (a, b) = (spread(SETTLED, "a"), spread(SETTLED, "b"));
        assert!(a != b && a.max(b) <= SETTLED * 5 / 4);
    }

    #[tokio::test]
    async fn failures_are_counted_for_each_resource_alone() {
        let (failures, asked) = mpsc::channel(1);
        tokio::join!(keep_failures(asked), async move {
            for (key, failed, count) in [
                ("a", true, 1),
                ("a", true, 2),
                ("b", true, 1),
                ("a", false, 0),
                ("a", true, 1),
            ] {
                let (reply, answer) = oneshot::channel();
                let asked = Asked {
                    key: key.to_owned(),
                    failed,
                    reply,
                };
                assert!(failures.send(asked).await.is_ok());
                assert_eq!(answer.await, Ok(count));
            }
        });
    }
}
