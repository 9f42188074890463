//! One round for one pool: list, plan, act. Owns: the order of these, and that an action that fails does not keep the
//! others from being tried. Whoever calls it decides when, and how often after an error.

use lps_api::quantity::Micros;

use crate::home::EngineHome;
use crate::plan::{Action, plan};
use crate::validate::Validated;

/// Brings the pool one step nearer to `desired` engines; returns what was done.
///
/// # Errors
/// What the home says: of the list, or of the first action that failed.
pub async fn reconcile<H: EngineHome>(
    pool: &Validated,
    desired: u32,
    home: &mut H,
    now: Micros,
) -> Result<Vec<Action>, H::Error> {
    let engines = home.list().await?;
    let mut done = Vec::new();
    let mut first_error = None;
    for action in plan(pool, desired, &engines, now) {
        tracing::debug!(pool = pool.name, ?action, "planned");
        let result = match &action {
            Action::Create(spec) => home.create(spec.clone()).await,
            Action::Drain(id) => home.drain(id, true).await,
            Action::CancelDrain(id) => home.drain(id, false).await,
            Action::Delete(id, reason) => home.delete(id, *reason).await,
        };
        match result {
            Ok(()) => done.push(action),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(done), Err)
}
