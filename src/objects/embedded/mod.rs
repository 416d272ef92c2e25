//! The embedded S3 server of a single node: `s3s` checks signatures, lengths and expiry; [`Folder`] keeps the bytes.
//!
//! It listens on the public address that presigned URLs name (with the product's certificate when that is not the
//! loopback address) and once more, plainly, on a free loopback port for this process itself.

mod folder;
mod parts;
mod refusal;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsConfig;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

pub(super) use folder::DISK_FULL;
use folder::Folder;

/// Requests served at the same time; further ones wait. Each holds well under a megabyte.
const MAX_REQUESTS: usize = 128;
/// Bodies that have to be in memory (lists of parts) end here: 10,000 parts need about 1.5 MB.
const MAX_XML_BYTES: usize = 4 << 20;

/// Access and secret key, in the data folder unless the configuration gives them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Keys {
    pub access_key: String,
    pub secret_key: String,
}

/// The running server. Dropping it stops it at once; [`EmbeddedServer::shutdown`] lets requests end.
pub struct EmbeddedServer {
    /// What presigned URLs have to reach.
    pub public_address: SocketAddr,
    pub public_tls: bool,
    /// Plain HTTP on the loopback address, for this process.
    pub internal_address: SocketAddr,
    handles: Vec<Handle<SocketAddr>>,
}

impl EmbeddedServer {
    /// Binds both listeners and serves `folder`. A taken address is named in the error.
    pub fn start(folder: &Path, listen: SocketAddr, tls: Option<RustlsConfig>, keys: &Keys) -> anyhow::Result<Self> {
        let public = TcpListener::bind(listen).with_context(|| {
            format!("the embedded object store cannot listen on {listen} (S3_LISTEN): is another program using the port? Port 0 takes a free one")
        })?;
        let internal = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port is left")?;
        let public_address = public.local_addr()?;
        let internal_address = internal.local_addr()?;
        let folder =
            Folder::open(folder).with_context(|| format!("the object folder {} cannot be opened", folder.display()))?;
        let app = service(folder, keys);
        let public_tls = tls.is_some();
        let handles = vec![Handle::new(), Handle::new()];
        public.set_nonblocking(true)?;
        internal.set_nonblocking(true)?;
        match tls {
            Some(tls) => {
                let server = axum_server::from_tcp_rustls(public, tls)?.map(|tls| tls.acceptor(NoDelayAcceptor::new()));
                let server = server.handle(handles[0].clone());
                tokio::spawn(server.serve(app.clone().into_make_service()));
            }
            None => {
                let server = axum_server::from_tcp(public)?.acceptor(NoDelayAcceptor::new()).handle(handles[0].clone());
                tokio::spawn(server.serve(app.clone().into_make_service()));
            }
        }
        let server = axum_server::from_tcp(internal)?.acceptor(NoDelayAcceptor::new()).handle(handles[1].clone());
        tokio::spawn(server.serve(app.into_make_service()));
        Ok(Self { public_address, public_tls, internal_address, handles })
    }

    /// Stops listening and lets running requests end, for at most `patience`.
    pub fn shutdown(&self, patience: Duration) {
        for handle in &self.handles {
            handle.graceful_shutdown(Some(patience));
        }
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        for handle in &self.handles {
            handle.shutdown();
        }
    }
}

fn service(folder: Folder, keys: &Keys) -> axum::Router {
    let mut builder = S3ServiceBuilder::new(folder);
    builder.set_auth(SimpleAuth::from_single(keys.access_key.clone(), keys.secret_key.as_str()));
    let mut config = S3Config::default();
    config.xml_max_body_size = MAX_XML_BYTES;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    let s3 = builder.build();
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([http::Method::PUT, http::Method::GET, http::Method::HEAD])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([http::header::ETAG])
        .max_age(Duration::from_secs(3_600));
    let answer = move |request: axum::extract::Request| {
        let s3 = s3.clone();
        let request = request.map(|body| axum::body::Body::new(crate::unread_body::DrainOnDrop::new(body)));
        async move {
            match tower::ServiceExt::oneshot(s3, request).await {
                Ok(response) => refusal::explained(response.map(axum::body::Body::new)).await,
                Err(error) => {
                    tracing::error!(?error, "the embedded object store failed");
                    let mut response = axum::response::Response::default();
                    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        }
    };
    axum::Router::new()
        .fallback(answer)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(MAX_REQUESTS))
        .layer(cors)
}

/// The keys kept in the data folder, made on the first start.
pub fn keys_in(data_dir: &Path) -> anyhow::Result<Keys> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let path = data_dir.join("object-store-keys.json");
    match std::fs::read(&path) {
        Ok(bytes) => {
            return serde_json::from_slice(&bytes)
                .with_context(|| format!("{} cannot be read; delete it to have new keys made", path.display()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
    let mut random = [0u8; 30];
    getrandom::fill(&mut random).context("the operating system gives no random numbers")?;
    let keys =
        Keys { access_key: format!("tango{}", hex::encode(&random[..6])), secret_key: hex::encode(&random[6..]) };
    std::fs::create_dir_all(data_dir)?;
    // Written beside and renamed: a crash leaves the old state or the new one.
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(&keys)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    std::fs::File::open(data_dir)?.sync_all()?;
    Ok(keys)
}

/// Where the embedded server listens: `S3_LISTEN`, else the product's own address with port 9000
/// (a free port when the product itself was told to take one).
pub fn listen_address(s3_listen: Option<SocketAddr>, listen: SocketAddr) -> SocketAddr {
    let port = if listen.port() == 0 { 0 } else { 9_000 };
    s3_listen.unwrap_or_else(|| SocketAddr::new(listen.ip(), port))
}

/// Whether an address can be reached from this machine only.
pub fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}
