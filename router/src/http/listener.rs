//! Connections: their bounds, their times, their end. Owns: accepting, TLS where there is a certificate, `TCP_NODELAY` (without it the last small packet
//! of an answer waits 40 ms for an acknowledgement), the time for a request's header, and draining.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use lps_runtime::task;
use lps_runtime::tls::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
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

/// Where clients come in.
#[derive(Debug)]
pub struct Door {
    /// Where they connect.
    pub listener: TcpListener,
    /// Greets those that speak TLS; `None`: they speak plain HTTP.
    pub acceptor: Option<Acceptor>,
}

/// Serves until `stop` resolves, and then until every request is answered.
pub async fn serve(
    Door { listener, acceptor }: Door,
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
                    routes: routes.clone(),
                    header_time: bounds.header_time,
                    watcher: graceful.watcher(),
                    permit,
                };
                task::spawn("connection", connection.run(stream, acceptor.clone()));
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
    routes: Router,
    header_time: Duration,
    watcher: Watcher,
    permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<Acceptor>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        // Handshakes have no bound of their own: they hold a connection's permit, for a bounded time, and behind a smaller
        // bound who stalls in it would keep the others out.
        match acceptor {
            None => self.serve(stream).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => self.serve(stream).await,
                Err(error) => tracing::debug!(%error, "a client speaks no TLS that is known here"),
            },
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self {
            routes,
            header_time,
            watcher,
            permit,
        } = self;
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_time)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
        // A client that leaves is no news; its calls are cancelled as their futures are dropped.
        if let Err(error) = watcher.watch(served).await {
            tracing::trace!(%error, "a connection broke");
        }
        drop(permit);
    }
}
