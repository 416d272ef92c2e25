//! A client that costs little: a connection kept open, requests that are ready as bytes, and of the answer its status
//! and the number of accepted records.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bench::cpu_seconds_of_thread;

/// What one client reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    pub accepted: u64,
    /// Of this client's thread.
    pub cpu_seconds: f64,
}

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

/// Sends the requests in order, one after the other's answer, again and again until the time is over.
pub fn send(address: SocketAddr, requests: &[Vec<u8>], started: Instant, duration: Duration) -> anyhow::Result<Sent> {
    let cpu_before = cpu_seconds_of_thread();
    let mut stream = TcpStream::connect(address).context("the server cannot be reached")?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::new();
    let mut accepted = 0;
    for request in requests.iter().cycle() {
        if started.elapsed() >= duration {
            break;
        }
        stream.write_all(request)?;
        let body = read_answer(&mut stream, &mut answer)?;
        accepted += number_after(body, b"\"accepted\":").context("an answer does not say what was accepted")?;
    }
    Ok(Sent { accepted, cpu_seconds: cpu_seconds_of_thread() - cpu_before })
}

/// Reads one answer and gives its body; anything but a 200 with its length is a failure.
fn read_answer<'a>(stream: &mut TcpStream, answer: &'a mut Vec<u8>) -> anyhow::Result<&'a [u8]> {
    answer.clear();
    let mut buffer = [0; 4096];
    let mut body = None;
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        answer.extend_from_slice(&buffer[..read]);
        if body.is_none()
            && let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n")
        {
            if !answer.starts_with(b"HTTP/1.1 200 ") {
                bail!("the server answered {}", String::from_utf8_lossy(answer));
            }
            let length = number_after(&answer[..end], b"content-length: ").context("an answer has no length")?;
            body = Some(end + 4..end + 4 + usize::try_from(length)?);
        }
        if let Some(body) = body.clone().filter(|body| body.end <= answer.len()) {
            return Ok(&answer[body]);
        }
    }
}

fn number_after(text: &[u8], mark: &[u8]) -> Option<u64> {
    let rest = &text[memchr::memmem::find(text, mark)? + mark.len()..];
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}
