//! One file from the hub into the folder. Owns: going on where a connection broke, and that a file has its name only
//! when its content is right.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::CONTENT_RANGE;
use hyper::{Response, StatusCode};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};
use tokio::time::{sleep, timeout};

use super::checksum::Running;
use super::folder::{partial, remove};
use super::hub::{self, Hub, SILENCE_MAX};
use super::listing::Wanted;
use super::progress::Progress;

/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// How often a file is fetched from its beginning when what came was wrong.
const FETCHES_MAX: usize = 2;

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// The disk.
    #[error("{}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The content is wrong.
    #[error(
        "{0}: its content is not what the hub's checksum says, fetched {FETCHES_MAX} times; it was deleted"
    )]
    Mismatch(String),
}

/// What all files of one pull have in common.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) hub: &'a Hub,
    pub(super) commit: &'a str,
    pub(super) folder: &'a Path,
    pub(super) progress: &'a Progress,
}

/// A file that is not whole yet.
struct Partial {
    path: PathBuf,
    file: BufWriter<tokio::fs::File>,
    length: u64,
    running: Running,
}

impl Source<'_> {
    /// Has the file; gives the bytes that were fetched for it.
    pub(super) async fn have(self, wanted: &Wanted) -> Result<u64, Error> {
        let whole = self.folder.join(&wanted.name);
        let failed = file_error(&whole);
        if is_right(whole.clone(), wanted.clone())
            .await
            .map_err(&failed)?
        {
            // What a cut pull left behind is needed no more.
            remove(&partial(self.folder, &wanted.name)).map_err(&failed)?;
            self.progress.more(wanted.size);
            return Ok(0);
        }
        let mut fetched = 0;
        for _ in 0..FETCHES_MAX {
            let mut partial = self.begin(wanted).await?;
            let before = partial.length;
            self.fill(&mut partial, wanted).await?;
            fetched += partial.length.saturating_sub(before);
            if self.finish(partial, wanted, &whole).await? {
                return Ok(fetched);
            }
            tracing::warn!("{}: the content is wrong; it is deleted", wanted.name);
        }
        Err(Error::Mismatch(wanted.name.clone()))
    }

    /// Opens what is there of the file, and takes it into the checksum.
    async fn begin(self, wanted: &Wanted) -> Result<Partial, Error> {
        let path = partial(self.folder, &wanted.name);
        let failed = file_error(&path);
        let (place, sought) = (path.clone(), wanted.clone());
        let begun = tokio::task::spawn_blocking(move || begin(&place, &sought)).await;
        let (file, length, running) = begun.map_err(io::Error::other).flatten().map_err(&failed)?;
        self.progress.more(length);
        let mut file = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::from_std(file));
        file.seek(io::SeekFrom::Start(length))
            .await
            .map_err(&failed)?;
        Ok(Partial {
            path,
            file,
            length,
            running,
        })
    }

    /// Fetches what is missing, with as many tries as bring something; a try that brings nothing is one of few.
    async fn fill(self, partial: &mut Partial, wanted: &Wanted) -> Result<(), Error> {
        let mut pauses = self.hub.pauses();
        while partial.length < wanted.size {
            let before = partial.length;
            let result = self.piece(partial, wanted).await;
            let failed = file_error(&partial.path);
            partial.file.flush().await.map_err(failed)?;
            let error = match result {
                Ok(()) if partial.length >= wanted.size => return Ok(()),
                Ok(()) => hub::Error::transient(&wanted.name, "the answer ended early"),
                Err(Error::Hub(error)) => error,
                Err(error) => return Err(error),
            };
            let Some(least) = error.pause() else {
                return Err(error.into());
            };
            if partial.length > before {
                pauses = self.hub.pauses();
            }
            let Some(pause) = pauses.next() else {
                return Err(error.into());
            };
            tracing::info!("{error}; going on from byte {}", partial.length);
            sleep(pause.max(least)).await;
        }
        Ok(())
    }

    /// One answer of the hub, as far as it goes.
    async fn piece(self, partial: &mut Partial, wanted: &Wanted) -> Result<(), Error> {
        let from = partial.length;
        let answer = self.hub.file(self.commit, &wanted.name, from).await?;
        let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT && begins_at(&answer, from);
        if from > 0 && !goes_on {
            self.restart(partial, wanted).await?;
        }
        if answer.status() != StatusCode::OK && !goes_on {
            let cause = format!("the hub does not go on from byte {from}");
            return Err(hub::Error::transient(&wanted.name, cause).into());
        }
        let mut body = answer.into_body();
        while let Some(frame) = timeout(SILENCE_MAX, body.frame())
            .await
            .map_err(|_| hub::Error::transient(&wanted.name, "nothing comes any more"))?
        {
            let frame = frame.map_err(|error| {
                hub::Error::transient(&wanted.name, format!("the connection broke: {error}"))
            })?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            partial.running.take(data);
            let failed = file_error(&partial.path);
            partial.file.write_all(data).await.map_err(failed)?;
            partial.length += data.len() as u64;
            self.progress.more(data.len() as u64);
            // What is too long cannot become right.
            if partial.length > wanted.size {
                break;
            }
        }
        Ok(())
    }

    async fn restart(self, partial: &mut Partial, wanted: &Wanted) -> Result<(), Error> {
        let failed = file_error(&partial.path);
        partial.file.rewind().await.map_err(&failed)?;
        partial.file.get_mut().set_len(0).await.map_err(&failed)?;
        self.progress.less(partial.length);
        partial.length = 0;
        partial.running = wanted.checksum.begin(wanted.size);
        Ok(())
    }

    /// Gives the file its name; false: its content was wrong, and it is deleted.
    async fn finish(self, partial: Partial, wanted: &Wanted, whole: &Path) -> Result<bool, Error> {
        let failed = file_error(&partial.path);
        if partial.length != wanted.size || !wanted.checksum.matches(partial.running) {
            remove(&partial.path).map_err(&failed)?;
            self.progress.less(partial.length);
            return Ok(false);
        }
        partial.file.get_ref().sync_all().await.map_err(&failed)?;
        fs::rename(&partial.path, whole).map_err(&failed)?;
        Ok(true)
    }
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::File {
        path: path.clone(),
        source,
    }
}

fn begins_at(answer: &Response<Incoming>, from: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE);
    range
        .and_then(|range| range.to_str().ok())
        .is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn begin(path: &Path, wanted: &Wanted) -> io::Result<(File, u64, Running)> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let mut running = wanted.checksum.begin(wanted.size);
    if file.metadata()?.len() > wanted.size {
        file.set_len(0)?;
    }
    let length = running.take_file(path)?;
    Ok((file, length, running))
}

/// Whether the file is there already.
async fn is_right(path: PathBuf, wanted: Wanted) -> io::Result<bool> {
    let look = move || match fs::metadata(&path) {
        Ok(found) if found.is_file() && found.len() == wanted.size => {
            let mut running = wanted.checksum.begin(wanted.size);
            running.take_file(&path)?;
            Ok(wanted.checksum.matches(running))
        }
        _ => Ok(false),
    };
    tokio::task::spawn_blocking(look).await?
}
