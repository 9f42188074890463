//! `lps model pull` against a small hub on this machine, which does what real ones do: redirects, cuts, refusals.

mod http_server;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt, StreamBody};
use http_server::{Answer, body};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use lps_cli::model::pull::{Options, Summary, pull};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: usize = 300_000;

/// What goes wrong, and how often.
#[derive(Default)]
struct Faults {
    cuts: AtomicUsize,
    too_many: AtomicUsize,
    wrong: AtomicUsize,
    deaf_to_ranges: AtomicUsize,
    token: Option<&'static str>,
    no_weights: bool,
}

#[derive(Default)]
struct Hub {
    faults: Faults,
    requests: AtomicUsize,
    weight_bytes: AtomicUsize,
    weights_from: AtomicUsize,
    goes_back: AtomicUsize,
}

fn weights() -> Vec<u8> {
    (0..WEIGHTS).map(|at| (at * 31 % 251) as u8).collect()
}

const CONFIG: &[u8] = br#"{"model_type": "qwen3"}"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status(status: u16) -> Answer {
    let mut answer = Response::new(body("{\"error\": \"because\"}"));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

/// Whether a fault that is left is due now.
fn due(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok()
}

fn tree(no_weights: bool) -> Value {
    let blob = [format!("blob {}\0", CONFIG.len()).as_bytes(), CONFIG].concat();
    let blob = hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref());
    let sha256 = hex(digest(&SHA256, &weights()).as_ref());
    let name = if no_weights {
        "pytorch_model.bin"
    } else {
        "model.safetensors"
    };
    json!([
        {"type": "directory", "path": "original", "size": 0, "oid": "0"},
        {"type": "file", "path": "README.md", "size": 7, "oid": "0"},
        {"type": "file", "path": "config.json", "size": CONFIG.len(), "oid": blob},
        {"type": "file", "path": name, "size": WEIGHTS, "oid": "0",
         "lfs": {"oid": sha256, "size": WEIGHTS, "pointerSize": 134}},
    ])
}

impl Hub {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let path = request.uri().path();
        if path == "/blobs/weights" {
            let is_told = request.headers().contains_key("authorization");
            assert_eq!(
                is_told,
                self.faults.token.is_some(),
                "the same machine is the hub's"
            );
            return self.weights(request);
        }
        let token = request.headers().get("authorization");
        let token = token.and_then(|token| token.to_str().ok());
        let wanted = self.faults.token.map(|token| format!("Bearer {token}"));
        if wanted.is_some() && token != wanted.as_deref() {
            return status(401);
        }
        if due(&self.faults.too_many) {
            let mut answer = status(429);
            answer.headers_mut().insert("retry-after", 0.into());
            return answer;
        }
        let resolve = format!("/o/m/resolve/{COMMIT}");
        if path == "/api/models/o/m/revision/main"
            || path == format!("/api/models/o/m/revision/{COMMIT}")
        {
            Response::new(body(json!({"sha": COMMIT, "siblings": []}).to_string()))
        } else if path == format!("/api/models/o/m/tree/{COMMIT}") {
            Response::new(body(tree(self.faults.no_weights).to_string()))
        } else if path == format!("{resolve}/config.json") {
            Response::new(body(CONFIG))
        } else if path == format!("{resolve}/model.safetensors") {
            let mut answer = status(302);
            let location = "/blobs/weights".parse().expect("a header");
            answer.headers_mut().insert("location", location);
            answer
        } else {
            status(404)
        }
    }

    fn weights(&self, request: &Request<Incoming>) -> Answer {
        let mut content = weights();
        if due(&self.faults.wrong) {
            content[WEIGHTS / 2] ^= 1;
        }
        let range = request.headers().get("range");
        let range = range.and_then(|range| {
            range
                .to_str()
                .ok()?
                .strip_prefix("bytes=")?
                .strip_suffix('-')
        });
        let range = range.filter(|_| !due(&self.faults.deaf_to_ranges));
        let from: usize = range.map_or(0, |from| from.parse().expect("a number"));
        let rest = Bytes::from(content.split_off(from));
        let sent = if due(&self.faults.cuts) {
            rest.len() / 2
        } else {
            rest.len()
        };
        let before = self.weights_from.swap(from, Ordering::SeqCst);
        self.goes_back
            .fetch_add(usize::from(from < before), Ordering::SeqCst);
        self.weight_bytes.fetch_add(sent, Ordering::SeqCst);
        let mut answer = if sent < rest.len() {
            let data = Frame::data(rest.slice(..sent));
            // What is written before the cut is sent only when the body waits.
            let cut = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            });
            let frames = stream::once(async { Ok(data) }).chain(cut);
            Response::new(BodyExt::boxed(StreamBody::new(frames)))
        } else {
            Response::new(body(rest))
        };
        if range.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {from}-{}/{WEIGHTS}", WEIGHTS - 1);
            let range = range.parse().expect("a header");
            answer.headers_mut().insert("content-range", range);
        }
        answer
    }

    fn asked(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

async fn serve(faults: Faults) -> (Arc<Hub>, SocketAddr) {
    let hub = Arc::new(Hub {
        faults,
        ..Hub::default()
    });
    let serving = Arc::clone(&hub);
    let address = http_server::serve(move |request| serving.answer(request)).await;
    (hub, address)
}

fn options(address: SocketAddr, to: &Path) -> Options {
    Options {
        repo: "o/m".parse().expect("a repository"),
        revision: "main".parse().expect("a revision"),
        to: to.join("model"),
        token: None,
        endpoint: format!("http://{address}"),
        offline: false,
        pauses: ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(1))
            .with_max_delay(Duration::from_millis(1))
            .with_max_times(3),
    }
}

async fn pulled(options: &Options) -> Summary {
    let summary = pull(options).await.expect("is pulled");
    let read = |name| std::fs::read(options.to.join(name)).expect("is there");
    assert_eq!(read("config.json"), CONFIG);
    assert!(read("model.safetensors") == weights());
    assert!(!options.to.join("model.safetensors.partial").exists());
    assert_eq!((summary.commit.as_str(), summary.files), (COMMIT, 2));
    assert_eq!(summary.bytes as usize, WEIGHTS + CONFIG.len());
    summary
}

async fn refused(options: &Options) -> String {
    let error = pull(options).await.expect_err("is refused");
    let error = anyhow::Error::from(error);
    assert!(!options.to.join(".complete").exists());
    format!("{error:#}")
}

#[tokio::test]
async fn a_repository_is_fetched_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hub, address) = serve(Faults::default()).await;
    let mut options = options(address, folder.path());
    let summary = pulled(&options).await;
    assert_eq!(summary.fetched_bytes, summary.bytes);
    assert!(!options.to.join("README.md").exists());
    assert_eq!(hub.asked(), 5, "revision, tree, two files, one redirect");
    assert_eq!(pulled(&options).await.fetched_bytes, 0);
    assert_eq!(hub.asked(), 1, "a branch may have moved");
    options.revision = COMMIT.parse().expect("a revision");
    pulled(&options).await;
    options.revision = "main".parse().expect("a revision");
    options.offline = true;
    pulled(&options).await;
    assert_eq!(
        hub.asked(),
        0,
        "a commit does not move, and offline asks nobody"
    );
    std::fs::remove_file(options.to.join("config.json")).expect("is there");
    let error = pull(&options).await.expect_err("is not complete");
    assert!(
        error.to_string().contains("does not hold o/m at main"),
        "{error}"
    );
    options.offline = false;
    assert_eq!(pulled(&options).await.fetched_bytes, CONFIG.len() as u64);
    options.repo = "o/other".parse().expect("a repository");
    let error = pull(&options).await.expect_err("holds another");
    assert!(error.to_string().contains("holds o/m"), "{error}");
}

#[tokio::test]
async fn what_is_there_serves_while_the_hub_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_hub, address) = serve(Faults::default()).await;
    let mut options = options(address, folder.path());
    pulled(&options).await;
    options.endpoint = "http://127.0.0.1:1".to_owned();
    assert_eq!(pulled(&options).await.fetched_bytes, 0);
}

#[tokio::test]
async fn a_cut_connection_is_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = Faults {
        cuts: AtomicUsize::new(6),
        too_many: AtomicUsize::new(2),
        ..Faults::default()
    };
    let (hub, address) = serve(faults).await;
    pulled(&options(address, folder.path())).await;
    assert_eq!(hub.faults.cuts.load(Ordering::SeqCst), 0);
    assert!(hub.weights_from.load(Ordering::SeqCst) > WEIGHTS / 2);
    let goes_back = hub.goes_back.load(Ordering::SeqCst);
    assert_eq!(goes_back, 0, "what came is not fetched again");
}

#[tokio::test]
async fn a_partial_file_of_an_earlier_pull_is_gone_on_with() {
    for deaf in [0, 1] {
        let folder = tempfile::tempdir().expect("a folder");
        let faults = Faults {
            deaf_to_ranges: AtomicUsize::new(deaf),
            ..Faults::default()
        };
        let (hub, address) = serve(faults).await;
        let options = options(address, folder.path());
        std::fs::create_dir_all(&options.to).expect("a folder");
        let partial = options.to.join("model.safetensors.partial");
        std::fs::write(partial, &weights()[..100_000]).expect("is written");
        pulled(&options).await;
        let sent = hub.weight_bytes.load(Ordering::SeqCst);
        assert_eq!(sent, if deaf == 0 { 200_000 } else { WEIGHTS });
    }
}

#[tokio::test]
async fn wrong_bytes_are_fetched_once_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = |times| Faults {
        wrong: AtomicUsize::new(times),
        ..Faults::default()
    };
    let (_hub, address) = serve(wrong(2)).await;
    let options = options(address, folder.path());
    let error = refused(&options).await;
    assert!(
        error.contains("model.safetensors: its content is not what"),
        "{error}"
    );
    assert!(!options.to.join("model.safetensors.partial").exists());
    let (hub, address) = serve(wrong(1)).await;
    pulled(&self::options(address, folder.path())).await;
    assert_eq!(hub.weight_bytes.load(Ordering::SeqCst), 2 * WEIGHTS);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = Some("hf_secret");
    let (hub, address) = serve(Faults {
        token,
        ..Faults::default()
    })
    .await;
    let mut options = options(address, folder.path());
    let error = refused(&options).await;
    assert!(error.contains("needs a token: set HF_TOKEN"), "{error}");
    options.token = Some("wrong".to_owned().into());
    assert!(refused(&options).await.contains("the token is wrong"));
    assert_eq!(hub.asked(), 2, "a refusal is not asked for twice");
    options.token = Some("hf_secret\n".to_owned().into());
    options.revision = "gone".parse().expect("a revision");
    let error = refused(&options).await;
    assert_eq!(error, "revision gone of o/m does not exist");
    options.revision = "main".parse().expect("a revision");
    pulled(&options).await;

    let folder = tempfile::tempdir().expect("a folder");
    let no_weights = Faults {
        no_weights: true,
        ..Faults::default()
    };
    let (_hub, address) = serve(no_weights).await;
    let error = refused(&self::options(address, folder.path())).await;
    assert!(error.contains("no *.safetensors"), "{error}");
    let too_many = AtomicUsize::new(usize::MAX);
    let (hub, address) = serve(Faults {
        too_many,
        ..Faults::default()
    })
    .await;
    let error = refused(&self::options(address, folder.path())).await;
    assert!(error.contains("429"), "{error}");
    assert_eq!(hub.asked(), 4, "a first try and three more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pulls_of_one_folder_fetch_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hub, address) = serve(Faults::default()).await;
    let options = options(address, folder.path());
    let (one, other) = tokio::join!(pulled(&options), pulled(&options));
    assert_eq!(one.fetched_bytes.min(other.fetched_bytes), 0);
    assert_eq!(hub.weight_bytes.load(Ordering::SeqCst), WEIGHTS);
}

#[tokio::test]
async fn a_checkpoint_that_was_not_pulled_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_hub, address) = serve(Faults::default()).await;
    let options = options(address, folder.path());
    std::fs::create_dir_all(&options.to).expect("a folder");
    std::fs::write(options.to.join("config.json"), "mine").expect("is written");
    let error = refused(&options).await;
    assert!(error.contains("was not pulled"), "{error}");
}
