//! `/v1/embeddings`, on the simulated embedding model: what clients and the router see.

use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use lps_api::protocol::EngineEvent;
use serde_json::{Value, json};

use crate::support::Engine;

const MODEL: &str = "builtin:sim-embedding";
const PATH: &str = "/v1/embeddings";

fn floats(vector: &Value) -> Vec<f64> {
    let numbers = vector.as_array().unwrap().iter();
    numbers.map(|number| number.as_f64().unwrap()).collect()
}

fn vectors(answer: &Value) -> Vec<Vec<f64>> {
    let data = answer["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    for (index, entry) in data.iter().enumerate() {
        assert_eq!(
            (&entry["object"], &entry["index"]),
            (&json!("embedding"), &json!(index))
        );
    }
    data.iter()
        .map(|entry| floats(&entry["embedding"]))
        .collect()
}

fn length(vector: &[f64]) -> f64 {
    vector
        .iter()
        .map(|number| number * number)
        .sum::<f64>()
        .sqrt()
}

#[tokio::test]
async fn every_form_of_input_is_taken() {
    let engine = Engine::start_model(MODEL, "").await;
    let tokens = engine
        .post("/tokenize", &json!({"prompt": "one two"}))
        .await
        .1["tokens"]
        .clone();
    let count = tokens.as_array().unwrap().len();
    let mut answers = Vec::new();
    for (input, texts) in [
        (json!("one two"), 1),
        (json!(["one two", "three"]), 2),
        (tokens.clone(), 1),
        (json!([tokens, [5]]), 2),
    ] {
        let body = json!({"model": "sim-embedding", "input": input, "user": "u"});
        let (status, answer) = engine.post(PATH, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(
            (&answer["object"], &answer["model"]),
            (&json!("list"), &json!("sim-embedding"))
        );
        let vectors = vectors(&answer);
        assert_eq!(vectors.len(), texts);
        assert!(vectors.iter().all(|vector| vector.len() == 64));
        assert!(
            vectors
                .iter()
                .all(|vector| (length(vector) - 1.0).abs() < 1e-6)
        );
        let usage = &answer["usage"];
        assert_eq!(usage["prompt_tokens"], usage["total_tokens"]);
        assert_eq!(answer["lps"]["prompt_tokens"], usage["prompt_tokens"]);
        answers.push((
            vectors[0].clone(),
            usage["prompt_tokens"].as_u64().unwrap() as usize,
        ));
    }
    assert!(answers.iter().all(|(vector, _)| *vector == answers[0].0));
    assert_eq!(
        (answers[0].1, answers[2].1, answers[3].1),
        (count, count, count + 1)
    );
    engine.end().await;
}

#[tokio::test]
async fn vectors_come_as_bytes_and_shorter() {
    let engine = Engine::start_model(MODEL, "").await;
    let many = vec!["a"; 100];
    let ask = async |fields: Value| {
        let mut body = json!({"input": many});
        let fields = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        let (status, answer) = engine.post(PATH, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    };
    let whole = vectors(&ask(json!({"encoding_format": "float"})).await);
    let short = vectors(&ask(json!({"dimensions": 5})).await);
    let cut = length(&whole[0][..5]);
    for (short, whole) in short[0].iter().zip(&whole[0]) {
        assert!((short - whole / cut).abs() < 1e-6);
    }
    assert!((short.len(), short[99].len()) == (100, 5) && (length(&short[99]) - 1.0).abs() < 1e-6);
    let bytes = ask(json!({"encoding_format": "base64", "dimensions": 64})).await;
    for (entry, whole) in bytes["data"].as_array().unwrap().iter().zip(&whole) {
        let text = entry["embedding"].as_str().unwrap();
        // 64 numbers of 4 bytes: 85 groups of 3, and one over.
        assert!(text.len() == 344 && text.ends_with("=="), "{text}");
        let bytes = from_base64(text);
        let numbers = bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()));
        let numbers: Vec<_> = numbers.map(f64::from).collect();
        for (found, expected) in numbers.iter().zip(whole) {
            assert!((found - expected).abs() < 1e-7);
        }
        assert_eq!(numbers.len(), 64);
    }
    engine.end().await;
}

/// By hand, so that encoder and decoder are not one library's.
fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(value(byte));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table, a line a case")]
async fn what_has_no_use_is_named() {
    let engine = Engine::start_model(MODEL, "--max-model-len 16").await;
    let long = "word ".repeat(40);
    for (fields, status, param, part) in [
        (
            json!({"model": "other"}),
            404,
            "model",
            "served is: sim-embedding",
        ),
        (json!({"model": 7}), 400, "model", "expected a string"),
        (json!({"input": null}), 400, "input", "input is missing"),
        (json!({"input": ""}), 400, "input", "input[0] is empty"),
        (
            json!({"input": ["a", ""]}),
            400,
            "input",
            "input[1] is empty",
        ),
        (
            json!({"input": []}),
            400,
            "input",
            "input has 0 texts; 1 to 2048",
        ),
        (
            json!({"input": [[5], []]}),
            400,
            "input",
            "input[1] is empty",
        ),
        (
            json!({"input": 7}),
            400,
            "input",
            "expected a string, a list of strings",
        ),
        (
            json!({"input": ["a", 7]}),
            400,
            "input",
            "expected a string, a list of strings",
        ),
        (
            json!({"input": [-1]}),
            400,
            "input",
            "expected a string, a list of strings",
        ),
        (
            json!({"input": {"text": "a"}}),
            400,
            "input",
            "expected a string, a list of strings",
        ),
        (
            json!({"input": [1_000_000]}),
            400,
            "input",
            "the model knows 0 to 1535",
        ),
        (
            json!({"input": vec![5; 17]}),
            400,
            "input",
            "input[0] has 17 tokens; the model takes at most 16",
        ),
        (
            json!({"input": ["a", long]}),
            400,
            "input",
            "tokens; the model takes at most 16",
        ),
        (
            json!({"input": "x".repeat(2 << 20)}),
            400,
            "input",
            "input[0] has 2097152 bytes; at most 1048576",
        ),
        (
            json!({"input": vec!["a"; 2049]}),
            400,
            "input",
            "input has 2049 texts; 1 to 2048",
        ),
        (
            json!({"encoding_format": "hex"}),
            400,
            "encoding_format",
            "\"float\" or \"base64\"",
        ),
        (
            json!({"encoding_format": 1}),
            400,
            "encoding_format",
            "expected a string",
        ),
        (
            json!({"dimensions": 0}),
            400,
            "dimensions",
            "dimensions is 1 to 64, not 0",
        ),
        (
            json!({"dimensions": 65}),
            400,
            "dimensions",
            "dimensions is 1 to 64, not 65",
        ),
        (
            json!({"dimensions": "8"}),
            400,
            "dimensions",
            "expected i64",
        ),
        (
            json!({"priority": 256}),
            400,
            "priority",
            "priority is 0 to 255",
        ),
    ] {
        let mut body = json!({"input": "a"});
        let shown: String = fields.to_string().chars().take(60).collect();
        let fields = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        let (got, answer) = engine.post(PATH, &body).await;
        let error = &answer["error"];
        assert_eq!(
            (got.as_u16(), &error["param"], &error["type"]),
            (status, &json!(param), &json!("invalid_request_error")),
            "{shown}: {answer}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(part), "{shown}: {message}");
    }
    let whole_context = json!({"input": vec![5; 16]});
    assert_eq!(engine.post(PATH, &whole_context).await.0, StatusCode::OK);
    engine.end().await;
}

#[tokio::test]
async fn a_model_makes_text_or_vectors() {
    let vectors = Engine::start_model(MODEL, "").await;
    let text = Engine::start("").await;
    for (engine, path, body, part) in [
        (
            &text,
            PATH,
            json!({"input": "a"}),
            "makes text, not vectors",
        ),
        (
            &vectors,
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "a"}]}),
            "makes vectors, not text; ask /v1/embeddings",
        ),
        (
            &vectors,
            "/v1/completions",
            json!({"prompt": "a"}),
            "makes vectors, not text",
        ),
    ] {
        let (status, answer) = engine.post(path, &body).await;
        let error = &answer["error"];
        assert_eq!(
            (status, &error["param"]),
            (StatusCode::BAD_REQUEST, &json!("model"))
        );
        assert!(
            error["message"].as_str().unwrap().contains(part),
            "{answer}"
        );
    }
    text.end().await;
    vectors.end().await;
}

#[tokio::test]
async fn what_it_says_about_itself_is_true() {
    let engine = Engine::start_model(MODEL, "--max-model-len 300").await;
    let (status, models) = engine.get("/v1/models").await;
    let model = &models["data"][0];
    assert_eq!(
        (status, &model["id"], &model["max_model_len"]),
        (StatusCode::OK, &json!("sim-embedding"), &json!(300))
    );
    assert_eq!(engine.get("/health").await.0, StatusCode::OK);
    let mut lines = engine.lines().await;
    let EngineEvent::Hello(hello) = lines.next().await.unwrap() else {
        panic!("no hello")
    };
    assert_eq!((hello.kv_blocks_total, hello.max_model_len.0), (0, 300));
    engine.post(PATH, &json!({"input": [[1, 2, 3], [4]]})).await;
    for (path, part) in [
        ("/readyz", ""),
        // The warm-up is a call too.
        ("/metrics", "lps_engine_calls_total 2\n"),
        ("/metrics", "vllm:prompt_tokens_total 5\n"),
    ] {
        let url = format!("{}{path}", engine.admin);
        let response = engine.send(Method::GET, url, &[], Vec::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.contains(part), "{path}: {text}");
    }
    drop(lines);
    engine.end().await;
}
