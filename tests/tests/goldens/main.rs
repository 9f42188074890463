//! The engine's numbers against Hugging Face transformers, and against themselves however work is cut into steps. The
//! checkpoints are made here from their seeds; `tests/goldens` holds what transformers said about equal weights.

mod against_transformers;
mod bad_checkpoints;
mod embeddings;
mod engine;
mod paging;
