//! A TLS proxy in front of an S3 endpoint that can misbehave: it hides the endpoint, hangs, answers in its place,
//! and breaks answers off. One request a connection, so that each one meets the fault of the moment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use tango::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// What happens to requests. A `line` is the start of the first line of those that are meant, such as `PUT /bucket`;
/// after a `*` comes what it must hold further on. Everything is meant when it is empty.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Connections are closed before anything is said.
    Closed,
    /// Connections are taken, and nothing ever comes back, not even TLS.
    Silent,
    /// Requests are taken, and never answered.
    Unanswered,
    /// They get an S3 error.
    Answer { line: String, status: u16, code: &'static str },
    /// The next `times` answers end after so many bytes: the connection closes, or nothing more comes. The service has
    /// done what it was asked for by then.
    BreakOff { line: String, bytes: u64, times: usize, silently: bool },
}

/// A running proxy.
pub struct Front {
    /// `https://127.0.0.1:…`
    pub url: String,
    /// Its authority, as PEM in a file.
    pub ca_file: PathBuf,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Shared {
    fault: Mutex<Option<Fault>>,
    /// First lines of the requests that came.
    requests: Mutex<Vec<String>>,
}

/// What is wrong with the certificate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Certificate {
    Good,
    Expired,
    OtherName,
}

impl Front {
    /// In front of `http://` endpoint, with an authority and a certificate of its own.
    pub async fn open(endpoint: &str, certificate: Certificate) -> Self {
        let upstream: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (authority, acceptor) = issue(certificate);
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let accepting = tokio::spawn(accept(listener, acceptor, upstream, shared.clone()));
        Self { url, ca_file, shared, _accepting: AbortOnDropHandle::new(accepting), _folder: folder }
    }

    /// From the next request on.
    pub fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = Some(fault);
    }

    pub fn heal(&self) {
        *lock(&self.shared.fault) = None;
    }

    /// How many requests came with such a first line; see [`Fault`].
    pub fn requests(&self, line: &str) -> usize {
        lock(&self.shared.requests).iter().filter(|request| is_meant(request, line)).count()
    }

    /// A client that trusts it.
    pub fn client(&self) -> reqwest::Client {
        let pem = std::fs::read(&self.ca_file).unwrap();
        let authority = reqwest::Certificate::from_pem(&pem).unwrap();
        crate::app::client_builder().add_root_certificate(authority).build().unwrap()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_meant(request: &str, line: &str) -> bool {
    let (start, part) = line.split_once('*').unwrap_or((line, ""));
    request.starts_with(start) && request[start.len()..].contains(part)
}

/// An authority's PEM, and a server with a certificate of it for the loopback address.
fn issue(certificate: Certificate) -> (String, TlsAcceptor) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let name = if certificate == Certificate::OtherName { "s3.example.com" } else { "127.0.0.1" };
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if certificate == Certificate::Expired {
        leaf.not_before = date_time_ymd(2020, 1, 1);
        leaf.not_after = date_time_ymd(2021, 2, 3);
    }
    let key = KeyPair::generate().unwrap();
    let chain = vec![leaf.signed_by(&key, &issuer).unwrap().der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, upstream: SocketAddr, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        tokio::spawn(async move {
            // A connection that breaks is what this is for.
            let _ = serve(stream, acceptor, upstream, &shared).await;
        });
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, upstream: SocketAddr, shared: &Shared) -> std::io::Result<()> {
    let fault = lock(&shared.fault).clone();
    match fault {
        Some(Fault::Closed) => return Ok(()),
        Some(Fault::Silent) => return held(stream).await,
        _ => {}
    }
    let mut client = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let line_end = head.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let line = String::from_utf8_lossy(&head[..line_end]).trim().to_owned();
    lock(&shared.requests).push(line.clone());
    let fault = lock(&shared.fault).clone();
    match fault {
        Some(Fault::Closed) => return Ok(()),
        Some(Fault::Silent | Fault::Unanswered) => return held(client).await,
        Some(Fault::Answer { line: wanted, status, code }) if is_meant(&line, &wanted) => {
            return refuse(client, status, code).await;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    // A header that no signature covers: the server ends the connection after its answer, and says so.
    server.write_all(&[&head[..line_end], b"connection: close\r\n", &head[line_end..]].concat()).await?;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = server.into_split();
    let sending = async move {
        let _ = copy(&mut from_client, &mut to_server).await;
        std::future::pending::<()>().await;
    };
    let answering = async {
        match breaks_off(shared, &line) {
            None => {
                copy(&mut from_server, &mut to_client).await?;
            }
            Some((bytes, silently)) => {
                // All of it first: some services give up what they are at when the connection closes (s3s-fs loses an
                // upload that way while it puts its parts together), and what is to be lost here is the answer alone.
                let mut answer = Vec::new();
                from_server.read_to_end(&mut answer).await?;
                answer.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
                to_client.write_all(&answer).await?;
                to_client.flush().await?;
                if silently {
                    std::future::pending::<()>().await;
                }
                return Ok(());
            }
        }
        to_client.shutdown().await
    };
    tokio::select! {
        () = sending => Ok(()),
        answered = answering => answered,
    }
}

/// Keeps a connection open until the other side has had enough.
async fn held(mut stream: impl AsyncRead + Unpin) -> std::io::Result<()> {
    copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// Takes the body, so that the sender hears the answer, and refuses.
async fn refuse(mut client: impl AsyncRead + AsyncWrite + Unpin, status: u16, code: &str) -> std::io::Result<()> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test wants</Message></Error>");
    // The clock of a service that complains of ours.
    let behind = chrono::TimeDelta::seconds(if code == "RequestTimeTooSkewed" { 20 * 60 + 30 } else { 0 });
    let head = format!(
        "HTTP/1.1 {status} Refused\r\ndate: {}\r\ncontent-type: application/xml\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        (SystemClock.now() - behind).format("%a, %d %b %Y %H:%M:%S GMT"),
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    client.shutdown().await?;
    held(client).await
}

/// After how many bytes the answer to this request ends, and how.
fn breaks_off(shared: &Shared, line: &str) -> Option<(u64, bool)> {
    let mut fault = lock(&shared.fault);
    match fault.as_mut() {
        Some(Fault::BreakOff { line: wanted, bytes, times, silently }) if is_meant(line, wanted) && *times > 0 => {
            *times -= 1;
            Some((*bytes, *silently))
        }
        _ => None,
    }
}
