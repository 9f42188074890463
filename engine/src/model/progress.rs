//! How far loading is. Owns: who is told.

use std::fmt;
use std::sync::Arc;

type Tell = dyn Fn(u64, u64) + Send + Sync;

/// Is told how many bytes of weights were taken, and of how many.
#[derive(Clone)]
pub struct Progress(Arc<Tell>);

impl Progress {
    /// Tells `tell`, in the thread that loads.
    pub fn new(tell: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_, _| {})
    }

    /// So many bytes of so many.
    pub fn tell(&self, taken: u64, all: u64) {
        (self.0)(taken, all);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
