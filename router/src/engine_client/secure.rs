//! Who engines are, and what they are shown. Owns: TLS on connections to them. An engine's address comes and goes, so its
//! certificate is looked at for one name that all engines have, not for the address.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use lps_runtime::tls::{self, Current, Pair};
use lps_runtime::watched::Problem;
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tower::Service;

use crate::engine_client::connection::CONNECT_LIMIT;
use crate::metrics::{Metrics, Shown};

/// Why engines cannot be spoken to as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files.
    #[error(transparent)]
    Files(#[from] Problem),
    /// The name.
    #[error("--engine-tls-name: {0:?} is no DNS name")]
    Name(String, #[source] InvalidDnsNameError),
}

/// The router's side of connections to engines, and their name.
#[derive(Debug, Clone)]
pub struct Secured {
    side: Current<ClientConfig>,
    name: ServerName<'static>,
}

impl Secured {
    /// For engines of this name, with certificates of the authorities in `ca`, that are shown `own`.
    ///
    /// # Errors
    /// When the files make no sense, or the name is none.
    pub async fn open(
        (ca, own): (PathBuf, Pair),
        name: String,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let name = ServerName::try_from(name.clone()).map_err(|error| Error::Name(name, error))?;
        let told = move |expires| metrics.certificate(Shown::Engines, expires);
        let side = tls::client(own, ca, told).await?;
        Ok(Self { side, name })
    }
}

/// Connects. With certificates it speaks to nobody without, and without them in plain HTTP only.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) http: HttpConnector,
    pub(super) secured: Option<Secured>,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(Secured { side, name }) = &self.secured else {
            let connecting = self.http.call(uri);
            return Box::pin(async { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        // The certificates of now: those that are there already stay on the connections that they made.
        let config = ClientConfig::clone(&side.borrow().config);
        let mut https = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
            .enable_http1()
            .wrap_connector(self.http.clone());
        let connecting = https.call(uri);
        Box::pin(async { tokio::time::timeout(CONNECT_LIMIT, connecting).await? })
    }
}
