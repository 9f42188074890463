//! Connections: their bounds, their times, their end. Owns: accepting, `TCP_NODELAY` (without it the last small packet
//! of an answer waits 40 ms for an acknowledgement), the time for a request's header, and draining.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use lps_runtime::task;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pause after the system refused a connection (out of descriptors, mostly).
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most at once.
    pub connections: u32,
    /// For a request's header, and between two requests.
    pub header_time: Duration,
}

/// Serves until `stop` resolves, and then until every request is answered.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(bounds.connections as usize));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (
                listener.accept().await,
                permit.expect("the semaphore is never closed"),
            )
        };
        let (accepted, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = Connection {
                    stream,
                    routes: routes.clone(),
                    permit,
                };
                task::spawn("connection", connection.run(bounds, graceful.watcher()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

struct Connection {
    stream: TcpStream,
    routes: Router,
    permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, bounds: Bounds, watcher: Watcher) {
        let Self {
            stream,
            routes,
            permit,
        } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.header_time)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
        // A client that leaves is no news; its calls are cancelled as their futures are dropped.
        if let Err(error) = watcher.watch(served).await {
            tracing::trace!(%error, "a connection broke");
        }
        drop(permit);
    }
}
