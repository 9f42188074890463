//! Sides made of certificates that are written here, and what becomes of those that make no sense.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::*;

const NAME: &str = "lps-engine";

/// Who makes certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Issued {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, last_year: i32) -> Issued {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Issued {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A folder with the three files of a side.
struct Folder(TempDir);

impl Folder {
    fn new(issued: &Issued, ca: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write("tls.key", &issued.key);
        folder.write("tls.crt", &issued.cert);
        folder.write("ca.crt", ca);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn pair(&self) -> Pair {
        Pair {
            cert: self.path("tls.crt"),
            key: self.path("tls.key"),
        }
    }

    async fn server(&self) -> Result<Current<ServerConfig>, Problem> {
        server(self.pair(), Some(self.path("ca.crt")), |_| {}).await
    }

    async fn client(&self) -> ClientConfig {
        let side = client(self.pair(), self.path("ca.crt"), |_| {}).await;
        side.unwrap().borrow().config.as_ref().clone()
    }
}

#[tokio::test]
async fn files_that_make_no_sense_are_refused_by_their_names() {
    let authority = Authority::new();
    let [good, other] = [2100, 2100].map(|year| authority.issue(year));
    let expired = authority.issue(2020);
    let cut = &good.cert[..good.cert.len() / 2];
    for (file, text, says) in [
        ("tls.crt", "", "it holds no certificate in PEM"),
        ("tls.crt", cut, "it holds no certificate in PEM"),
        ("tls.crt", &good.key, "it holds no certificate in PEM"),
        ("tls.key", "", "it holds no private key in PEM"),
        ("tls.key", &good.cert, "it holds no private key in PEM"),
        (
            "tls.key",
            &other.key,
            "it is not the key of the certificate in",
        ),
        ("ca.crt", "", "it holds no certificate in PEM"),
        ("ca.crt", &good.key, "it holds no certificate in PEM"),
    ] {
        let folder = Folder::new(&good, &authority.pem());
        assert!(folder.server().await.is_ok());
        folder.write(file, text);
        let problem = folder.server().await.unwrap_err().to_string();
        let named = format!("{}: {says}", folder.path(file).display());
        assert!(problem.starts_with(&named), "{problem}");
    }
    let folder = Folder::new(&expired, &authority.pem());
    let problem = folder.server().await.unwrap_err().to_string();
    let named = folder.path("tls.crt");
    let says = format!(
        "{}: its certificate expired at 2020-01-01T00:00:00Z; have it renewed",
        named.display()
    );
    assert_eq!(problem, says);
    std::fs::remove_file(&named).unwrap();
    let problem = folder.server().await.unwrap_err().to_string();
    assert!(
        problem.starts_with(&named.display().to_string()),
        "{problem}"
    );
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    let waited = tokio::time::timeout(limit, future).await;
    waited.expect("it comes soon")
}

#[tokio::test]
async fn what_makes_no_sense_leaves_what_was_before_in_use() {
    let authority = Authority::new();
    let folder = Folder::new(&authority.issue(2100), &authority.pem());
    let (tell, mut told) = mpsc::unbounded_channel();
    let side = server(folder.pair(), None, move |expires| {
        tell.send(expires).unwrap();
    });
    let side = side.await.unwrap();
    let first = Arc::clone(&side.borrow());
    let mut told = async || soon(told.recv()).await.expect("the side is in use");
    assert_eq!(told().await, Some(first.expires_unix_s));

    folder.write("tls.crt", "");
    assert_eq!(told().await, None);
    assert!(Arc::ptr_eq(&first, &side.borrow()));

    // Files are read one after the other: between the two the key is of another certificate.
    let next = authority.issue(2101);
    folder.write("tls.crt", &next.cert);
    folder.write("tls.key", &next.key);
    let expires = loop {
        if let Some(expires) = told().await {
            break expires;
        }
    };
    let now = Arc::clone(&side.borrow());
    assert!(expires > first.expires_unix_s);
    assert_eq!(now.expires_unix_s, expires);
}

/// Whether both sides take each other.
async fn speak(own: Current<ServerConfig>, other: ClientConfig) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let connecting = TcpStream::connect(listener.local_addr()?);
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    let connector = TlsConnector::from(Arc::new(other));
    let name = ServerName::try_from(NAME).unwrap();
    let acceptor = Acceptor::new(own);
    let accepting = acceptor.accept(accepted?.0);
    let (accepted, connected) = tokio::join!(accepting, connector.connect(name, connected?));
    accepted.and(connected).map(|_| ())
}

#[tokio::test]
async fn who_asks_for_certificates_speaks_to_those_who_show_one_only() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Folder::new(&ours.issue(2100), &ours.pem());
    let [known, stranger] = [&ours, &theirs].map(|who| Folder::new(&who.issue(2100), &ours.pem()));
    let side = server.server().await.unwrap();
    let [shows, shows_another] = [known.client().await, stranger.client().await];
    let shows_none = || trusting(Some(&server.path("ca.crt"))).unwrap();
    assert!(speak(side.clone(), shows).await.is_ok());
    assert!(speak(side.clone(), shows_another).await.is_err());
    assert!(speak(side, shows_none()).await.is_err());

    let side = super::server(server.pair(), None, |_| {}).await.unwrap();
    assert!(speak(side.clone(), shows_none()).await.is_ok());
    // A client trusts whom it was told to, and nobody without.
    server.write("ca.crt", &theirs.pem());
    assert!(speak(side.clone(), shows_none()).await.is_err());
    assert!(speak(side, trusting(None).unwrap()).await.is_err());
}
