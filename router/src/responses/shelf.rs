//! The task that keeps responses, and what others hold of it. Owns: hiding the channel between them.

use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use lps_runtime::task;
use tokio::sync::{mpsc, oneshot};

use crate::dispatcher::Ended;
use crate::responses::store::Store;

/// What the task does next.
type Request = Box<dyn FnOnce(&mut Store, Micros) + Send>;

/// Requests that may wait beside the places that streams hold.
const REQUESTS_MAX: usize = 1_024;

/// A handle to the task; clones are the same.
#[derive(Debug, Clone)]
pub struct Shelf {
    requests: mpsc::Sender<Request>,
}

/// How much a shelf is for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes that are kept.
    pub bytes: usize,
    /// Most streams at once.
    pub streams: usize,
}

impl Shelf {
    /// Starts the task; it ends when nobody holds it any more.
    pub fn start(limits: Limits, clock: Clock) -> Self {
        // A stream holds two places: for its response's beginning, and for its end.
        let (requests, mut asked) = mpsc::channel::<Request>(REQUESTS_MAX + 2 * limits.streams);
        let mut store = Store::new(limits.bytes);
        task::spawn("responses", async move {
            while let Some(request) = asked.recv().await {
                request(&mut store, clock.now().into());
            }
        });
        Self { requests }
    }

    /// Does something with what is kept, after all that was asked for before.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn with<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Store, Micros) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (answer, value) = oneshot::channel();
        let request = move |store: &mut Store, now: Micros| {
            // Who asked may have left.
            let _ = answer.send(what(store, now));
        };
        let sent = self.requests.send(Box::new(request)).await;
        sent.map_err(|_| Ended)?;
        value.await.map_err(|_| Ended)
    }

    /// A place for something to be done later, at a moment that cannot wait.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn place(&self) -> Result<Place, Ended> {
        let place = self.requests.clone().reserve_owned().await;
        place.map(Place).map_err(|_| Ended)
    }
}

/// A place among the task's requests.
#[derive(Debug)]
pub struct Place(mpsc::OwnedPermit<Request>);

impl Place {
    /// Uses it.
    pub fn fill(self, what: impl FnOnce(&mut Store, Micros) + Send + 'static) {
        self.0.send(Box::new(what));
    }
}
