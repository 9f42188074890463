//! The user's tool, `lps`: serve models on this machine, talk to a router, simulate the scheduler, make checkpoints.
//! It links no torch: engines are processes of their own.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// The command line: what may be written, and which module does it.
pub mod args;
/// `lps demo`: a program with a join and a tool, shown as it runs.
pub mod demo;
/// `lps up`: the router in this process, engines as child processes.
pub mod up;
/// `lps bench`: load on a running server, and pages about it.
pub mod bench;
/// `lps chat`: one message, or a conversation.
pub mod chat;
/// `lps top`: what the router knows, as it changes.
pub mod top;
/// `lps programs`, `lps engines`, `lps calls`: what the router knows, as tables.
pub mod show;
/// `lps drain`: ends one engine when its calls are done.
pub mod drain;
/// `lps why`: explains a resource of a cluster.
pub mod why;
/// `lps sim`: the production scheduler in virtual time.
pub mod sim;
/// Workloads: files and generators of programs, and `lps workload`.
pub mod workload;
/// Line plots as SVG text.
pub mod plot;
/// `lps model`: make and check checkpoints.
pub mod model;
/// `lps key`: makes an API key, and its entry in the router's file of keys.
pub mod key;
/// Streamed answers: the deltas of a chat completion, put together.
pub mod answer;
/// HTTP to a router.
pub mod client;
/// The cluster of a kubeconfig: what it knows of a resource, and the way to its router.
pub mod cluster;
/// Access tokens and API keys: sent, and never shown.
pub mod token;
/// Standard output: lines, tables, JSON.
pub mod console;
