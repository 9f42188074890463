//! Attention of single tokens over the pages. Owns: what the kernel is asked, checked before it runs.
#![expect(unsafe_code, reason = "the border to a kernel")]

use std::ffi::c_void;

use tch::{Kind, TchError, Tensor};

use crate::kernels::Scores;
use crate::kernels::cuda::library::Library;
use crate::kernels::pages::{Read, Reads, TensorPages, once};

/// Most parts in which one sequence's tokens are read.
const PARTS: i64 = 32;

/// `LpsPagedDecode` of `cuda/paged.h`, field by field.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    query: *const c_void,
    keys: *const c_void,
    values: *const c_void,
    out: *mut c_void,
    parts: *mut c_void,
    sums: *mut c_void,
    rows: *const c_void,
    ends: *const c_void,
    starts: *const c_void,
    table: *const c_void,
    query_stride: i64,
    sequences: i32,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    block_tokens: i32,
    window: i32,
    pub(super) scale: f32,
    cap: f32,
    half: i32,
}

/// Sequences with one new token each, where the kernel reads them: tensors of 64-bit integers on its device.
#[derive(Debug)]
pub struct Paged {
    /// `[sequences]`: the row of each in the step.
    pub rows: Tensor,
    /// `[sequences]`: tokens of each, the new one included.
    pub ends: Tensor,
    /// `[sequences]`: where in the table its pages begin.
    pub starts: Tensor,
    /// The pages of all.
    pub table: Tensor,
}

impl Paged {
    /// Those of a step, in one transfer.
    fn new(reads: &Reads) -> Result<Self, TchError> {
        let count = reads.sequences.iter().filter(|read| read.len == 1).count();
        let packed = Tensor::f_from_slice(&Self::pack(reads))?.f_to_device(reads.options.1)?;
        Self::of_packed(&packed, count as i64)
    }

    /// All numbers of a step, one after the other.
    pub fn pack(reads: &Reads) -> Vec<i64> {
        let decoding = || reads.sequences.iter().filter(|read| read.len == 1);
        let column = |value: fn(&Read) -> usize| decoding().map(move |read| value(read) as i64);
        column(|read| read.row)
            .chain(column(|read| read.computed + 1))
            .chain(column(|read| read.pages.start))
            .chain(reads.table.iter().map(|page| i64::from(*page)))
            .collect()
    }

    /// Views of what [`Self::pack`] has made, of so many sequences.
    ///
    /// # Errors
    /// When there is too little of it.
    pub fn of_packed(packed: &Tensor, count: i64) -> Result<Self, TchError> {
        let pages = packed.size1()? - 3 * count;
        Ok(Self {
            rows: packed.f_narrow(0, 0, count)?,
            ends: packed.f_narrow(0, count, count)?,
            starts: packed.f_narrow(0, 2 * count, count)?,
            table: packed.f_narrow(0, 3 * count, pages)?,
        })
    }
}

/// Whether the kernel has such heads.
pub fn covers(kind: Kind, head_dim: i64) -> bool {
    matches!(kind, Kind::Float | Kind::BFloat16) && head_dim % 8 == 0 && head_dim <= 256
}

/// Attention of the sequences that have one new token, into their rows of `out`.
pub(super) fn decode(
    library: Library,
    (query, pages): (&Tensor, &TensorPages),
    (reads, scores): (&Reads, Scores),
    out: &mut Tensor,
) -> Result<(), TchError> {
    let paged = once(&reads.paged, || Paged::new(reads))?;
    let (_, heads, head_dim) = query.size3()?;
    let [sequences] = paged.rows.size()[..] else {
        return Err(TchError::Shape("rows are a list".to_owned()));
    };
    if sequences == 0 {
        return Ok(());
    }
    let query = if stands(query, &[head_dim, 1]) {
        query.shallow_clone()
    } else {
        query.f_contiguous()?
    };
    let workspace = |width| {
        let size = [sequences, heads, PARTS, width];
        Tensor::f_empty(size, (Kind::Float, query.device()))
    };
    let (parts, sums) = (workspace(head_dim)?, workspace(2)?);
    check(&query, pages, paged, out)?;
    let asked = Asked {
        query: query.data_ptr(),
        keys: pages.keys.data_ptr(),
        values: pages.values.data_ptr(),
        out: out.data_ptr(),
        parts: parts.data_ptr(),
        sums: sums.data_ptr(),
        rows: paged.rows.data_ptr(),
        ends: paged.ends.data_ptr(),
        starts: paged.starts.data_ptr(),
        table: paged.table.data_ptr(),
        query_stride: query.stride()[0],
        sequences: narrow(sequences)?,
        heads: narrow(heads)?,
        kv_heads: narrow(pages.kv_heads)?,
        head_dim: narrow(head_dim)?,
        block_tokens: narrow(reads.block_tokens as i64)?,
        window: narrow(reads.window.unwrap_or(0) as i64)?,
        scale: scores.scale as f32,
        cap: scores.cap.unwrap_or(0.0) as f32,
        half: i32::from(query.kind() == Kind::BFloat16),
    };
    // SAFETY: all tensors are on one device, of the types and shapes that the kernel reads (checked above), and it is
    // given their memory's addresses. They live until the launch; what is freed after it is used again only by work that
    // comes later in the same stream. Rows, ends and pages are those of the step, which the engine's core made from
    // sequences and pages that it owns.
    unsafe { library.paged_decode(&asked) }
}

/// Whether rows stand without gaps but between themselves: the last strides are these.
fn stands(x: &Tensor, strides: &[i64]) -> bool {
    x.stride().ends_with(strides)
}

/// What the kernel takes for granted.
fn check(query: &Tensor, pages: &TensorPages, paged: &Paged, out: &Tensor) -> Result<(), TchError> {
    let (kind, device) = (query.kind(), query.device());
    let (_, heads, head_dim) = query.size3()?;
    let whole = |x: &Tensor, of: Kind| x.kind() == of && x.device() == device && x.is_contiguous();
    let width = pages.kv_heads * head_dim;
    let pools = [&pages.keys, &pages.values];
    let lists = [&paged.rows, &paged.ends, &paged.starts, &paged.table];
    let fits = whole(out, kind)
        && out.numel() == query.numel()
        && heads % pages.kv_heads == 0
        && pools
            .iter()
            .all(|pool| whole(pool, kind) && pool.size().last() == Some(&width))
        && lists.iter().all(|list| whole(list, Kind::Int64))
        && aligned(query);
    if fits {
        return Ok(());
    }
    let (size, pool) = (query.size(), pages.keys.size());
    Err(TchError::Shape(format!(
        "queries {size:?} of {kind:?} on {device:?} and pages {pool:?} do not fit together"
    )))
}

/// The kernel reads 16 bytes at once.
fn aligned(query: &Tensor) -> bool {
    let step = query.stride()[0] * query.kind().elt_size_in_bytes() as i64;
    step % 16 == 0 && query.data_ptr().addr().is_multiple_of(16)
}

fn narrow(number: i64) -> Result<i32, TchError> {
    let narrowed = i32::try_from(number);
    narrowed.map_err(|_| TchError::Shape(format!("{number} is more than the kernel counts to")))
}
