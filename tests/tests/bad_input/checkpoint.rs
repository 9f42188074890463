//! Small checkpoints, and opening one as the engine does when it starts. Owns: what a refusal must look like, and the
//! bound on memory.

use std::fs;
use std::path::Path;
use std::sync::Once;

use lps_cli::model::check::check;
use lps_cli::model::make::{self, Options};
use lps_cli::model::shape::Family;
use lps_engine::model::directory::{ModelDirectory, Source};
use lps_engine::model::embedding::Embedding;
use lps_engine::model::progress::Progress;
use lps_engine::model::{self, Device, Dtype, Error, KernelsAsked, KvSize, LoadOptions};
use lps_engine::text::Text;
use proptest::prelude::ProptestConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

/// Longest line that is said about a checkpoint, in a folder with a short name.
const LINE_CHARACTERS_MAX: usize = 1500;

/// Address space beyond what the process has when the first checkpoint is opened: threads reserve some for themselves.
/// The checkpoints here have less than a megabyte, so whoever needs so much was led to it by a number in a file.
const ADDRESSES: u64 = 4 << 30;

/// The same for each case of a property, in all tests: weights stay mapped until the process ends.
const ADDRESSES_PER_CASE: u64 = 16 << 20;

/// What proptest takes where `PROPTEST_CASES` says nothing.
const CASES_UNSAID: u32 = 256;

/// So many mutations each run; more, or fewer, in proportion to what `PROPTEST_CASES` says.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: (cases * default.cases).div_ceil(CASES_UNSAID),
        failure_persistence: None,
        ..default
    }
}

/// A sound checkpoint of a tenth of a million parameters.
pub(crate) fn made(family: Family) -> TempDir {
    made_with(|options| options.family = Some(family))
}

/// The same with other options.
pub(crate) fn made_with(change: impl FnOnce(&mut Options)) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut options = Options::new(folder.path());
    change(&mut options);
    make::make(&options).expect("the folder is new");
    folder
}

pub(crate) fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).expect(name)
}

pub(crate) fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::write(folder.join(name), content).expect(name);
}

/// Opens what text needs.
pub(crate) fn open_text(folder: &Path) -> Result<Text, Error> {
    Text::open(&ModelDirectory::open(&Source::Directory(
        folder.to_path_buf(),
    ))?)
}

/// Opens all that the engine opens before it serves.
fn open(folder: &Path) -> Result<(), Error> {
    bound_memory();
    let directory = ModelDirectory::open(&Source::Directory(folder.to_path_buf()))?;
    Text::open(&directory)?;
    let options = LoadOptions {
        dtype: Some(Dtype::Float32),
        kernels: KernelsAsked::Auto,
        quantization: None,
        device: Device::Cpu,
        block_tokens: 16,
        kv: KvSize::Bytes(8 << 20),
        max_model_len: directory.context_tokens,
        max_num_seqs: 4,
        max_batched_tokens: 64,
        sim: model::sim::SimCost::default(),
        printable_tokens: Vec::new(),
        progress: Progress::silent(),
    };
    match Embedding::read(&directory)? {
        None => drop(model::load(&directory, &options)?),
        Some(embedding) => {
            let options = LoadOptions {
                max_model_len: embedding.longest(directory.context_tokens),
                kernels: KernelsAsked::Operators,
                ..options
            };
            drop(model::load_embedder(&directory, &embedding, &options)?);
        }
    }
    Ok(())
}

/// The line with which a checkpoint is refused, without the folder's name; `None` when it is taken.
pub(crate) fn refusal(folder: &Path) -> Option<String> {
    let error = open(folder).err()?;
    let line = error.to_string();
    assert!(!line.chars().any(char::is_control), "one line: {line:?}");
    assert!(
        line.chars().count() < LINE_CHARACTERS_MAX,
        "a short line: {line}"
    );
    assert!(
        !line.contains("allocate memory"),
        "no allocation is tried: {line}"
    );
    let shown = folder.display().to_string();
    let rest = match line.strip_prefix(&shown) {
        Some(rest) => rest.trim_start_matches('/').to_owned(),
        // What the memory does not suffice for names flags.
        None => {
            assert!(line.contains("--max-model-len"), "names a file: {line}");
            line
        }
    };
    Some(rest)
}

/// The same, where `lps model check` has looked at it first: it refuses in words of its own, or takes it.
pub(crate) fn refused_by_both(folder: &Path) -> Option<String> {
    if let Err(problem) = check(folder) {
        let line = problem.to_string();
        assert!(
            line.starts_with(&folder.display().to_string()),
            "names a file: {line}"
        );
    }
    refusal(folder)
}

/// A process that is asked for gigabytes by a small file ends here, and does not bring its machine down.
fn bound_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let size = size.and_then(|size| size.trim().strip_suffix(" kB"));
        let kilobytes: u64 = size.and_then(|size| size.parse().ok()).expect("a number");
        let cases = u64::from(ProptestConfig::default().cases);
        let bound = (kilobytes << 10) + ADDRESSES + cases * ADDRESSES_PER_CASE;
        let hard = getrlimit(Resource::As).maximum;
        let limit = Rlimit {
            current: Some(bound.min(hard.unwrap_or(u64::MAX))),
            maximum: hard,
        };
        setrlimit(Resource::As, limit).expect("it is lowered");
    });
}
