//! From settings to an object store: an embedded one, or any S3 endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum_server::tls_rustls::RustlsConfig;

use super::embedded::{EmbeddedServer, Keys, keys_in, listen_address};
use super::{ObjectStore, ObjectStoreSettings, PublicUrls};
use crate::config::{Config, Secret};

/// Opens the object store that the settings name. Without `S3_ENDPOINT` (and outside cluster mode) the embedded server
/// is started: keep it as long as the program runs. `listen` is the product's own address; `tls` its certificate,
/// used when that address is not the loopback one.
pub async fn open(
    config: &Config,
    listen: SocketAddr,
    tls: Option<RustlsConfig>,
) -> anyhow::Result<(Arc<ObjectStore>, Option<EmbeddedServer>)> {
    match &config.s3_endpoint {
        Some(endpoint) => Ok((Arc::new(remote(config, endpoint)?), None)),
        None if config.mongodb_url.is_some() => {
            bail!("S3_ENDPOINT is missing: in cluster mode (MONGODB_URL is set) every node needs the same object store")
        }
        None => {
            let (store, server) = embedded(config, listen, tls).await?;
            Ok((Arc::new(store), Some(server)))
        }
    }
}

/// Whether the object store that the settings name answers and knows the keys. The embedded one always will.
pub async fn check(config: &Config) -> anyhow::Result<()> {
    match &config.s3_endpoint {
        None => Ok(()),
        Some(endpoint) => {
            let store = remote(config, endpoint)?;
            store.ping().await.with_context(|| {
                format!(
                    "the object store at {endpoint} (S3_ENDPOINT) does not answer for the bucket {}",
                    config.s3_bucket
                )
            })
        }
    }
}

fn remote(config: &Config, endpoint: &str) -> anyhow::Result<ObjectStore> {
    let internal = config.s3_internal_endpoint.as_deref().unwrap_or(endpoint);
    for url in [endpoint, internal] {
        let allowed = url.starts_with("https://") || (config.allow_http && url.starts_with("http://"));
        if !allowed {
            bail!("S3_ENDPOINT and S3_INTERNAL_ENDPOINT must start with https://, but one is {url:?}");
        }
    }
    ObjectStore::new(&ObjectStoreSettings {
        endpoint: internal.trim_end_matches('/').to_owned(),
        bucket: config.s3_bucket.clone(),
        region: config.s3_region.clone(),
        access_key: config.s3_access_key.clone().context("S3_ACCESS_KEY is missing")?,
        secret_key: config.s3_secret_key.clone().context("S3_SECRET_KEY is missing")?,
        ca_file: config.s3_ca_file.clone(),
        public_urls: PublicUrls::Fixed(endpoint.trim_end_matches('/').to_owned()),
    })
}

async fn embedded(
    config: &Config,
    listen: SocketAddr,
    tls: Option<RustlsConfig>,
) -> anyhow::Result<(ObjectStore, EmbeddedServer)> {
    let keys = match (&config.s3_access_key, &config.s3_secret_key) {
        (Some(access_key), Some(secret)) => Keys { access_key: access_key.clone(), secret_key: secret.0.clone() },
        (None, None) => keys_in(&config.data_dir)?,
        _ => bail!("S3_ACCESS_KEY and S3_SECRET_KEY belong together: set both or none"),
    };
    let address = listen_address(config.s3_listen, listen);
    let folder = config.data_dir.join("objects");
    let server = EmbeddedServer::start(&folder, address, tls, &keys)?;
    let scheme = if server.public_tls { "https" } else { "http" };
    let port = server.public_address.port();
    let public_urls = match &config.host_domain {
        Some(domain) => PublicUrls::Fixed(format!("{scheme}://{domain}:{port}")),
        None => PublicUrls::RequestHost { scheme, port },
    };
    let store = ObjectStore::new(&ObjectStoreSettings {
        endpoint: format!("http://{}", server.internal_address),
        bucket: config.s3_bucket.clone(),
        region: config.s3_region.clone(),
        access_key: keys.access_key,
        secret_key: Secret(keys.secret_key),
        ca_file: None,
        public_urls,
    })?;
    store.create_bucket().await.context("the embedded object store does not answer")?;
    Ok((store, server))
}
