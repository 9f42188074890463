//! Names of the Hugging Face hub. Owns: which texts may become part of an address, a path or a command line.

/// Longest name, in bytes; the hub allows 96 for each half of a repository's.
const BYTES_MAX: usize = 200;

/// Whether a text can be a part of a path, or a word of a command, without leading elsewhere.
pub fn is_plain(text: &str) -> bool {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty()
        && text.len() <= BYTES_MAX
        && !text.starts_with(['.', '-'])
        && text.chars().all(is_harmless)
}

/// Whether a text names a repository: `owner/name`, or `name` alone for the hub's oldest ones.
pub fn is_repository(text: &str) -> bool {
    is_path(text, 2)
}

/// Whether a text names a branch, a tag or a commit.
pub fn is_revision(text: &str) -> bool {
    is_path(text, 8)
}

fn is_path(text: &str, parts_max: usize) -> bool {
    text.len() <= BYTES_MAX && text.split('/').count() <= parts_max && text.split('/').all(is_plain)
}
