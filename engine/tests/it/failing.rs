//! A model that fails: its calls are told, and the thread says why it ended.

use std::sync::Arc;

use lps_api::ids::{CallId, EngineId, ModelName, ProgramId};
use lps_api::protocol::Hello;
use lps_api::quantity::{Attempt, Order, Tokens};
use lps_engine::executor::{Fatal, Options, metrics::Metrics, start, start_embedding};
use lps_engine::model::Loaded;
use lps_engine_core::batch::{Batch, Outputs, Texts};
use lps_engine_core::core::{Batching, Config, Preemption};
use lps_engine_core::embedding;
use lps_engine_core::model::{Embedder, Masks, Model, StepError};
use lps_engine_core::request::{Request, SamplingParams, Stopping};
use lps_runtime::clock::Clock;

enum Broken {
    Step,
    Panic,
}

impl Model for Broken {
    fn step(&mut self, batch: &Batch<'_>, _masks: &mut dyn Masks) -> Result<Outputs, StepError> {
        match self {
            Self::Step => Err(StepError {
                step: batch.step,
                tokens: batch.tokens(),
                reason: "out of memory".to_owned(),
            }),
            Self::Panic => panic!("a programmer's error"),
        }
    }
}

impl Embedder for Broken {
    fn embed(&mut self, texts: &Texts<'_>) -> Result<Vec<Vec<f32>>, StepError> {
        match self {
            Self::Step => Err(StepError {
                step: texts.step,
                tokens: texts.count(),
                reason: "out of memory".to_owned(),
            }),
            Self::Panic => panic!("a programmer's error"),
        }
    }
}

fn options() -> Options {
    Options {
        core: Config {
            max_num_seqs: 4,
            max_batched_tokens: 64,
            max_model_len: 64,
            block_tokens: 16,
            kv_blocks: 64,
            max_calls: 8,
            batching: Batching::Continuous,
            prefix_cache: true,
            preemption: Preemption::Keep,
        },
        hello: Hello {
            protocol: 1,
            engine: EngineId::parse("e").unwrap(),
            model: ModelName::parse("m").unwrap(),
            incarnation: 1,
            max_num_seqs: 0,
            max_model_len: Tokens(0),
            max_batched_tokens: Tokens(0),
            block_tokens: Tokens(0),
            kv_blocks_total: 0,
        },
        step_log: None,
        clock: Clock::start(),
        metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
    }
}

#[tokio::test]
async fn its_calls_end_and_the_reason_is_told() {
    for (broken, expected) in [(Broken::Step, "out of memory"), (Broken::Panic, "panicked")] {
        let load = move || {
            Ok(Loaded {
                model: Box::new(broken),
                kv_blocks: 64,
                vocab_size: 10,
                max_model_len: 64,
            })
        };
        let running = start(options(), load).await.unwrap();
        let request = Request {
            call: CallId::parse("c").unwrap(),
            attempt: Attempt(0),
            program: ProgramId::parse("p").unwrap(),
            order: Order::default(),
            prompt: Arc::from([1, 2]),
            resumed: Vec::new(),
            cache_salt: 0,
            choices: 1,
            sampling: SamplingParams::default(),
            stopping: Stopping {
                max_tokens: 4,
                min_tokens: 0,
                stop_tokens: Vec::new(),
            },
        };
        let mut call = running.handle.submit(request, Vec::new()).await.unwrap();
        assert_eq!(call.next().await, None);
        let reason: Fatal = running.ended.await.unwrap().unwrap_err();
        assert!(reason.to_string().contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn its_calls_for_vectors_end_too() {
    for (broken, expected) in [(Broken::Step, "out of memory"), (Broken::Panic, "panicked")] {
        let load = move || -> Result<Box<dyn Embedder + Send>, _> { Ok(Box::new(broken)) };
        let running = start_embedding(options(), load).await.unwrap();
        let request = embedding::Request {
            call: CallId::parse("c").unwrap(),
            attempt: Attempt(0),
            program: ProgramId::parse("p").unwrap(),
            order: Order::default(),
            texts: vec![Arc::from([1, 2])],
        };
        let call = running.handle.embed(request).await.unwrap();
        assert!(call.end().await.is_err());
        let reason: Fatal = running.ended.await.unwrap().unwrap_err();
        assert!(reason.to_string().contains(expected), "{reason}");
    }
}
