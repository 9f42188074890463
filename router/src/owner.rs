//! A task that owns one value, and what others hold of it. Owns: hiding the channel between them. It must not know what the
//! value is.

use std::fmt;

use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use lps_runtime::task;
use tokio::sync::{mpsc, oneshot};

use crate::dispatcher::Ended;

/// What the task does next.
type Request<T> = Box<dyn FnOnce(&mut T, Micros) + Send>;

/// Requests that may wait beside the places that are held.
const REQUESTS_MAX: usize = 1_024;

/// A handle to the task; clones are the same.
pub struct Owner<T> {
    requests: mpsc::Sender<Request<T>>,
}

impl<T> Clone for Owner<T> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
        }
    }
}

impl<T> fmt::Debug for Owner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Owner<T> {
    /// Starts the task, which ends when nobody holds it any more. As many places as `held` may be kept for later.
    pub fn start(name: &'static str, mut value: T, held: usize, clock: Clock) -> Self {
        let (requests, mut asked) = mpsc::channel::<Request<T>>(REQUESTS_MAX + held);
        task::spawn(name, async move {
            while let Some(request) = asked.recv().await {
                request(&mut value, clock.now().into());
            }
        });
        Self { requests }
    }

    /// Does something with the value, after all that was asked for before.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn with<R: Send + 'static>(
        &self,
        what: impl FnOnce(&mut T, Micros) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        let (answer, value) = oneshot::channel();
        let place = self.place().await?;
        place.fill(move |owned, now| {
            // Who asked may have left.
            let _ = answer.send(what(owned, now));
        });
        value.await.map_err(|_| Ended)
    }

    /// A place for something to be done later, at a moment that cannot wait.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn place(&self) -> Result<Place<T>, Ended> {
        let place = self.requests.clone().reserve_owned().await;
        place.map(Place).map_err(|_| Ended)
    }
}

/// A place among the task's requests.
#[derive(Debug)]
pub struct Place<T>(mpsc::OwnedPermit<Request<T>>);

impl<T> Place<T> {
    /// Uses it.
    pub fn fill(self, what: impl FnOnce(&mut T, Micros) + Send + 'static) {
        self.0.send(Box::new(what));
    }
}
