//! One connection of a client. Owns: sending a request, and reading its answer as far as times need it: the status, where
//! the body ends, and the stamps of a stream's events.

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
enum Length {
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
        (head, body): (Bytes, Bytes),
        ages_us: &mut Vec<u64>,
    ) -> anyhow::Result<()> {
        self.stream.write_all_buf(&mut head.chain(body)).await?;
        match self.head().await? {
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

    async fn head(&mut self) -> anyhow::Result<Length> {
        let head = self.until(b"\r\n\r\n").await?;
        let mut lines = std::str::from_utf8(&head)?.lines();
        let status = lines.next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.1 200 "), "{status}");
        for line in lines {
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
        loop {
            let line = self.until(b"\r\n").await?;
            let digits = std::str::from_utf8(&line)?.trim();
            let size = usize::from_str_radix(digits, 16).context("a chunk's size")?;
            while self.buffer.len() < size + 2 {
                self.more().await?;
            }
            events.extend_from_slice(&self.buffer[..size]);
            self.buffer.advance(size + 2);
            while let Some(at) = memmem::find(&events, b"\n\n") {
                let event = events.split_to(at + 2);
                let sent_us = stamp::of(&event);
                ages_us.extend(sent_us.map(|sent| stamp::now_us().saturating_sub(sent)));
                is_done |= event.starts_with(b"data: [DONE]");
            }
            if size == 0 {
                ensure!(is_done, "the stream ended before [DONE]");
                return Ok(());
            }
        }
    }
}
