//! What others hold of the dispatcher. Owns: hiding its channels. A call's stream that is dropped before its end
//! cancels the call; the place for that message is reserved when the call is submitted, so it can always be said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lps_api::ids::{CallId, TenantId};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::dispatcher::desk::View;
use crate::dispatcher::open_call::ClientEnd;
use crate::dispatcher::requests::{Request, Submission};
use crate::engine_client::{Failure, Piece};
use crate::message::{CallKey, Event};
use crate::state::view::Change;

/// Pieces of an answer that may wait for their client, beside its last word.
const PIECES_MAX: usize = 32;

/// The dispatcher ended: the process does too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router ends")]
pub struct Ended;

/// A handle to the dispatcher; clones are the same.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    changes: broadcast::Sender<Arc<Change>>,
    next_key: Arc<AtomicU64>,
}

impl Handle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        changes: broadcast::Sender<Arc<Change>>,
    ) -> Self {
        Self {
            requests,
            changes,
            next_key: Arc::default(),
        }
    }

    /// Brings a call in. Its stream says what becomes of it, a refusal included.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn submit(&self, submission: Submission) -> Result<CallStream, Ended> {
        let (pieces, receiver) = mpsc::channel(PIECES_MAX + 1);
        let last_word = pieces.clone().reserve_owned().await.map_err(|_| Ended)?;
        let cancel = self
            .requests
            .clone()
            .reserve_owned()
            .await
            .map_err(|_| Ended)?;
        let place = self.requests.reserve().await.map_err(|_| Ended)?;
        let key = CallKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        let client = ClientEnd {
            pieces,
            last_word: Some(last_word),
        };
        place.send(Request::Submit(Box::new((key, submission, client))));
        Ok(CallStream {
            receiver,
            key,
            cancel: Some(cancel),
        })
    }

    /// Cancels a call by its client's name for it; whether it was open.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn cancel(&self, tenant: TenantId, call: CallId) -> Result<bool, Ended> {
        let (answer, was_open) = oneshot::channel();
        self.send(Request::CancelByName {
            tenant,
            call,
            answer,
        })
        .await?;
        was_open.await.map_err(|_| Ended)
    }

    /// Tells the state of something that a client asked for about a program or an engine.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn tell(&self, event: Event) -> Result<(), Ended> {
        self.send(Request::Tell(Box::new(event))).await
    }

    /// Reads what the dispatcher knows; runs between two turns, so it sees all that was told before.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(View<'_>) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (answer, value) = oneshot::channel();
        let look = move |view: View<'_>| {
            // Who asked may have left.
            let _ = answer.send(look(view));
        };
        self.send(Request::Read(Box::new(look))).await?;
        value.await.map_err(|_| Ended)
    }

    /// How many read what changes.
    pub fn watchers(&self) -> usize {
        self.changes.receiver_count()
    }

    /// What changes from now on. Who reads it slowly loses the oldest, and is told how many.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }

    /// From now on only calls of live programs come in.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn drain(&self) -> Result<(), Ended> {
        self.send(Request::Drain).await
    }

    async fn send(&self, request: Request) -> Result<(), Ended> {
        self.requests.send(request).await.map_err(|_| Ended)
    }
}

/// A call's answer, piece by piece. Dropped before its end, it cancels the call.
#[derive(Debug)]
pub struct CallStream {
    receiver: mpsc::Receiver<Piece>,
    key: CallKey,
    cancel: Option<mpsc::OwnedPermit<Request>>,
}

impl CallStream {
    /// The next piece. After [`Piece::End`] and [`Piece::Failed`] there is none.
    pub async fn next(&mut self) -> Piece {
        let piece = self
            .receiver
            .recv()
            .await
            .unwrap_or(Piece::Failed(Failure::EngineLost));
        if matches!(piece, Piece::End | Piece::Failed(_)) {
            self.cancel = None;
        }
        piece
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        if let Some(place) = self.cancel.take() {
            place.send(Request::Cancel(self.key));
        }
    }
}
