//! Libtorch's threads and devices. Owns: what must be settled once in the life of a process, before the first tensor.

use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::kernels::cuda::library::Library;
use crate::model::{Device, Error};

/// Libtorch's OpenMP library reads its environment when it is loaded, which is before `main`.
const SETTINGS: [(&str, &str); 3] = [
    // A thread without work spins this often before it sleeps. The default is milliseconds of spinning, which, under a
    // quota or beside a busy neighbour, takes the time away from the threads that have work.
    ("GOMP_SPINCOUNT", "1000"),
    // Compiled kernels are kept for this many shapes, once by oneDNN and once by torch around it. Steps have many
    // shapes: with the default of 1,024 each, memory was still growing after 16,000 calls (253 → 300 MB); with 64 it
    // stays (196 → 198 MB), at the same speed.
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"),
    ("LRU_CACHE_CAPACITY", "64"),
];

/// Settles it. Call it first in `main`, before threads and sockets.
///
/// Unless `GOMP_SPINCOUNT` is set, the process is replaced by itself with that setting: same process id, same arguments, once.
/// `threads` is how many compute; `None`: as many as the processor set and the control group's quota give.
///
/// # Errors
/// When the device's libraries cannot be loaded.
pub fn init(device: Device, threads: Option<NonZeroUsize>) -> Result<(), Error> {
    let fail = |reason: String| Error::Device {
        device: format!("{device:?}").to_lowercase(),
        reason,
    };
    reload_with_settings()
        .map_err(|error| fail(format!("the engine cannot restart itself: {error}")))?;
    lps_engine_kernels::memory::keep_freed();
    if device == Device::Cuda {
        // Before any question about CUDA: libtorch keeps the first answer for good.
        Library::load().map_err(|error| fail(error.to_string()))?;
    }
    let threads = threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = threads
        .and_then(|n| i32::try_from(n.get()).ok())
        .unwrap_or(1);
    tch::set_num_threads(threads);
    tch::set_num_interop_threads(1);
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "asks whether the OpenMP library was given its setting, which is no configuration of ours"
)]
fn reload_with_settings() -> std::io::Result<()> {
    if std::env::var_os(SETTINGS[0].0).is_some() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = name {
        command.arg0(name);
    }
    Err(command.args(arguments).envs(SETTINGS).exec())
}
