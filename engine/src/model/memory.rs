//! What fits into memory. Owns: what counts as free on this machine (the control group's limit included), whether weights
//! fit, and the rule from bytes to KV pages. Knows no tensor.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::KvSize;

/// Too little memory, with the numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Weights would take more than is free.
    #[error(
        "too little memory for the weights: they take {needed}, and {free} are free; give more memory, or fewer bits with \
         --quantization or --dtype"
    )]
    Weights {
        /// Bytes of the weights that are multiplied with.
        needed: Bytes,
        /// Bytes that are free.
        free: Bytes,
    },
    /// A size was asked for that is more than is free.
    #[error(
        "too little memory for the KV cache: {size} are asked for, and {free} are free; lower --kv-cache-size"
    )]
    Size {
        /// What was asked for.
        size: Bytes,
        /// Bytes that are free with weights loaded.
        free: Bytes,
    },
    /// The pages are too few for one sequence.
    #[error(
        "too little memory for the KV cache: {given} of {free} free hold {blocks} pages of {block}, but one sequence of \
         --max-model-len needs {blocks_min}; lower --max-model-len, or raise --kv-cache-size or --kv-cache-fraction"
    )]
    Pages {
        /// Bytes that are for the cache.
        given: Bytes,
        /// Bytes that are free with weights loaded.
        free: Bytes,
        /// Bytes of a page.
        block: Bytes,
        /// Pages that they hold.
        blocks: u64,
        /// Pages of the longest sequence.
        blocks_min: u64,
    },
    /// For the positions of the longest sequence.
    #[error(
        "too little memory for the angles of {positions} positions: they take {needed}, and {free} are free; lower \
         --max-model-len"
    )]
    Angles {
        /// Tokens of the longest sequence.
        positions: u64,
        /// What their tables take.
        needed: Bytes,
        /// What is free.
        free: Bytes,
    },
}

/// For people: in the unit that leaves at least one digit before the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 >> shift > 0) {
            Some((shift, unit)) => {
                write!(f, "{:.1} {unit}", self.0 as f64 / (1_u64 << shift) as f64)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// What [`kv_blocks`] decides on.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// What was asked for.
    pub kv: KvSize,
    /// Bytes of one page over all layers.
    pub block_bytes: u64,
    /// Bytes that are free now.
    pub free_bytes: u64,
    /// Fewest pages with which the longest sequence runs.
    pub blocks_min: u64,
    /// Pages that a full batch of longest sequences fills.
    pub blocks_useful: u64,
}

/// Whether weights of so many bytes fit. Asked before they are loaded: what does not fit is ended by the kernel, without a
/// word.
///
/// # Errors
/// When they do not.
pub fn weights_fit(needed_bytes: u64, free_bytes: u64) -> Result<(), Error> {
    if needed_bytes <= free_bytes {
        return Ok(());
    }
    Err(Error::Weights {
        needed: Bytes(needed_bytes),
        free: Bytes(free_bytes),
    })
}

/// Pages of the pool.
///
/// # Errors
/// When they do not suffice for one sequence, or are more than is free.
pub fn kv_blocks(demand: &Demand) -> Result<u32, Error> {
    let block_bytes = demand.block_bytes.max(1);
    let (given, most) = match demand.kv {
        KvSize::Bytes(bytes) => (bytes, u64::from(u32::MAX)),
        KvSize::FreeFraction(fraction) => {
            let share = (demand.free_bytes as f64 * fraction.clamp(0.0, 1.0)) as u64;
            (share, demand.blocks_useful)
        }
    };
    let blocks = (given / block_bytes).min(most).min(u64::from(u32::MAX));
    let free = Bytes(demand.free_bytes);
    if blocks < demand.blocks_min {
        return Err(Error::Pages {
            given: Bytes(given),
            free,
            block: Bytes(block_bytes),
            blocks,
            blocks_min: demand.blocks_min,
        });
    }
    if blocks * block_bytes > demand.free_bytes {
        let size = Bytes(given);
        return Err(Error::Size { size, free });
    }
    Ok(u32::try_from(blocks).unwrap_or(u32::MAX))
}

/// Bytes that angles take for each number of a position: 32 bits in two tables, and in what they are made from.
const ANGLE_BYTES: u64 = 16;

/// Whether angles for so many positions can be computed. A file may name any number of them.
///
/// # Errors
/// When they are more than is free.
pub fn check_angles(positions: u64, numbers: u64) -> Result<(), Error> {
    let (needed, free) = (
        positions
            .saturating_mul(numbers)
            .saturating_mul(ANGLE_BYTES),
        free_bytes(),
    );
    if needed > free {
        return Err(Error::Angles {
            positions,
            needed: Bytes(needed),
            free: Bytes(free),
        });
    }
    Ok(())
}

/// Host memory that this process may still take, in bytes: what the system has available, or what the control group
/// leaves if that is less. What the heap holds for nobody is given back first.
pub fn free_bytes() -> u64 {
    lps_engine_kernels::memory::give_back_unused();
    let system = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available_bytes(&text))
        .unwrap_or(u64::MAX);
    system.min(group_bytes().unwrap_or(u64::MAX))
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib << 10)
}

fn group_bytes() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    least_left(&own, Path::new("/sys/fs/cgroup"))
}

/// The least that any control group above a process leaves, given its `/proc/PID/cgroup`; page cache that can be dropped
/// counts as free.
fn least_left(own: &str, root: &Path) -> Option<u64> {
    let unified = own.lines().find_map(|line| line.strip_prefix("0::"));
    let version_1 = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.strip_prefix("memory:")
    });
    let unified = unified.map(|path| (root.to_owned(), path, GroupFiles::V2));
    let version_1 = version_1.map(|path| (root.join("memory"), path, GroupFiles::V1));
    [unified, version_1]
        .into_iter()
        .flatten()
        .flat_map(|(root, path, files)| folders(&root, path).into_iter().map(move |f| (f, files)))
        .filter_map(|(folder, files)| files.left(&folder))
        .min()
}

/// The group's folder and all above it. Inside a container the path may be the host's and not be there.
fn folders(root: &Path, path: &str) -> Vec<PathBuf> {
    let full = root.join(path.trim_start_matches('/'));
    full.ancestors()
        .take_while(|folder| folder.starts_with(root))
        .map(Path::to_path_buf)
        .collect()
}

#[derive(Debug, Clone, Copy)]
enum GroupFiles {
    V1,
    V2,
}

impl GroupFiles {
    fn left(self, folder: &Path) -> Option<u64> {
        let (limit, usage, inactive) = match self {
            Self::V1 => (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            Self::V2 => ("memory.max", "memory.current", "inactive_file"),
        };
        let number = |name: &str| -> Option<u64> {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        // `max` in version 2 is no number: no limit here.
        let (limit, used) = (number(limit)?, number(usage)?);
        let droppable = std::fs::read_to_string(folder.join("memory.stat"))
            .ok()
            .and_then(|text| field(&text, inactive))
            .unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(droppable)))
    }
}

fn field(stat: &str, name: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        kv: KvSize::FreeFraction(0.5),
        block_bytes: 1 << 20,
        free_bytes: 100 << 20,
        blocks_min: 10,
        blocks_useful: 40,
    };

    #[test]
    fn a_share_is_capped_by_what_can_be_used_and_bytes_are_not() {
        assert_eq!(kv_blocks(&DEMAND), Ok(40));
        let all = Demand {
            blocks_useful: 1000,
            ..DEMAND
        };
        assert_eq!(kv_blocks(&all), Ok(50));
        let bytes = Demand {
            kv: KvSize::Bytes(60 << 20),
            ..DEMAND
        };
        assert_eq!(kv_blocks(&bytes), Ok(60));
    }

    #[test]
    fn too_little_is_refused_with_the_numbers() {
        let small = Demand {
            free_bytes: 10 << 20,
            ..DEMAND
        };
        let error = kv_blocks(&small).expect_err("5 pages").to_string();
        for number in ["5.0 MiB of 10.0 MiB", "hold 5 pages of 1.0 MiB", "needs 10"] {
            assert!(error.contains(number), "{error}");
        }
        let more_than_free = Demand {
            kv: KvSize::Bytes(200 << 20),
            ..DEMAND
        };
        let error = kv_blocks(&more_than_free).expect_err("200 MiB").to_string();
        assert!(
            error.contains("200.0 MiB are asked for, and 100.0 MiB are free"),
            "{error}"
        );
        assert_eq!(weights_fit(3 << 30, 3 << 30), Ok(()));
        let error = weights_fit(3 << 30, 2 << 30)
            .expect_err("3 GiB")
            .to_string();
        assert!(
            error.contains("take 3.0 GiB, and 2.0 GiB are free"),
            "{error}"
        );
    }

    #[test]
    fn the_systems_figures_are_read() {
        assert_eq!(
            available_bytes("MemTotal:  9 kB\nMemAvailable:    2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(
            field("anon 1\ninactive_file 77\n", "inactive_file"),
            Some(77)
        );
        assert!(free_bytes() > 0 && free_bytes() < u64::MAX);
    }

    /// A folder of the group's files, in the form of each version.
    fn group(root: &Path, folder: &str, [limit, used, droppable]: [&str; 3]) {
        let folder = root.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let stat = format!("anon 1\ninactive_file {droppable}\ntotal_inactive_file {droppable}\n");
        for (name, text) in [
            ("memory.max", limit),
            ("memory.limit_in_bytes", limit),
            ("memory.current", used),
            ("memory.usage_in_bytes", used),
            ("memory.stat", &stat),
        ] {
            std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn the_least_that_a_group_above_leaves_is_free() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        group(root, "pods", ["3000", "1500", "0"]);
        group(root, "pods/one", ["2000", "1200", "500"]);
        group(root, "pods/other", ["max", "700", "0"]);
        for (own, left) in [
            ("0::/pods/one\n", Some(1300)),
            // No limit of its own: the one above holds.
            ("0::/pods/other\n", Some(1500)),
            // The host's path, seen from a container.
            ("0::/../elsewhere/pod\n", None),
            ("0::/\n", None),
        ] {
            assert_eq!(least_left(own, root), left, "{own}");
        }
        group(root, "memory/pod", ["900", "100", "50"]);
        assert_eq!(
            least_left("7:cpu:/pod\n4:memory:/pod\n0::/\n", root),
            Some(850)
        );
    }
}
