//! The port: taken at the start, closed before the connections are.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use anyhow::Context as _;
use axum_server::{AddrListener, Address};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Connections that may wait to be taken; the system may allow fewer.
const WAITING_CONNECTIONS: i32 = 4_096;

/// Takes the port, or says why not.
pub fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => {
                "the port is taken: choose another with --listen or LISTEN (port 0 takes a free one)"
            }
            ErrorKind::AddrNotAvailable => "this machine has no such address: 0.0.0.0 stands for all that it has",
            ErrorKind::PermissionDenied => "this user may not use the port: choose one above 1023",
            _ => "choose another address with --listen or LISTEN",
        };
        anyhow::Error::new(error).context(format!("tango cannot listen on {address}; {advice}"))
    })?;
    // The standard library lets 128 wait: of a balancer's many at once the others would come a second later.
    rustix::net::listen(&listener, WAITING_CONNECTIONS).context("the listening socket cannot be set up")?;
    listener.set_nonblocking(true).context("the listening socket cannot be set up")?;
    Ok(listener)
}

/// Lets connections in until it is told to close: those that the system has already are let in first, later ones are refused, so that
/// their clients know at once that nobody has got their request.
pub(super) struct Entrance {
    /// `None` once it is closed.
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    closing: CancellationToken,
}

impl Entrance {
    pub(super) fn new(listener: std::net::TcpListener, closing: CancellationToken) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener: Mutex::new(Some(TcpListener::from_std(listener)?)), address, closing })
    }
}

impl AddrListener<TcpStream, Peer> for Entrance {
    async fn bind_to(Peer(address): Peer) -> io::Result<Self> {
        Self::new(std::net::TcpListener::bind(address)?, CancellationToken::new())
    }

    async fn accept_stream(&self) -> io::Result<(TcpStream, Peer)> {
        let mut listener = self.listener.lock().await;
        if let Some(open) = &*listener {
            tokio::select! {
                biased;
                accepted = open.accept() => {
                    let (stream, address) = accepted?;
                    // What is small is not to wait until the client has acknowledged what was sent before: 40 ms with HTTP/2. (It fails when
                    // the client has gone, which is seen when it is read from.)
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, Peer(address)));
                }
                () = self.closing.cancelled() => *listener = None,
            }
        }
        std::future::pending().await
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        Ok(Peer(self.address))
    }
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(SocketAddr);

impl Address for Peer {
    type Stream = TcpStream;
    type Listener = Entrance;
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_came_before_it_closed_is_let_in_and_nobody_after() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let closing = CancellationToken::new();
        let entrance = Entrance::new(listener, closing.clone()).unwrap();
        let mut came = Vec::new();
        for _ in 0..3 {
            came.push(TcpStream::connect(address).await.unwrap());
        }
        closing.cancel();
        for client in &came {
            let (stream, _) = entrance.accept_stream().await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
            assert!(stream.nodelay().unwrap());
        }
        assert!(entrance.accept_stream().now_or_never().is_none());
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
