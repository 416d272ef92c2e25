//! A client that costs little, for servers on the same machine: connections kept open, requests that are ready as bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, bail};

/// A POST with its headers and body.
pub fn request(address: SocketAddr, path: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// One connection, kept open.
pub struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    /// The last one with its head.
    answer: Vec<u8>,
    /// Its status, and where its body is.
    head: Option<(u16, Range<usize>)>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("the server cannot be reached")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 << 10].into(), answer: Vec::new(), head: None })
    }

    /// Sends a request and gives its answer's body; anything but a 200 with its length is a failure.
    pub fn ask(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        let (status, body) = self.ask_for_status(request)?;
        if status != 200 {
            bail!("the server answered {status}: {}", String::from_utf8_lossy(body));
        }
        Ok(body)
    }

    /// Sends a request and gives its answer's status and body.
    pub fn ask_for_status(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.send(request)?;
        let (status, body) = loop {
            if let Some(complete) = self.receive()? {
                break complete;
            }
        };
        Ok((status, &self.answer[body]))
    }

    /// Sends a request without waiting for its answer.
    pub fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.answer.clear();
        self.head = None;
        Ok(self.stream.write_all(request)?)
    }

    /// Reads once, which waits only where nothing has come: the answer's status and where its body is, when all of it is there.
    pub fn receive(&mut self) -> anyhow::Result<Option<(u16, Range<usize>)>> {
        let read = self.stream.read(&mut self.buffer)?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        self.answer.extend_from_slice(&self.buffer[..read]);
        if self.head.is_none()
            && let Some(end) = memchr::memmem::find(&self.answer, b"\r\n\r\n")
        {
            let status = number_after(&self.answer[..end], b" ").context("an answer has no status")?;
            let length = number_after(&self.answer[..end], b"content-length: ").context("an answer has no length")?;
            self.head = Some((u16::try_from(status)?, end + 4..end + 4 + usize::try_from(length)?));
        }
        Ok(self.head.clone().filter(|(_, body)| body.end <= self.answer.len()))
    }

    /// Milliseconds that the last answer's `Server-Timing` has for this part.
    pub fn server_timing(&self, part: &str) -> Option<f64> {
        let end = memchr::memmem::find(&self.answer, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&self.answer[..end]).ok()?;
        let timing = head.lines().find(|line| line.to_ascii_lowercase().starts_with("server-timing:"))?;
        let rest = &timing[timing.find(&format!("{part};dur="))? + part.len() + ";dur=".len()..];
        rest.split([',', ';']).next()?.trim().parse().ok()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The whole number behind the first occurrence of a mark, in any case of letters.
pub fn number_after(text: &[u8], mark: &[u8]) -> Option<u64> {
    let at = text.windows(mark.len()).position(|part| part.eq_ignore_ascii_case(mark))?;
    let rest = &text[at + mark.len()..];
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}
