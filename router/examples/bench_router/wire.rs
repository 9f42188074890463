//! One connection of a client. Owns: sending a request, and reading its answer: all of it, or as far as times need it, which
//! is the status, where the body ends, and the stamps of a stream's events.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stamp;

/// A connection that is kept from request to request.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// Where an answer's body ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    Bytes(usize),
    Chunked,
}

impl Wire {
    pub(crate) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: BytesMut::with_capacity(1 << 14),
        })
    }

    /// Sends a request and reads its answer to the end; notes how old each piece of a stream was when it came.
    ///
    /// # Errors
    /// When the answer is not a whole one with status 200.
    pub(crate) async fn exchange(
        &mut self,
        request: (Bytes, Bytes),
        ages_us: &mut Vec<u64>,
    ) -> anyhow::Result<()> {
        let (head, length) = self.ask(request).await?;
        let status = head.lines().next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.1 200 "), "{status}");
        match length {
            Length::Bytes(length) => self.skip(length).await,
            Length::Chunked => self.chunks(ages_us).await,
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(
            read > 0,
            "the connection was closed before the answer's end"
        );
        Ok(())
    }

    /// Bytes up to and with a mark.
    async fn until(&mut self, mark: &[u8]) -> anyhow::Result<BytesMut> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, mark) {
                return Ok(self.buffer.split_to(at + mark.len()));
            }
            self.more().await?;
        }
    }

    /// Sends a request and reads the head of its answer: its text, and where the body ends.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn ask(
        &mut self,
        (head, body): (Bytes, Bytes),
    ) -> anyhow::Result<(String, Length)> {
        self.stream.write_all_buf(&mut head.chain(body)).await?;
        let head = self.until(b"\r\n\r\n").await?;
        let head = std::str::from_utf8(&head)?.to_owned();
        let length = length(&head)?;
        Ok((head, length))
    }

    /// The rest of an answer.
    ///
    /// # Errors
    /// When the connection breaks before its end.
    pub(crate) async fn rest(&mut self, length: Length) -> anyhow::Result<BytesMut> {
        let mut rest = BytesMut::new();
        match length {
            Length::Bytes(length) => {
                while self.buffer.len() < length {
                    self.more().await?;
                }
                rest = self.buffer.split_to(length);
            }
            Length::Chunked => {
                while let Some(chunk) = self.chunk().await? {
                    rest.extend_from_slice(&chunk);
                }
            }
        }
        Ok(rest)
    }

    /// The next chunk; `None` for the last one, which is empty.
    async fn chunk(&mut self) -> anyhow::Result<Option<BytesMut>> {
        let line = self.until(b"\r\n").await?;
        let digits = std::str::from_utf8(&line)?.trim();
        let size = usize::from_str_radix(digits, 16).context("a chunk's size")?;
        while self.buffer.len() < size + 2 {
            self.more().await?;
        }
        let chunk = self.buffer.split_to(size);
        self.buffer.advance(2);
        Ok((size > 0).then_some(chunk))
    }

    async fn skip(&mut self, mut left: usize) -> anyhow::Result<()> {
        loop {
            let here = left.min(self.buffer.len());
            self.buffer.advance(here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self, ages_us: &mut Vec<u64>) -> anyhow::Result<()> {
        let (mut events, mut is_done) = (BytesMut::new(), false);
        while let Some(chunk) = self.chunk().await? {
            events.extend_from_slice(&chunk);
            while let Some(at) = memmem::find(&events, b"\n\n") {
                let event = events.split_to(at + 2);
                let sent_us = stamp::of(&event);
                ages_us.extend(sent_us.map(|sent| stamp::now_us().saturating_sub(sent)));
                is_done |= event.starts_with(b"data: [DONE]");
            }
        }
        ensure!(is_done, "the stream ended before [DONE]");
        Ok(())
    }
}

/// Where a body ends, as its answer's head says.
fn length(head: &str) -> anyhow::Result<Length> {
    for line in head.lines() {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Length::Bytes(value.trim().parse()?));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Length::Chunked);
        }
    }
    bail!("an answer without a length")
}
