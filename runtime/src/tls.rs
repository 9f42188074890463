//! TLS from files that change. Owns: which files make one side of a connection, what may be wrong with them, which versions
//! are spoken, and how long a handshake may take. Who is to be trusted is for who gives the files to say.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::watched::{Files, Problem};

/// A client that takes longer has no good reason.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// What is spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// A certificate, followed by those that lead from it to a known one, and its key; both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificates' file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

/// One side of connections, as its files make it.
#[derive(Debug)]
pub struct Side<C> {
    /// For new connections.
    pub config: Arc<C>,
    /// When its certificate does, in seconds since 1970.
    pub expires_unix_s: u64,
}

/// A side that changes with its files.
pub type Current<C> = watch::Receiver<Arc<Side<C>>>;

/// A server's side. With `client_ca` only clients with a certificate of one of these authorities are let in. `told` hears
/// when the certificate in use expires, and `None` when what the files hold is not used.
///
/// # Errors
/// When a file cannot be read, or they make no sense together.
pub async fn server(
    own: Pair,
    client_ca: Option<PathBuf>,
    told: impl Fn(Option<u64>) + Send + 'static,
) -> Result<Current<ServerConfig>, Problem> {
    let mut paths = vec![own.cert.clone(), own.key.clone()];
    paths.extend(client_ca.clone());
    let make = move |contents: &[Vec<u8>]| {
        let shown = Shown::read(&own, contents)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what both versions need");
        let builder = match &client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => builder.with_client_cert_verifier(clients_of(ca, &contents[2])?),
        };
        let made = builder.with_single_cert(shown.chain, shown.key);
        let mut config = made.map_err(|error| Problem::with(&own.key, error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Side {
            config: Arc::new(config),
            expires_unix_s: shown.expires_unix_s,
        })
    };
    follow(paths, make, told).await
}

/// A client's side that shows a certificate, for servers with one of the authorities in `ca`; `told` as for [`server`].
///
/// # Errors
/// When a file cannot be read, or they make no sense together.
pub async fn client(
    own: Pair,
    ca: PathBuf,
    told: impl Fn(Option<u64>) + Send + 'static,
) -> Result<Current<ClientConfig>, Problem> {
    let paths = vec![own.cert.clone(), own.key.clone(), ca.clone()];
    let make = move |contents: &[Vec<u8>]| {
        let shown = Shown::read(&own, contents)?;
        let made = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what both versions need")
            .with_root_certificates(authorities(&ca, &contents[2])?)
            .with_client_auth_cert(shown.chain, shown.key);
        Ok(Side {
            config: Arc::new(made.map_err(|error| Problem::with(&own.key, error))?),
            expires_unix_s: shown.expires_unix_s,
        })
    };
    follow(paths, make, told).await
}

/// A client's side that shows nothing, for servers with a certificate of one of the authorities in `ca`, which is read once;
/// without one, for none.
///
/// # Errors
/// When the file cannot be read, or has no authority.
pub fn trusting(ca: Option<&Path>) -> Result<ClientConfig, Problem> {
    let read = |ca: &Path| {
        let pem = std::fs::read(ca).map_err(|error| Problem::with(ca, error))?;
        authorities(ca, &pem)
    };
    let roots = ca.map_or_else(|| Ok(Arc::new(RootCertStore::empty())), read)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has what both versions need");
    let builder = builder.with_root_certificates(roots);
    Ok(builder.with_no_client_auth())
}

async fn follow<C: std::fmt::Debug + Send + Sync + 'static>(
    paths: Vec<PathBuf>,
    make: impl Fn(&[Vec<u8>]) -> Result<Side<C>, Problem> + Send + 'static,
    told: impl Fn(Option<u64>) + Send + 'static,
) -> Result<Current<C>, Problem> {
    let files = Files {
        what: "certificates",
        paths,
        make: Box::new(make),
        told: Box::new(move |side: Option<&Side<C>>| told(side.map(|side| side.expires_unix_s))),
    };
    files.open().await
}

/// What computes: ring, in every process alike.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What one side shows of itself.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    expires_unix_s: u64,
}

impl Shown {
    /// From the contents of the certificates' file and of the key's.
    fn read(own: &Pair, contents: &[Vec<u8>]) -> Result<Self, Problem> {
        let chain = certificates(&own.cert, &contents[0])?;
        let key = PrivateKeyDer::from_pem_slice(&contents[1]).map_err(|_| {
            Problem::with(
                &own.key,
                "it holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)",
            )
        })?;
        let signing = provider().key_provider.load_private_key(key.clone_key());
        let signing = signing.map_err(|error| Problem::with(&own.key, error))?;
        let certified = rustls::sign::CertifiedKey::new(chain.clone(), signing);
        if certified.keys_match().is_err() {
            let says = format!(
                "it is not the key of the certificate in {}; write both files anew",
                own.cert.display()
            );
            return Err(Problem::with(&own.key, says));
        }
        let expires_unix_s = expiry(&own.cert, &chain[0])?;
        Ok(Self {
            chain,
            key,
            expires_unix_s,
        })
    }
}

/// At least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Problem::with(path, "it holds no certificate in PEM")),
    }
}

fn authorities(path: &Path, pem: &[u8]) -> Result<Arc<RootCertStore>, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| Problem::with(path, error))?;
    }
    Ok(Arc::new(roots))
}

fn clients_of(path: &Path, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let roots = authorities(path, pem)?;
    let made = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
    made.map_err(|error| Problem::with(path, error))
}

/// When a certificate expires, in seconds since 1970.
fn expiry(path: &Path, certificate: &CertificateDer<'_>) -> Result<u64, Problem> {
    let read = Certificate::from_der(certificate);
    let read = read.map_err(|error| Problem::with(path, error))?;
    let end = read.tbs_certificate().validity().not_after;
    let expires_unix_s = end.to_unix_duration().as_secs();
    if expires_unix_s <= UnixTime::now().as_secs() {
        let says = format!(
            "its certificate expired at {}; have it renewed",
            end.to_date_time()
        );
        return Err(Problem::with(path, says));
    }
    Ok(expires_unix_s)
}

/// A connection over TLS.
pub type Inside = TlsStream<TcpStream>;

/// Greets clients with the certificate of now.
#[derive(Debug, Clone)]
pub struct Acceptor(Current<ServerConfig>);

impl Acceptor {
    /// Shows what this side shows.
    pub const fn new(side: Current<ServerConfig>) -> Self {
        Self(side)
    }

    /// The connection inside, once both sides know each other.
    ///
    /// # Errors
    /// When the client does not speak TLS, is not known, or takes too long.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Inside> {
        let config = Arc::clone(&self.0.borrow().config);
        let handshake = TlsAcceptor::from(config).accept(stream);
        let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, handshake);
        handshake.await.unwrap_or_else(|_| {
            let says = format!("no handshake in {} s", HANDSHAKE_LIMIT.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, says))
        })
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
