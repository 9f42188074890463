//! A small HTTP server on this machine, for tests of what speaks to real ones. Owns: its port and its connections. What
//! it answers is each test's own.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lps_runtime::task;
use tokio::net::TcpListener;

pub(crate) type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// A body that is there at once.
pub(crate) fn body(bytes: impl Into<Bytes>) -> BoxBody<Bytes, std::io::Error> {
    let never = |never: Infallible| match never {};
    Full::new(bytes.into()).map_err(never).boxed()
}

/// Answers on a free port until the test ends.
pub(crate) async fn serve(
    answer: impl Fn(&Request<Incoming>) -> Answer + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    task::spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            task::spawn(
                "connection",
                connection.serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}
