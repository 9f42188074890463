//! Connections that routers make over TLS. Owns: that handshakes run beside each other, so that who stalls in one keeps no
//! other out, and how many there are at once.

use std::io;

use axum::serve::Listener;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use lps_runtime::tls::{Acceptor, Inside};
use tokio::net::TcpStream;

/// Handshakes at once; further connections wait in the listener's backlog. Those of all routers together are fewer.
const HANDSHAKES_MAX: usize = 1024;

/// A connection on its way in, from this address.
type Handshake<A> = BoxFuture<'static, io::Result<(Inside, A)>>;

/// Lets in who shows a certificate.
pub(super) struct Secured<L: Listener> {
    listener: L,
    acceptor: Acceptor,
    handshakes: FuturesUnordered<Handshake<L::Addr>>,
}

impl<L: Listener> Secured<L> {
    pub(super) fn new(listener: L, acceptor: Acceptor) -> Self {
        Self {
            listener,
            acceptor,
            handshakes: FuturesUnordered::new(),
        }
    }
}

impl<L: Listener<Io = TcpStream, Addr: 'static>> Listener for Secured<L> {
    type Io = Inside;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Inside, L::Addr) {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                (stream, address) = self.listener.accept(), if has_room => {
                    let acceptor = self.acceptor.clone();
                    self.handshakes.push(Box::pin(async move {
                        Ok((acceptor.accept(stream).await?, address))
                    }));
                }
                Some(greeted) = self.handshakes.next() => match greeted {
                    Ok(inside) => return inside,
                    Err(error) => tracing::debug!(%error, "a client shows no certificate that is known here"),
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}
