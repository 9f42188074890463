//! How the device's time is taken. Owns: warming up and dividing.

use tch::TchError;

use crate::kernels::cuda::library::Library;

/// Runs before the clock does.
const WARM_UP: usize = 3;

/// Milliseconds that the device takes for one run, as the mean of so many.
///
/// # Errors
/// What a run says.
pub(super) fn ms_of(
    library: Library,
    runs: usize,
    mut run: impl FnMut() -> Result<(), TchError>,
) -> Result<f64, TchError> {
    for _ in 0..WARM_UP {
        run()?;
    }
    let start = library.event()?;
    for _ in 0..runs {
        run()?;
    }
    let end = library.event()?;
    Ok(end.ms_since(&start)? / runs as f64)
}
