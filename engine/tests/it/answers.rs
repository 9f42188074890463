//! What answers look like, whole and in chunks.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::support::{Engine, chat};

const CHAT: &str = "/v1/chat/completions";
const PLAIN: &str = "/v1/completions";

fn text_of(chunks: &[Value], index: usize) -> String {
    let choices = chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let of_index = choices.filter(|choice| choice["index"] == index);
    let text = |choice: &Value| {
        choice["text"]
            .as_str()
            .or(choice["delta"]["content"].as_str())
            .map(str::to_owned)
    };
    of_index.filter_map(text).collect()
}

#[tokio::test]
async fn a_stream_says_what_a_whole_answer_says() {
    let engine = Engine::start("").await;
    let body =
        chat(json!({"max_tokens": 40, "ignore_eos": true, "n": 2, "temperature": 1, "seed": 3}));
    let (status, answer) = engine.post(CHAT, &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["usage"]["completion_tokens"], 80);
    assert_eq!(answer["lps"]["output_tokens"], 80);
    assert!(answer["lps"]["executor_us"].as_u64().unwrap() > 0);

    let mut body = body;
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let (chunks, done) = engine.stream(CHAT, &body).await;
    assert!(done);
    for index in 0..2 {
        let whole = &answer["choices"][index];
        assert_eq!(json!(text_of(&chunks, index)), whole["message"]["content"]);
        let own: Vec<_> = chunks
            .iter()
            .filter(|c| c["choices"][0]["index"] == index)
            .collect();
        assert_eq!(own[0]["choices"][0]["delta"]["role"], "assistant");
        assert!(
            own[1..]
                .iter()
                .all(|c| c["choices"][0]["delta"].get("role").is_none())
        );
        let finishes: Vec<_> = own
            .iter()
            .map(|c| &c["choices"][0]["finish_reason"])
            .filter(|f| !f.is_null())
            .collect();
        assert_eq!(finishes, [&json!("length")]);
        assert_eq!(own.last().unwrap()["choices"][0]["finish_reason"], "length");
    }
    assert_ne!(text_of(&chunks, 0), text_of(&chunks, 1));
    let (last, before) = chunks.split_last().unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]),
        (&json!([]), &with_cache(&answer["usage"], last))
    );
    assert_eq!(last["lps"]["output_tokens"], 80);
    assert!(
        before
            .iter()
            .all(|chunk| chunk.get("lps").is_none() && chunk.get("usage").is_none())
    );
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    engine.end().await;
}

/// The second request finds pages of the first.
fn with_cache(usage: &Value, of: &Value) -> Value {
    let mut usage = usage.clone();
    usage["prompt_tokens_details"] = of["usage"]["prompt_tokens_details"].clone();
    usage
}

#[tokio::test]
async fn without_a_usage_chunk_the_last_one_carries_the_figures() {
    let engine = Engine::start("").await;
    for path in [CHAT, PLAIN] {
        let mut body = chat(json!({"max_tokens": 3, "stream": true, "ignore_eos": true}));
        body["prompt"] = json!("hi");
        let (chunks, done) = engine.stream(path, &body).await;
        assert!(done);
        let (last, before) = chunks.split_last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "length");
        assert_eq!(last["lps"]["output_tokens"], 3);
        assert!(before.iter().all(|chunk| chunk.get("lps").is_none()));
    }
    engine.end().await;
}

#[tokio::test]
async fn a_stop_text_ends_the_choice_and_never_shows() {
    let engine = Engine::start("--sim-step-us 200").await;
    let (_, whole) = engine
        .post(CHAT, &chat(json!({"max_tokens": 60, "ignore_eos": true})))
        .await;
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    let at = text.len() / 2;
    let stop = &text[at..at + 6];
    let expected = &text[..text.find(stop).unwrap()];
    let body = chat(json!({"max_tokens": 20000, "ignore_eos": true, "stop": [stop]}));
    let (_, stopped) = engine.post(CHAT, &body).await;
    let choice = &stopped["choices"][0];
    assert_eq!(
        (
            choice["message"]["content"].as_str(),
            &choice["finish_reason"]
        ),
        (Some(expected), &json!("stop"))
    );
    assert_eq!(choice["stop_reason"], stop);
    assert_eq!(whole["choices"][0].get("stop_reason"), None);
    // The core was told: it did not go on to the limit.
    assert!(
        stopped["usage"]["completion_tokens"].as_u64().unwrap() < 2000,
        "{}",
        stopped["usage"]
    );
    let mut body = body;
    body["stream"] = json!(true);
    let (chunks, done) = engine.stream(CHAT, &body).await;
    assert!(done);
    assert_eq!(text_of(&chunks, 0), expected);
    let told = chunks.iter().map(|chunk| &chunk["choices"][0]);
    let stops: Vec<_> = told
        .filter_map(|choice| choice.get("stop_reason"))
        .collect();
    assert_eq!(stops, [stop]);
    engine.end().await;
}

#[tokio::test]
async fn prompts_come_as_text_and_tokens_one_or_many() {
    let engine = Engine::start("").await;
    let (_, tokens) = engine.post("/tokenize", &json!({"prompt": "a b"})).await;
    let ids = &tokens["tokens"];
    let ask = async |prompt: Value| {
        let body = json!({"prompt": prompt, "max_tokens": 5, "temperature": 0, "ignore_eos": true, "return_token_ids": true});
        let (status, answer) = engine.post(PLAIN, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    };
    let one = ask(json!("a b")).await;
    assert_eq!(&one["prompt_token_ids"], ids);
    assert_eq!(one["choices"][0]["token_ids"].as_array().unwrap().len(), 5);
    assert_eq!(
        ask(ids.clone()).await["choices"][0]["text"],
        one["choices"][0]["text"]
    );
    for several in [json!(["a b", "c"]), json!([ids, [70]])] {
        let answer = ask(several).await;
        assert_eq!(answer["choices"][0]["text"], one["choices"][0]["text"]);
        assert_eq!(answer["choices"][1]["index"], 1);
        assert_eq!(answer["lps"]["output_tokens"], 10);
    }
    let (_, text) = engine.post("/detokenize", &json!({"tokens": ids})).await;
    assert_eq!(text["prompt"], "a b");
    engine.end().await;
}

#[tokio::test]
async fn log_probabilities_come_for_each_token() {
    let engine = Engine::start("").await;
    let fields = json!({"max_tokens": 6, "ignore_eos": true, "logprobs": true, "top_logprobs": 3});
    let (_, answer) = engine.post(CHAT, &chat(fields.clone())).await;
    let choice = &answer["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 6);
    let text: String = tokens
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert_eq!(json!(text), choice["message"]["content"]);
    assert!(
        tokens
            .iter()
            .all(|token| token["top_logprobs"].as_array().unwrap().len() == 3)
    );
    let mut body = chat(fields);
    body["stream"] = json!(true);
    let (chunks, _) = engine.stream(CHAT, &body).await;
    let streamed = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(&streamed.flatten().cloned().collect::<Vec<_>>(), tokens);
    let plain = json!({"prompt": "hi", "max_tokens": 4, "temperature": 0, "ignore_eos": true, "logprobs": 1});
    let (_, answer) = engine.post(PLAIN, &plain).await;
    let lists = &answer["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(lists[list].as_array().unwrap().len(), 4, "{list}");
    }
    engine.end().await;
}

#[tokio::test]
async fn the_small_paths_answer() {
    let engine = Engine::start("--model-name small").await;
    let (_, models) = engine.get("/v1/models").await;
    assert_eq!(models["data"][0]["id"], "small");
    assert_eq!(engine.get("/v1/models/small").await.0, StatusCode::OK);
    assert_eq!(
        engine.get("/v1/models/other").await.0,
        StatusCode::NOT_FOUND
    );
    let (status, refused) = engine.get("/v1/models/%ff").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(refused["error"]["param"], "path");
    assert_eq!(engine.get("/health").await.0, StatusCode::OK);
    assert_eq!(engine.get("/nothing").await.0, StatusCode::NOT_FOUND);
    let ready = engine
        .send(
            hyper::Method::GET,
            format!("{}/readyz", engine.admin),
            &[],
            Vec::new(),
        )
        .await;
    assert_eq!(ready.status(), StatusCode::OK);
    let (_, chat) = engine
        .post(
            "/tokenize",
            &json!({"messages": [{"role": "user", "content": "hi"}]}),
        )
        .await;
    assert!(chat["count"].as_u64().unwrap() > 3);
    let wrong = json!({"prompt": "hi", "add_special_tokens": "yes"});
    let (status, refused) = engine.post("/tokenize", &wrong).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(refused["error"]["param"], "add_special_tokens");
    engine.end().await;
}
