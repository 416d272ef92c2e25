//! A TCP proxy between a client and a server that makes the way between them slow, silent or broken.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How the way is; a change is felt by connections that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Everything arrives, this much later, in each direction.
    Open { latency: Duration },
    /// Nothing arrives and nobody is told: a cable is out. What was sent meanwhile arrives when it is open again.
    Silent,
    /// Connections are reset, new ones too.
    Cut,
}

pub struct Proxy {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    listening: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of the loopback address. The way is open.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, watched) = watch::channel(Way::Open { latency: Duration::ZERO });
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, target, watched.clone()));
            }
        });
        Self { address, way, listening }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.set(Way::Cut);
    }
}

async fn connect(client: TcpStream, target: SocketAddr, way: watch::Receiver<Way>) {
    let mut cut = way.clone();
    // A reset, not an orderly end.
    client.set_zero_linger().unwrap();
    tokio::select! {
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
        () = carry_both(client, target, way) => {}
    }
}

async fn carry_both(client: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) {
    let _ = way.wait_for(|way| *way != Way::Silent).await;
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(carry(from_client, to_server, way.clone()), carry(from_server, to_client, way));
}

/// One direction, until its end. Pieces wait in a queue, so that latency costs no throughput.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let now = way.clone();
    let read = async move {
        loop {
            let mut piece = vec![0; 16 << 10];
            let Ok(length @ 1..) = from.read(&mut piece).await else { return };
            piece.truncate(length);
            let latency = if let Way::Open { latency } = *now.borrow() { latency } else { Duration::ZERO };
            if sender.send((Instant::now() + latency, piece)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = queue.recv().await {
            sleep_until(due).await;
            let _ = way.wait_for(|way| *way != Way::Silent).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says everything twice.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        hear(stream, text.len()).await
    }

    async fn hear(stream: &mut TcpStream, length: usize) -> std::io::Result<String> {
        let mut heard = vec![0; length];
        stream.read_exact(&mut heard).await?;
        Ok(String::from_utf8(heard).unwrap())
    }

    #[tokio::test]
    async fn the_way_is_slow_silent_cut_and_open_again() {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut stream, "open").await.unwrap(), "open");

        let latency = Duration::from_millis(60);
        proxy.set(Way::Open { latency });
        let began = Instant::now();
        assert_eq!(ask(&mut stream, "slow").await.unwrap(), "slow");
        assert!(began.elapsed() >= 2 * latency, "there and back");

        proxy.set(Way::Silent);
        let unheard = tokio::time::timeout(Duration::from_millis(200), ask(&mut stream, "late")).await;
        assert!(unheard.is_err(), "{unheard:?}");
        let mut second = TcpStream::connect(proxy.address).await.unwrap();
        second.write_all(b"hello").await.unwrap();
        proxy.set(Way::Open { latency: Duration::ZERO });
        assert_eq!(hear(&mut stream, 4).await.unwrap(), "late", "nothing is lost by silence");
        assert_eq!(hear(&mut second, 5).await.unwrap(), "hello");

        proxy.set(Way::Cut);
        assert!(ask(&mut stream, "gone").await.is_err());
        let mut third = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut third, "gone").await.is_err());
        proxy.set(Way::Open { latency: Duration::ZERO });
        let mut fourth = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut fourth, "back").await.unwrap(), "back");
    }
}
