//! The router on real sockets, with engines that do what a test says.

mod answers;
mod cancel;
mod edges;
mod hostile;
mod keys;
mod loss;
mod messages;
mod responses;
mod resume;
mod shared;
#[cfg(test)]
mod support;
mod watch;
