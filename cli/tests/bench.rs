//! `lps bench` against a small server that speaks OpenAI's API below a path and wants a key, as others do.

mod http_server;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_server::{Answer, body};
use hyper::Request;
use hyper::body::Incoming;
use serde_json::json;
use tokio::process::Command;

const KEY: &str = "sk-0123456789abcdef";

/// What was asked for below the path, with the key.
#[derive(Default)]
struct Server {
    models: AtomicUsize,
    chats: AtomicUsize,
    strays: AtomicUsize,
}

impl Server {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let key = request.headers().get("authorization");
        let key = key.and_then(|key| key.to_str().ok()).unwrap_or("none");
        if key != format!("Bearer {KEY}") {
            let message = format!("{key:?} is not the key of anyone");
            let mut refusal = Answer::new(body(json!({"error": {"message": message}}).to_string()));
            *refusal.status_mut() = hyper::StatusCode::UNAUTHORIZED;
            return refusal;
        }
        match request.uri().path() {
            "/prefix/v1/models" => {
                self.models.fetch_add(1, Ordering::SeqCst);
                let models = json!({"object": "list", "data": [{"id": "m", "object": "model"}]});
                Answer::new(body(models.to_string()))
            }
            "/prefix/v1/chat/completions" => {
                self.chats.fetch_add(1, Ordering::SeqCst);
                let word = json!({"choices": [{"index": 0, "delta": {"content": "word"}}]});
                let usage = json!({"prompt_tokens": 20, "completion_tokens": 1});
                let end = json!({"choices": [], "usage": usage});
                let events = format!("data: {word}\n\ndata: {end}\n\ndata: [DONE]\n\n");
                Answer::new(body(events))
            }
            _ => {
                self.strays.fetch_add(1, Ordering::SeqCst);
                let mut stray = Answer::new(body(""));
                *stray.status_mut() = hyper::StatusCode::NOT_FOUND;
                stray
            }
        }
    }

    /// Lists of models, chats, and what is not there, since this was asked last.
    fn asked(&self) -> [usize; 3] {
        [&self.models, &self.chats, &self.strays].map(|count| count.swap(0, Ordering::SeqCst))
    }
}

async fn serve() -> (Arc<Server>, SocketAddr) {
    let server = Arc::new(Server::default());
    let serving = Arc::clone(&server);
    let address = http_server::serve(move |request| serving.answer(request)).await;
    (server, address)
}

/// A study of the tool itself, with this key in the environment.
async fn bench(words: &[&str], url: &str, key: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lps"));
    command
        .arg("bench")
        .args(words)
        .args(["--plain", "--url", url]);
    command.env_remove("OPENAI_API_KEY").kill_on_drop(true);
    if let Some(key) = key {
        command.env("OPENAI_API_KEY", key);
    }
    command.output().await.expect("it runs")
}

fn told(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// Everything that stands in a folder's files.
fn kept(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).expect("a folder");
    let text = |file: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(file.expect("a file").path()).expect("text")
    };
    files.map(text).collect()
}

#[tokio::test]
async fn a_key_and_a_path_are_used_and_the_key_is_kept_nowhere() {
    let (server, address) = serve().await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("UTF-8");
    let run = [
        "run",
        "uniform,programs=2,calls=1,arrivals=at-once",
        "--out",
        out,
    ];
    let batch = [
        "batch",
        "--runs",
        "1",
        "--prompts",
        "2",
        "--concurrency",
        "2",
        "--out",
        out,
    ];
    for (words, chats) in [(&run[..], 2 + 2), (&batch[..], 2 + 2)] {
        // As it stands in OpenAI's clients, and without what is the same everywhere.
        for url in [
            format!("http://{address}/prefix/v1"),
            format!("http://{address}/prefix/"),
        ] {
            let output = bench(words, &url, Some(KEY)).await;
            let told = told(&output);
            assert!(output.status.success(), "{told}");
            assert_eq!(
                server.asked(),
                [1, chats, 0],
                "two to count tokens, two of the study"
            );
            let kept = kept(folder.path());
            assert!(kept.contains("\"label\""), "{kept}");
            assert!(!told.contains(KEY) && !kept.contains(KEY), "{told}{kept}");
        }
    }
}

#[tokio::test]
async fn a_flag_stands_over_the_environment() {
    let (server, address) = serve().await;
    let url = format!("http://{address}/prefix");
    let words = [
        "batch",
        "--runs",
        "1",
        "--prompts",
        "1",
        "--concurrency",
        "1",
        "--api-key",
        KEY,
    ];
    let output = bench(&words, &url, Some("sk-of-somebody-else")).await;
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(server.asked(), [1, 3, 0]);
}

#[tokio::test]
async fn who_refuses_without_a_word_is_named() {
    let (_server, address) = serve().await;
    let url = format!("http://{address}/elsewhere");
    let output = bench(&["run", "uniform,programs=1,calls=1"], &url, Some(KEY)).await;
    let told = told(&output);
    let expected = format!("{url} refuses and does not say why (404 Not Found)");
    assert!(told.contains(&expected), "{told}");
}

#[tokio::test]
async fn a_key_that_is_refused_is_not_repeated() {
    let (_server, address) = serve().await;
    let url = format!("http://{address}/prefix/v1");
    let words = ["run", "uniform,programs=1,calls=1"];
    for (key, expected) in [
        (
            Some("sk-of-somebody-else"),
            "[hidden]\" is not the key of anyone (401",
        ),
        // An unset variable often is an empty one.
        (Some(""), "\"none\" is not the key of anyone (401"),
        (None, "\"none\" is not the key of anyone (401"),
        (
            Some("sk-of-\u{1}somebody-else"),
            "the API key has characters that no header may have",
        ),
    ] {
        let output = bench(&words, &url, key).await;
        let told = told(&output);
        assert!(!output.status.success(), "{told}");
        assert!(told.contains(expected), "{key:?}: {told}");
        assert!(!told.contains("somebody-else"), "{told}");
    }
}
