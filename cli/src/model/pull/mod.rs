//! `lps model pull`: a repository of the Hugging Face hub into a folder that an engine can serve. Owns: the order of the
//! steps: take the folder, ask for the commit, list, fetch, mark. The hub's own crate (hf-hub 1.0) neither goes on with
//! a file that is there in part nor checks what came, and brings a second HTTP stack.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// One file into the folder.
mod download;
/// The hub over HTTP.
mod hub;
/// The folder: one pull at a time, and the mark of a complete one.
mod folder;
/// Which files an engine needs.
pub(super) mod listing;
/// Checksums as the hub tells them.
mod checksum;
/// How far a pull is.
mod progress;
/// Repository, revision.
pub mod address;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use backon::ExponentialBuilder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::HumanBytes;
use serde::Serialize;

use super::tell;
use crate::console;
use crate::token::Token;
use address::{Repo, Revision};
use download::Source;
use folder::{Folder, Mark, MarkedFile};
use hub::Hub;
use listing::Wanted;
use progress::Progress;

/// Files that are fetched at once.
const FILES_AT_ONCE: usize = 4;
/// Bytes of a file with a token that are read at most.
const TOKEN_BYTES_MAX: u64 = 4096;

/// `lps model pull`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository: owner/name.
    pub repo: Repo,
    /// Branch, tag or commit.
    #[arg(long, default_value = "main")]
    pub revision: Revision,
    /// The folder to fill.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// File with the access token of a private or gated repository; unset: HF_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The token itself: for the environment only, since a command line is seen by others.
    #[arg(long, hide = true, env = "HF_TOKEN", hide_env_values = true)]
    pub token: Option<Token>,
    /// The hub.
    #[arg(
        long,
        env = "HF_ENDPOINT",
        value_name = "URL",
        default_value = "https://huggingface.co"
    )]
    pub endpoint: String,
    /// Ask nobody: use the folder as it is, or fail.
    #[arg(long)]
    pub offline: bool,
}

/// What is pulled, from where, to where.
#[derive(Debug)]
pub struct Options {
    /// The repository.
    pub repo: Repo,
    /// The revision.
    pub revision: Revision,
    /// The folder.
    pub to: PathBuf,
    /// The token.
    pub token: Option<Token>,
    /// The hub.
    pub endpoint: String,
    /// Whether nobody may be asked.
    pub offline: bool,
    /// Pauses between tries; as many as there are tries that bring nothing.
    pub pauses: ExponentialBuilder,
}

/// Why the folder is not complete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder.
    #[error("folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds something else.
    #[error("folder {} holds {repo}; choose another folder", path.display())]
    Taken {
        /// Which.
        path: PathBuf,
        /// What it holds.
        repo: String,
    },
    /// It is not complete, and nobody may be asked.
    #[error("folder {} does not hold {what} completely, and --offline forbids to ask for it", path.display())]
    Offline {
        /// Which.
        path: PathBuf,
        /// What was wanted.
        what: String,
    },
    /// Too little room.
    #[error("folder {} has room for {}; {} are missing", path.display(), HumanBytes(*free), HumanBytes(*missing))]
    Space {
        /// Which.
        path: PathBuf,
        /// Bytes that can be written.
        free: u64,
        /// Bytes that are to come.
        missing: u64,
    },
    /// The repository.
    #[error("{repo}: {source}")]
    Lacking {
        /// Which.
        repo: Repo,
        /// What it has not.
        source: listing::Lacking,
    },
    /// The hub.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// A file.
    #[error(transparent)]
    Download(#[from] download::Error),
}

/// What is there now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The folder.
    pub folder: PathBuf,
    /// The repository.
    pub repo: String,
    /// The commit.
    pub commit: String,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were fetched for it now.
    pub fetched_bytes: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (repo, commit, folder) = (&self.repo, &self.commit, self.folder.display());
        write!(
            f,
            "{folder}: {repo} at {commit}, {} files, {}; fetched {}",
            self.files,
            HumanBytes(self.bytes),
            HumanBytes(self.fetched_bytes),
        )
    }
}

/// Does what the command line says.
///
/// # Errors
/// One line that names what is missing and, where the user can act, the fix.
pub async fn run(args: Args, json: bool) -> anyhow::Result<()> {
    let token = match &args.token_file {
        Some(path) => Some(read_token(path).with_context(|| path.display().to_string())?),
        None => args.token,
    };
    let options = Options {
        repo: args.repo,
        revision: args.revision,
        to: args.to,
        token,
        endpoint: args.endpoint,
        offline: args.offline,
        pauses: ExponentialBuilder::default()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(Duration::from_secs(30))
            .with_max_times(7)
            .with_jitter(),
    };
    tell(&pull(&options).await?, json)
}

fn read_token(path: &Path) -> io::Result<Token> {
    if std::fs::metadata(path)?.len() > TOKEN_BYTES_MAX {
        return Err(io::Error::other("is too long for a token"));
    }
    Ok(Token::from(std::fs::read_to_string(path)?))
}

/// Fills the folder, or finds it complete.
///
/// # Errors
/// What is missing; what was fetched stays, and the next pull goes on with it.
pub async fn pull(options: &Options) -> Result<Summary, Error> {
    let Options { repo, revision, .. } = options;
    let to = options.to.clone();
    let taken = tokio::task::spawn_blocking(move || Folder::take(to)).await;
    let failed = |source| Error::Folder {
        path: options.to.clone(),
        source,
    };
    let folder = taken.map_err(io::Error::other).flatten().map_err(failed)?;
    let before = folder.mark();
    if let Some(mark) = before.as_ref().filter(|mark| mark.repo != repo.as_str()) {
        return Err(Error::Taken {
            path: options.to.clone(),
            repo: console::plain(&mark.repo),
        });
    }
    let present = before.as_ref().filter(|mark| mark.is_of(repo, revision));
    let hub = match present {
        Some(mark) if options.offline || revision.as_str() == mark.commit => {
            return Ok(summary(options, mark, 0));
        }
        _ if options.offline => {
            return Err(Error::Offline {
                path: options.to.clone(),
                what: format!("{repo} at {revision}"),
            });
        }
        _ => Hub::new(
            &options.endpoint,
            repo,
            options.token.as_ref(),
            options.pauses,
        )?,
    };
    let commit = match (hub.commit(revision).await, present) {
        (Ok(commit), _) => commit,
        // What is there was the revision once, and serves until the hub is back.
        (Err(error), Some(mark)) if error.pause().is_some() => {
            tracing::warn!("{error}; taking what is there, commit {}", mark.commit);
            return Ok(summary(options, mark, 0));
        }
        (Err(error), _) => return Err(error.into()),
    };
    if let Some(mark) = before.as_ref().filter(|mark| mark.commit == commit) {
        return Ok(summary(options, mark, 0));
    }
    let entries = hub.tree(&commit).await?;
    let files = listing::choose(&entries).map_err(|source| Error::Lacking {
        repo: repo.clone(),
        source,
    })?;
    has_room(&folder, &files)?;
    folder.unmark().map_err(failed)?;
    let fetched = fetch(&hub, &commit, &folder, &files).await?;
    let mark = Mark {
        repo: repo.to_string(),
        revision: revision.to_string(),
        commit,
        files: files.into_iter().map(marked).collect(),
    };
    folder.complete(&mark, before.as_ref()).map_err(failed)?;
    Ok(summary(options, &mark, fetched))
}

async fn fetch(
    hub: &Hub,
    commit: &str,
    folder: &Folder,
    files: &[Wanted],
) -> Result<u64, download::Error> {
    let progress = Progress::new(files.iter().map(|file| file.size).sum());
    let source = Source {
        hub,
        commit,
        folder: folder.path(),
        progress: &progress,
    };
    let all = stream::iter(files)
        .map(|file| source.have(file))
        .buffer_unordered(FILES_AT_ONCE)
        .try_fold(0, async |sum, fetched| Ok(sum + fetched));
    tokio::select! {
        result = all => result,
        () = progress.tell() => unreachable!("it tells until it is dropped"),
    }
}

fn has_room(folder: &Folder, files: &[Wanted]) -> Result<(), Error> {
    let missing = |file: &Wanted| file.size.saturating_sub(folder.bytes_of(&file.name));
    let missing = files.iter().map(missing).sum();
    let path = folder.path().to_path_buf();
    match folder.bytes_free() {
        Ok(free) if free < missing => Err(Error::Space {
            path,
            free,
            missing,
        }),
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Folder { path, source }),
    }
}

fn marked(file: Wanted) -> MarkedFile {
    MarkedFile {
        name: file.name,
        size: file.size,
    }
}

fn summary(options: &Options, mark: &Mark, fetched_bytes: u64) -> Summary {
    Summary {
        folder: options.to.clone(),
        repo: mark.repo.clone(),
        commit: mark.commit.clone(),
        files: mark.files.len(),
        bytes: mark.bytes(),
        fetched_bytes,
    }
}
