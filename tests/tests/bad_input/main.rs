//! Checkpoints that are wrong: each is refused in one line that names the file and the field. What is wrong is a table of
//! named defects, and whatever a random mutation makes of headers, configurations, tokenizers and templates: nothing
//! panics, runs on, or asks for more memory than the file has bytes for. The forms that clients want answers in are looked
//! at the same way.
//!
//! `make test` has the same mutations each time, `make draws` fresh ones; `PROPTEST_CASES` asks for more, `PROPTEST_RNG_SEED`
//! repeats a run.

mod checkpoint;
mod config;
mod defects;
mod form;
mod found;
mod json;
mod template;
mod tokenizer;
mod weights;
