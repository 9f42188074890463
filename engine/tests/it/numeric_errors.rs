//! A checkpoint with not-a-number in it, over HTTP: the calls that meet it end with an error that says so, and nothing
//! else does.

use std::fs;
use std::path::Path;

use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use lps_api::protocol::{CallState, EngineEvent};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Engine;

const PLAIN: &str = "/v1/completions";
/// The token whose embedding is spoilt. The output layer is sound, so it can also be drawn.
const SPOILT: u32 = 700;
const EMBEDDING: &str = "model.embed_tokens.weight";
/// Bytes of a number and of a row, which is a token's.
const NUMBER: usize = 2;
const ROW: usize = 192 * NUMBER;

/// The demo model with an output layer of its own and not-a-number, or infinity, in one embedding.
fn checkpoint(number: f32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        fs::copy(demo.join(name), folder.path().join(name)).unwrap();
    }
    let config = fs::read_to_string(demo.join("config.json")).unwrap();
    let untied = config.replace(
        "\"tie_word_embeddings\": true",
        "\"tie_word_embeddings\": false",
    );
    assert_ne!(untied, config);
    fs::write(folder.path().join("config.json"), untied).unwrap();

    let bytes = fs::read(demo.join("model.safetensors")).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let sound = whole.tensor(EMBEDDING).unwrap();
    let mut spoilt = sound.data().to_vec();
    assert_eq!(spoilt.len() % ROW, 0);
    let place = SPOILT as usize * ROW;
    let bits = ((number.to_bits() >> 16) as u16).to_le_bytes();
    spoilt[place..place + NUMBER].copy_from_slice(&bits);
    let spoilt = TensorView::new(sound.dtype(), sound.shape().to_vec(), &spoilt).unwrap();
    let others = whole.iter().filter(|(name, _)| *name != EMBEDDING);
    let tensors = others.chain([(EMBEDDING, spoilt), ("lm_head.weight", sound)]);
    let path = folder.path().join("model.safetensors");
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    folder
}

async fn start(folder: &TempDir) -> Engine {
    let model = folder.path().to_str().unwrap();
    Engine::start_model(
        model,
        "--model-name spoilt --dtype float32 --max-model-len 256",
    )
    .await
}

fn body(prompt: Value, fields: Value) -> Value {
    let mut body = json!({
        "model": "spoilt", "prompt": prompt, "temperature": 0, "max_tokens": 24,
        "ignore_eos": true, "return_token_ids": true,
    });
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn assert_numeric(error: &Value, expected: &str) {
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("model spoilt cannot go on with this call: the logits of"),
        "{message}"
    );
    assert!(message.contains(expected), "{message}");
    assert_eq!(
        (&error["code"], &error["type"], &error["param"]),
        (
            &json!("numeric_error"),
            &json!("server_error"),
            &Value::Null
        )
    );
}

#[tokio::test]
async fn the_call_that_meets_it_ends_and_the_others_do_not_notice() {
    for number in [f32::NAN, f32::INFINITY] {
        let folder = checkpoint(number);
        let engine = start(&folder).await;
        let sound = body(
            json!([5, 6, 7, 8]),
            json!({"n": 2, "temperature": 1, "seed": 3}),
        );
        let (status, alone) = engine.post(PLAIN, &sound).await;
        assert_eq!(status, StatusCode::OK, "{alone}");

        let spoilt = body(json!([5, 6, 7, SPOILT]), json!({"n": 3}));
        let two = body(json!([[9, 6], [5, SPOILT]]), json!({}));
        let beside = engine.post(PLAIN, &sound);
        let ((status, beside), (failed, error), (two_failed, two_error)) = tokio::join!(
            beside,
            engine.post(PLAIN, &spoilt),
            engine.post(PLAIN, &two)
        );
        assert_eq!(
            (status, &beside["choices"]),
            (StatusCode::OK, &alone["choices"])
        );
        assert_eq!(failed, StatusCode::INTERNAL_SERVER_ERROR);
        assert_numeric(
            &error["error"],
            "at position 4 hold not-a-number (NaN), in step ",
        );
        assert_eq!(error["lps"]["prompt_tokens"], 4);
        assert!(error["lps"]["executor_us"].as_u64().unwrap() > 0);
        assert_eq!(two_failed, StatusCode::INTERNAL_SERVER_ERROR);
        assert_numeric(&two_error["error"], "at position 2 hold");

        let (status, after) = engine.post(PLAIN, &sound).await;
        assert_eq!(
            (status, &after["choices"]),
            (StatusCode::OK, &alone["choices"])
        );
        assert_pages_are_back(&engine).await;
        engine.end().await;
    }
}

/// All pages are free or cached, and two calls are counted: not the one that was cancelled with the second.
async fn assert_pages_are_back(engine: &Engine) {
    let mut lines = engine.lines().await;
    let Some(EngineEvent::Hello(hello)) = lines.next().await else {
        panic!("no hello")
    };
    lines
        .until(|event| match event {
            EngineEvent::Heartbeat(load) => {
                let unused = load.kv_blocks_free + load.kv_blocks_cached;
                (unused == hello.kv_blocks_total).then_some(())
            }
            _ => None,
        })
        .await;
    let url = format!("{}/metrics", engine.admin);
    let response = engine.send(Method::GET, url, &[], Vec::new()).await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(
        text.contains("lps_engine_numeric_errors_total 2\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stream_that_meets_it_ends_with_the_error_and_the_router_hears_of_it() {
    let folder = checkpoint(f32::NAN);
    let engine = start(&folder).await;
    let mut lines = engine.lines().await;
    // The spoilt token is drawn first; it spoils the second draw.
    let bias = json!({"stream": true, "logit_bias": {SPOILT.to_string(): 100}});
    let (mut events, done) = engine.stream(PLAIN, &body(json!([5, 6, 7]), bias)).await;
    assert!(!done, "{events:?}");
    let last = events.pop().unwrap();
    assert_numeric(
        &last["error"],
        "at position 4 hold not-a-number (NaN), in step ",
    );
    assert_eq!(last["lps"]["output_tokens"], 1);
    assert_eq!(events[0]["choices"][0]["token_ids"], json!([SPOILT]));
    let unfinished = events
        .iter()
        .all(|event| event["choices"][0]["finish_reason"].is_null());
    assert!(unfinished, "{events:?}");
    let end = lines.until(|event| match event {
        EngineEvent::Progress { calls } => calls.into_iter().find(|call| call.state.is_end()),
        _ => None,
    });
    let end = end.await;
    assert_eq!(
        (end.state, end.usage.output_tokens.0),
        (CallState::Failed, 1)
    );
    drop(lines);
    engine.end().await;
}

#[tokio::test]
async fn a_vector_with_it_is_no_answer_either() {
    const PATH: &str = "/v1/embeddings";
    let folder = checkpoint(f32::NAN);
    let pooling = folder.path().join("1_Pooling");
    fs::create_dir(&pooling).unwrap();
    let mode = json!({"pooling_mode": "lasttoken"});
    fs::write(pooling.join("config.json"), mode.to_string()).unwrap();
    let engine = start(&folder).await;
    let sound = json!({"input": [[5, 6, 7], [8]]});
    let (status, alone) = engine.post(PATH, &sound).await;
    assert_eq!(status, StatusCode::OK, "{alone}");
    let spoilt = json!({"input": [[5, 6], [7, SPOILT]]});
    let ((status, beside), (failed, error)) =
        tokio::join!(engine.post(PATH, &sound), engine.post(PATH, &spoilt));
    assert_eq!(
        (status, beside["data"].as_array().unwrap().len()),
        (StatusCode::OK, 2)
    );
    assert_eq!(failed, StatusCode::INTERNAL_SERVER_ERROR, "{error}");
    assert_eq!(error["error"]["code"], "numeric_error");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("the numbers of the vector of input 1 hold not-a-number"),
        "{message}"
    );
    engine.end().await;
}
