//! Map and reduce: a plan, its steps side by side, and a summary that waits for all of them, read as it comes.
//!
//! Run it beside `make run`: cargo run -p lps-client --example map_reduce
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context;
use futures::{StreamExt, future::try_join_all};
use lps_client::async_openai::types::chat::{
    ChatCompletionRequestUserMessage, CreateChatCompletionRequest,
};
use lps_client::{Client, Opening, Thread};

const TASK: &str = "a hiking trip";

fn question(content: &str) -> CreateChatCompletionRequest {
    CreateChatCompletionRequest {
        model: "demo".to_owned(),
        messages: vec![ChatCompletionRequestUserMessage::from(content).into()],
        temperature: Some(0.0),
        ..Default::default()
    }
}

async fn ask(thread: &mut Thread, content: &str) -> anyhow::Result<String> {
    let request = question(content);
    let answer = thread.call(|openai| async move { openai.chat().create(request).await });
    let choice = answer.await?.choices.into_iter().next();
    choice.and_then(|it| it.message.content).context("no text")
}

async fn step(mut thread: Thread, step: &str) -> anyhow::Result<(Thread, String)> {
    let request = format!("Task: {TASK}. Step: {step}. Do this step.");
    let answer = ask(&mut thread, &request).await?;
    Ok((thread, format!("\n- {answer}")))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1);
    let client = Client::new(url.as_deref().unwrap_or("http://127.0.0.1:8080"));
    let program = client.open(&Opening::of("map-reduce")).await?;
    let mut main = program.thread("main".parse()?);
    let plan = ask(&mut main, &format!("Plan {TASK} in three steps.")).await?;
    let steps = plan.lines().filter_map(|line| line.split_once(". "));
    let (threads, lines): (Vec<_>, Vec<_>) =
        try_join_all(steps.map(|(_, it)| step(main.fork(), it)))
            .await?
            .into_iter()
            .unzip();
    main.join(&threads);
    let request = question(&format!(
        "Summarise the results for {TASK}:{}",
        lines.concat()
    ));
    let stream = main.call(|openai| async move { openai.chat().create_stream(request).await });
    let mut stream = stream.await?;
    while let Some(chunk) = stream.next().await {
        let choice = chunk?.choices.into_iter().next();
        print!(
            "{}",
            choice.and_then(|it| it.delta.content).unwrap_or_default()
        );
    }
    let row = program.end().await?;
    println!(
        "\n{} {}: longest path {} µs",
        row.id, row.state, row.critical_path_us.0
    );
    Ok(())
}
