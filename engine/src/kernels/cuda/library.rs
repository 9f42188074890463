//! `liblps_cuda.so`, which `make cuda` builds: what libtorch's CUDA half has and tch lacks, and our own kernels. Owns:
//! finding and loading it, once, and the border to it, made safe.
#![expect(unsafe_code, reason = "the border to C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;
use tch::TchError;

use crate::kernels::cuda::paged::Asked;
use crate::kernels::native::{SharedLibrary, reason};

/// The file's name.
const FILE: &CStr = c"liblps_cuda.so";

/// Of the sources of the library that belongs to this engine.
const STAMP: &str = env!("LPS_CUDA_STAMP");

/// `LpsCuda` of `cpp/cuda.h`, field by field.
#[repr(C)]
#[derive(Debug)]
struct Table {
    stamp: u64,
    last_error: unsafe extern "C" fn() -> *const c_char,
    device: unsafe extern "C" fn(*mut RawDevice) -> c_int,
    memory: unsafe extern "C" fn(*mut Memory) -> c_int,
    stream_begin: unsafe extern "C" fn() -> c_int,
    event_record: unsafe extern "C" fn(*mut *mut c_void) -> c_int,
    event_elapsed_ms: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut f32) -> c_int,
    event_free: unsafe extern "C" fn(*mut c_void),
    graph_begin: unsafe extern "C" fn(*mut *mut c_void) -> c_int,
    graph_end: unsafe extern "C" fn(*mut c_void) -> c_int,
    graph_replay: unsafe extern "C" fn(*mut c_void) -> c_int,
    graph_free: unsafe extern "C" fn(*mut c_void),
    paged_decode: unsafe extern "C" fn(*const Asked) -> c_int,
}

#[repr(C)]
struct RawDevice {
    name: [c_char; 256],
    torch: [c_char; 32],
    memory_bytes: u64,
    major: i32,
    minor: i32,
    multiprocessors: i32,
    driver: i32,
    runtime: i32,
}

/// The device's memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// That nobody has.
    pub free_bytes: u64,
    /// Of tensors that live.
    pub allocated_bytes: u64,
    /// The most that they ever were.
    pub allocated_peak_bytes: u64,
    /// Of them and what libtorch keeps for later ones.
    pub reserved_bytes: u64,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// As its maker calls it.
    pub name: String,
    /// Version of libtorch.
    pub torch: String,
    /// Of its memory.
    pub memory_bytes: u64,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Its processors.
    pub multiprocessors: i32,
    /// The CUDA that the driver knows, `1000 * major + 10 * minor`.
    pub driver: i32,
    /// The CUDA in use.
    pub runtime: i32,
}

/// Why CUDA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Libtorch's half is not there, or not whole.
    #[error(
        "libtorch_cuda.so cannot be loaded: {0}; it and the libraries that it names come with `pip install torch==2.11.0`, \
         not with `make setup`, which leaves CUDA out (docs/cuda.md)"
    )]
    Torch(String),
    /// Ours is not there.
    #[error("{file} cannot be loaded: {reason}; `make cuda` builds it beside the engine")]
    Missing {
        /// Where it was looked for.
        file: String,
        /// What the loader says.
        reason: String,
    },
    /// Ours is another version's.
    #[error(
        "{file} was built from other sources than this engine: `make cuda` builds the one that belongs to it"
    )]
    Stale {
        /// Which.
        file: String,
    },
    /// No driver, no device, or none that can be used.
    #[error("{0}")]
    Device(String),
}

/// The loaded library.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    table: &'static Table,
}

impl PartialEq for Library {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.table, other.table)
    }
}

impl Eq for Library {}

static LOADED: OnceLock<Library> = OnceLock::new();

impl Library {
    /// Loads libtorch's CUDA half and the library, and looks whether there is a device for them. Must come before any
    /// question about CUDA: libtorch keeps the first answer for good.
    ///
    /// # Errors
    /// One line that names what is missing, and what to do about it.
    pub fn load() -> Result<Self, Error> {
        SharedLibrary::load(c"libtorch_cuda.so").map_err(|error| Error::Torch(reason(error)))?;
        let file = place();
        let named = file.to_string_lossy().into_owned();
        let missing = |error| Error::Missing {
            file: named.clone(),
            reason: reason(error),
        };
        let table = SharedLibrary::load(&file)
            .and_then(|library| library.find(c"lps_cuda"))
            .map_err(missing)?;
        // SAFETY: every version of the library has a table of that name whose first field is the stamp.
        let stamp = unsafe { *table.cast::<u64>() };
        if stamp.to_string() != STAMP {
            return Err(Error::Stale { file: named });
        }
        // SAFETY: it was built from the same `cuda.h`, as the stamp says; the table is constant and never goes away.
        let table = unsafe { &*table.cast::<Table>() };
        let library = Self { table };
        let device = library.device().map_err(Error::Device)?;
        if device.capability < (8, 0) {
            let (name, (major, minor)) = (device.name, device.capability);
            return Err(Error::Device(format!(
                "{name} has compute capability {major}.{minor}; the engine needs 8.0 or more"
            )));
        }
        Ok(*LOADED.get_or_init(|| library))
    }

    /// The library, where it was loaded.
    pub fn loaded() -> Option<Self> {
        LOADED.get().copied()
    }

    fn check(self, status: c_int) -> Result<(), TchError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the library returns a string that ends with zero and lives until this thread's next failure.
        let text = unsafe { CStr::from_ptr((self.table.last_error)()) };
        Err(TchError::Torch(text.to_string_lossy().into_owned()))
    }

    /// The first device.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn device(self) -> Result<Device, String> {
        let mut raw = RawDevice {
            name: [0; 256],
            torch: [0; 32],
            memory_bytes: 0,
            major: 0,
            minor: 0,
            multiprocessors: 0,
            driver: 0,
            runtime: 0,
        };
        // SAFETY: the library writes one structure.
        self.check(unsafe { (self.table.device)(&raw mut raw) })
            .map_err(reason)?;
        let text = |bytes: &[c_char]| -> String {
            let bytes = bytes.iter().take_while(|byte| **byte != 0);
            bytes.map(|byte| char::from(byte.cast_unsigned())).collect()
        };
        Ok(Device {
            name: text(&raw.name),
            torch: text(&raw.torch),
            memory_bytes: raw.memory_bytes,
            capability: (raw.major, raw.minor),
            multiprocessors: raw.multiprocessors,
            driver: raw.driver,
            runtime: raw.runtime,
        })
    }

    /// The device's memory.
    ///
    /// # Errors
    /// What CUDA says.
    pub fn memory(self) -> Result<Memory, TchError> {
        let mut memory = Memory::default();
        // SAFETY: the library writes one structure.
        self.check(unsafe { (self.table.memory)(&raw mut memory) })?;
        Ok(memory)
    }

    /// From now on this thread's work goes to a stream of its own: the one that all share cannot be recorded.
    ///
    /// # Errors
    /// What CUDA says.
    pub fn begin_stream(self) -> Result<(), TchError> {
        // SAFETY: takes nothing; changes this thread's current stream only.
        self.check(unsafe { (self.table.stream_begin)() })
    }

    /// Marks where this thread's stream is now.
    ///
    /// # Errors
    /// What CUDA says.
    pub fn event(self) -> Result<Event, TchError> {
        let mut event = std::ptr::null_mut();
        // SAFETY: the library writes one pointer.
        let status = unsafe { (self.table.event_record)(&raw mut event) };
        // Made first: an event that cannot be recorded is given back.
        let event = Event {
            library: self,
            event,
        };
        self.check(status)?;
        Ok(event)
    }

    /// Records what `work` asks of the device in this thread's stream, which must be its own. It is not done: every
    /// replay does it, with the tensors of that time.
    ///
    /// # Errors
    /// What `work` or CUDA says.
    pub fn record<T>(
        self,
        work: impl FnOnce() -> Result<T, TchError>,
    ) -> Result<(Graph, T), TchError> {
        let mut graph = std::ptr::null_mut();
        // SAFETY: the library writes one pointer.
        self.check(unsafe { (self.table.graph_begin)(&raw mut graph) })?;
        let graph = Graph {
            library: self,
            graph,
        };
        let done = work();
        // SAFETY: the graph was begun above, on this thread, and is ended once.
        let ended = self.check(unsafe { (self.table.graph_end)(graph.graph) });
        // What went wrong first says more.
        let done = done?;
        ended?;
        Ok((graph, done))
    }

    /// Attention of single tokens.
    ///
    /// # Safety
    /// `asked` holds what `cuda/paged.h` says, on the device; its memory is not used for anything else before this
    /// thread's stream has come so far.
    pub(super) unsafe fn paged_decode(self, asked: &Asked) -> Result<(), TchError> {
        // SAFETY: the caller's.
        self.check(unsafe { (self.table.paged_decode)(asked) })
    }
}

/// A mark in a thread's stream.
#[derive(Debug)]
pub struct Event {
    library: Library,
    event: *mut c_void,
}

impl Event {
    /// Milliseconds that the device took from `earlier` to here. Waits for it.
    ///
    /// # Errors
    /// What CUDA says.
    pub fn ms_since(&self, earlier: &Self) -> Result<f64, TchError> {
        let mut ms = 0.0;
        let elapsed = self.library.table.event_elapsed_ms;
        // SAFETY: both events live; the library writes one number.
        let status = unsafe { elapsed(earlier.event, self.event, &raw mut ms) };
        self.library.check(status)?;
        Ok(f64::from(ms))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.event.is_null() {
            // SAFETY: made by `event`, and given back once.
            unsafe { (self.library.table.event_free)(self.event) }
        }
    }
}

/// Recorded work.
#[derive(Debug)]
pub struct Graph {
    library: Library,
    graph: *mut c_void,
}

// SAFETY: a graph belongs to no thread; it is used by one at a time, as nothing here shares it.
unsafe impl Send for Graph {}

impl Graph {
    /// Does it, in this thread's stream.
    ///
    /// # Errors
    /// What CUDA says.
    pub fn replay(&self) -> Result<(), TchError> {
        // SAFETY: the graph was recorded to its end, and lives.
        self.library
            .check(unsafe { (self.library.table.graph_replay)(self.graph) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `record`, and given back once.
        unsafe { (self.library.table.graph_free)(self.graph) }
    }
}

/// Beside the program, where builds put it; else wherever the dynamic loader looks, as in the image.
fn place() -> CString {
    let beside = std::env::current_exe().ok().and_then(|program| {
        let file = program.with_file_name(Path::new(FILE.to_str().ok()?));
        let exists = file.is_file();
        exists.then(|| CString::new(file.as_os_str().as_bytes()).ok())?
    });
    beside.unwrap_or_else(|| FILE.to_owned())
}

#[cfg(test)]
pub mod emulated {
    //! The kernels on a processor, thread by thread. Work that is recorded is done at once, and replays do nothing;
    //! whatever is timed takes a millisecond.

    use super::*;

    unsafe extern "C" {
        fn lps_emulated_paged_decode(asked: *const Asked, backwards: c_int) -> c_int;
    }

    unsafe extern "C" fn forwards(asked: *const Asked) -> c_int {
        // SAFETY: the caller's.
        unsafe { lps_emulated_paged_decode(asked, 0) }
    }

    unsafe extern "C" fn backwards(asked: *const Asked) -> c_int {
        // SAFETY: the caller's.
        unsafe { lps_emulated_paged_decode(asked, 1) }
    }

    /// Scores are twice as large.
    unsafe extern "C" fn doubled(asked: *const Asked) -> c_int {
        // SAFETY: the caller's.
        unsafe {
            let mut asked = *asked;
            asked.scale *= 2.0;
            lps_emulated_paged_decode(&raw const asked, 0)
        }
    }

    extern "C" fn memory(memory: *mut Memory) -> c_int {
        // SAFETY: the caller's.
        unsafe { *memory = Memory::default() };
        0
    }

    extern "C" fn one_ms(_: *mut c_void, _: *mut c_void, ms: *mut f32) -> c_int {
        // SAFETY: the caller's.
        unsafe { *ms = 1.0 };
        0
    }

    extern "C" fn last_error() -> *const c_char {
        c"no kernel fits".as_ptr()
    }

    macro_rules! nothing {
        ($($argument:ty),*) => {{
            extern "C" fn nothing($(_: $argument),*) -> c_int { 1 }
            nothing
        }};
    }

    extern "C" fn begin(_: *mut *mut c_void) -> c_int {
        0
    }

    extern "C" fn go_on(_: *mut c_void) -> c_int {
        0
    }

    extern "C" fn free(_: *mut c_void) {}

    const fn table(paged_decode: unsafe extern "C" fn(*const Asked) -> c_int) -> Table {
        Table {
            stamp: 0,
            last_error,
            device: nothing!(*mut RawDevice),
            memory,
            stream_begin: nothing!(),
            event_record: begin,
            event_elapsed_ms: one_ms,
            event_free: free,
            graph_begin: begin,
            graph_end: go_on,
            graph_replay: go_on,
            graph_free: free,
            paged_decode,
        }
    }

    static FORWARDS: Table = table(forwards);
    static BACKWARDS: Table = table(backwards);
    static WRONG: Table = table(doubled);

    /// Its kernels compute something else.
    pub fn wrong() -> Library {
        Library { table: &WRONG }
    }

    /// Blocks and threads run in order, or the other way round.
    pub fn library(in_order: bool) -> Library {
        let table = if in_order { &FORWARDS } else { &BACKWARDS };
        Library { table }
    }
}
