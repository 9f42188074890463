//! What is sent or written several at once. Owns: how long the first waits for others, and that nothing waits any more
//! when the router ends. It must not know what becomes of a batch.

use std::time::Duration;

use lps_runtime::task;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Items that may wait.
const WAITING_MAX: usize = 8_192;
/// Items taken at once.
const BATCH_MAX: usize = 512;
/// Longest time that an item waits for others.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// Items as they come, to be taken several at once.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    items: mpsc::Receiver<T>,
    ended: oneshot::Receiver<()>,
}

/// Whoever takes the batches, at work.
#[derive(Debug)]
pub(crate) struct Taking {
    name: &'static str,
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

/// Starts a task that takes batches until it is told to end.
pub(crate) fn start<T, F>(
    name: &'static str,
    take: impl FnOnce(Batches<T>) -> F,
) -> (mpsc::Sender<T>, Taking)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, items) = mpsc::channel(WAITING_MAX);
    let (end, ended) = oneshot::channel();
    let task = task::spawn(name, take(Batches { items, ended }));
    (sender, Taking { name, task, end })
}

impl Taking {
    /// Takes what waits, and nothing that comes later. A taker that hangs is left behind after `limit`.
    pub(crate) async fn end(self, limit: Duration) {
        drop(self.end);
        // The task logs its own panic.
        if tokio::time::timeout(limit, self.task).await.is_err() {
            tracing::warn!(
                task = self.name,
                "the last batch is lost: it has taken {} s",
                limit.as_secs()
            );
        }
    }
}

impl<T> Batches<T> {
    /// The next batch, never an empty one; `None` when the end has come and nothing waits.
    pub(crate) async fn next(&mut self) -> Option<Vec<T>> {
        let mut batch = Vec::new();
        if !self.more(&mut batch).await {
            return None;
        }
        let others = async { while batch.len() < BATCH_MAX && self.more(&mut batch).await {} };
        // A batch that is full, one that is the last, and one whose time is over are all good to go.
        let _ = tokio::time::timeout(BATCH_TIME, others).await;
        Some(batch)
    }

    /// Waits for items; `false` when there will be none.
    async fn more(&mut self, batch: &mut Vec<T>) -> bool {
        let room = BATCH_MAX - batch.len();
        if !self.items.is_closed() {
            tokio::select! {
                taken = self.items.recv_many(batch, room) => return taken > 0,
                // Told, or whoever would have told it is gone.
                _ = &mut self.ended => self.items.close(),
            }
        }
        self.items.recv_many(batch, room).await > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A taker that hands on the batches that it gets.
    fn taker() -> (mpsc::Sender<u32>, Taking, mpsc::Receiver<Vec<u32>>) {
        let (tell, told) = mpsc::channel(8);
        let (items, taking) = start("test", async move |mut batches: Batches<u32>| {
            while let Some(batch) = batches.next().await {
                tell.send(batch).await.unwrap();
            }
        });
        (items, taking, told)
    }

    #[tokio::test]
    async fn a_batch_that_is_full_goes_and_at_the_end_what_waits_goes_too() {
        let (items, taking, mut told) = taker();
        for item in 0..BATCH_MAX as u32 + 2 {
            items.send(item).await.unwrap();
        }
        assert_eq!(told.recv().await.unwrap().len(), BATCH_MAX);
        taking.end(Duration::from_secs(60)).await;
        assert_eq!(
            told.recv().await.unwrap(),
            [BATCH_MAX as u32, BATCH_MAX as u32 + 1]
        );
        assert_eq!(told.recv().await, None);
        assert!(items.try_send(3).is_err(), "nothing is taken after the end");
    }

    #[tokio::test]
    async fn the_first_waits_for_others_but_not_for_ever() {
        let (items, _taking, mut told) = taker();
        for item in [1, 2] {
            items.send(item).await.unwrap();
        }
        assert_eq!(told.recv().await.unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn who_hangs_is_left_behind() {
        let (_items, taking) = start("test", async |_: Batches<u32>| std::future::pending().await);
        taking.end(Duration::from_millis(1)).await;
    }
}
