//! What tch lacks, through the C++ shim. Owns: the border to C, made safe; knows nothing of models.
#![expect(unsafe_code, reason = "the border to C")]

use std::ffi::{CStr, c_char, c_int, c_void};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn lps_last_error() -> *const c_char;
    fn lps_inference_begin(guard: *mut *mut c_void) -> c_int;
    fn lps_inference_end(guard: *mut c_void);
    fn lps_pack_linear(weight: *const C_tensor, out: *mut *mut C_tensor) -> c_int;
    fn lps_packed_linear(
        x: *const C_tensor,
        packed: *const C_tensor,
        bias: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> c_int;
    fn lps_load_library(name: *const c_char, library: *mut *mut c_void) -> c_int;
    fn lps_find_symbol(
        library: *mut c_void,
        name: *const c_char,
        symbol: *mut *const c_void,
    ) -> c_int;
}

fn check(status: c_int) -> Result<(), TchError> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the shim returns a string that ends with zero and lives until this thread's next failure.
    let text = unsafe { CStr::from_ptr(lps_last_error()) };
    Err(TchError::Torch(text.to_string_lossy().into_owned()))
}

/// Ends the process at once, with what was written so far. Threads may be loading or computing: the C++ library's
/// destructors, which an ordinary exit runs, would take what they use from under them.
pub fn end_now(code: u8) -> ! {
    unsafe extern "C" {
        fn _exit(code: c_int) -> !;
    }
    // SAFETY: takes a number and does not come back; nothing of this process is used after it.
    unsafe { _exit(c_int::from(code)) }
}

/// What libtorch said, without what tch puts before it, and without advice and backtraces, which are further lines.
pub fn reason(error: TchError) -> String {
    match error {
        TchError::Torch(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

/// While it lives, this thread's operations keep neither gradients nor version counters: half the cost of a view.
#[derive(Debug)]
pub struct InferenceMode {
    guard: *mut c_void,
}

impl InferenceMode {
    /// Begins it. Guards of one thread end in the reverse order of their beginning, as scopes do.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn begin() -> Result<Self, TchError> {
        let mut guard = std::ptr::null_mut();
        // SAFETY: the shim writes one pointer to `guard`.
        check(unsafe { lps_inference_begin(&raw mut guard) })?;
        Ok(Self { guard })
    }
}

impl Drop for InferenceMode {
    fn drop(&mut self) {
        // SAFETY: made by `begin` on this thread (a raw pointer is not `Send`), and given back once.
        unsafe { lps_inference_end(self.guard) }
    }
}

/// A weight in oneDNN's own layout; it can only be multiplied with.
#[derive(Debug)]
pub struct PackedWeight(Tensor);

impl PackedWeight {
    /// Packs `[out, in]`, which may be dropped then.
    ///
    /// # Errors
    /// When oneDNN has no kernel for the type on this processor.
    pub fn new(weight: &Tensor) -> Result<Self, TchError> {
        let mut out = std::ptr::null_mut();
        // SAFETY: `weight` lives through the call; on success `out` is a handle that is ours alone.
        check(unsafe { lps_pack_linear(weight.as_ptr(), &raw mut out) })?;
        // SAFETY: as above: nobody else frees it.
        Ok(Self(unsafe { Tensor::from_ptr(out) }))
    }

    /// `x` `[rows, in]` times the weight, plus `bias` `[out]`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn multiply(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
        let mut out = std::ptr::null_mut();
        let bias = bias.map_or(std::ptr::null(), Tensor::as_ptr);
        // SAFETY: all handles live through the call; no bias is a null pointer; `out` as in `new`.
        check(unsafe { lps_packed_linear(x.as_ptr(), self.0.as_ptr(), bias, &raw mut out) })?;
        // SAFETY: as in `new`.
        Ok(unsafe { Tensor::from_ptr(out) })
    }
}

/// A library that was loaded for the life of the process.
#[derive(Debug)]
pub(super) struct SharedLibrary(*mut c_void);

impl SharedLibrary {
    /// Loads it, by its path or by its name alone; what is loaded later finds its symbols.
    ///
    /// # Errors
    /// What the dynamic loader says.
    pub(super) fn load(name: &CStr) -> Result<Self, TchError> {
        let mut library = std::ptr::null_mut();
        // SAFETY: the name ends with zero and lives through the call, which writes one pointer. Loading runs the library's
        // initialisers, which expect to be run like this.
        check(unsafe { lps_load_library(name.as_ptr(), &raw mut library) })?;
        Ok(Self(library))
    }

    /// Where something is, of which the library says what it is. It stays there for the life of the process.
    ///
    /// # Errors
    /// When there is nothing of that name.
    pub(super) fn find(&self, name: &CStr) -> Result<*const c_void, TchError> {
        let mut symbol = std::ptr::null();
        // SAFETY: the handle came from `load` and was never closed; the name as there; one pointer is written.
        check(unsafe { lps_find_symbol(self.0, name.as_ptr(), &raw mut symbol) })?;
        Ok(symbol)
    }
}
