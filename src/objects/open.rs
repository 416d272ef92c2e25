//! From settings to an object store: an embedded one, or any S3 endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum_server::tls_rustls::RustlsConfig;

use super::embedded::{EmbeddedServer, Keys, keys_in, listen_address};
use super::{BucketState, Health, ObjectStore, ObjectStoreSettings, PublicUrls, Trouble, browsers};
use crate::config::{Config, Secret};

const ENDPOINT: &str = "S3_ENDPOINT";
const INTERNAL_ENDPOINT: &str = "S3_INTERNAL_ENDPOINT";
/// Stands for all.
const ANY_ORIGIN: &str = "https://any.example";

/// Opens the object store that the settings name. Without `S3_ENDPOINT` (and outside cluster mode) the embedded server
/// is started: keep it as long as the program runs. `listen` is the product's own address; `tls` its certificate,
/// used when that address is not the loopback one.
///
/// The bucket of a service that is not embedded becomes that of `installation`, and is refused when it is another one's.
///
/// A service that is away is no error: [`ObjectStore::keep`] looks after it. One that cannot be used as it is set is.
pub async fn open(
    config: &Config,
    listen: SocketAddr,
    tls: Option<RustlsConfig>,
    installation: Option<String>,
) -> anyhow::Result<(Arc<ObjectStore>, Option<EmbeddedServer>)> {
    match &config.s3_endpoint {
        Some(endpoint) => Ok((Arc::new(remote(config, endpoint, installation).await?), None)),
        None if config.mongodb_url.is_some() => {
            bail!(
                "S3_ENDPOINT is missing: in cluster mode (MONGODB_URL is set) every node needs the same object store; \
                 name the S3 service, such as S3_ENDPOINT=https://s3.example.com:9000"
            )
        }
        None => {
            let (store, server) = embedded(config, listen, tls).await?;
            Ok((Arc::new(store), Some(server)))
        }
    }
}

async fn remote(config: &Config, endpoint: &str, installation: Option<String>) -> anyhow::Result<ObjectStore> {
    let store = seen_from_inside(config, endpoint, installation)?;
    match store.set_up().await {
        Ok(state) => {
            store.tell(&state);
            store.set_health(Health::Ready);
        }
        Err(trouble @ Trouble::Away(_)) => {
            tracing::warn!(
                "{trouble}; tango starts all the same and keeps trying: until then uploads and reading rows wait"
            );
            store.set_health(Health::Troubled(trouble));
        }
        Err(Trouble::Wrong(text)) => bail!(text),
    }
    Ok(store)
}

/// What an operator is told about the object store of the settings.
#[derive(Debug)]
pub struct Examination {
    /// What is there, or why that cannot be said.
    pub found: Result<BucketState, Trouble>,
    /// This machine's clock, when it is off.
    pub clock_skew: Option<String>,
    /// Whether the address that clients are given works from here, too, when it is another one.
    pub public: Option<Result<String, Trouble>>,
    /// Where the web application's pages come from, and whether they may send files there; none while there is no bucket.
    pub browsers: Option<(String, Result<(), String>)>,
}

/// Looks at the object store that the settings name and changes nothing; `None` when it is the embedded one.
pub async fn examine(config: &Config) -> anyhow::Result<Option<Examination>> {
    let Some(store) = client_of(config)? else { return Ok(None) };
    let found = store.examine().await;
    let public = match (&config.s3_endpoint, &config.s3_internal_endpoint) {
        (Some(endpoint), Some(internal)) if internal != endpoint => {
            let outside = client(config, endpoint, endpoint, ENDPOINT, None)?;
            Some(outside.has_bucket().await.map(|_| endpoint.clone()))
        }
        _ => None,
    };
    let is_there = found.as_ref().is_ok_and(|state| state.is_there);
    let browsers = match &config.s3_endpoint {
        Some(endpoint) if is_there => {
            let origin = origins(config).swap_remove(0).replace('*', ANY_ORIGIN);
            let may = browsers::may_send(endpoint, &config.s3_bucket, config.s3_ca_file.as_deref(), &origin).await;
            Some((origin, may))
        }
        _ => None,
    };
    Ok(Some(Examination { found, clock_skew: store.clock_skew(), public, browsers }))
}

/// A client of the object store that the settings name, which sends nothing yet; `None` when it is the embedded one.
pub fn client_of(config: &Config) -> anyhow::Result<Option<ObjectStore>> {
    config.s3_endpoint.as_ref().map(|endpoint| seen_from_inside(config, endpoint, None)).transpose()
}

fn seen_from_inside(config: &Config, endpoint: &str, installation: Option<String>) -> anyhow::Result<ObjectStore> {
    match &config.s3_internal_endpoint {
        Some(internal) => client(config, endpoint, internal, INTERNAL_ENDPOINT, installation),
        None => client(config, endpoint, endpoint, ENDPOINT, installation),
    }
}

/// A client that uses `reached` and gives its own clients URLs under `endpoint`.
fn client(
    config: &Config,
    endpoint: &str,
    reached: &str,
    setting: &'static str,
    installation: Option<String>,
) -> anyhow::Result<ObjectStore> {
    ObjectStore::new(&ObjectStoreSettings {
        endpoint: reached.trim_end_matches('/').to_owned(),
        endpoint_setting: setting,
        bucket: config.s3_bucket.clone(),
        region: config.s3_region.clone(),
        access_key: config
            .s3_access_key
            .clone()
            .context("S3_ACCESS_KEY is missing: S3_ENDPOINT needs it and S3_SECRET_KEY")?,
        secret_key: config
            .s3_secret_key
            .clone()
            .context("S3_SECRET_KEY is missing: S3_ENDPOINT needs it and S3_ACCESS_KEY")?,
        ca_file: config.s3_ca_file.clone(),
        public_urls: PublicUrls::Fixed(endpoint.trim_end_matches('/').to_owned()),
        origins: origins(config),
        installation,
    })
}

/// Where the web application's pages come from: `HOST_DOMAIN` behind a load balancer and at this program's own port.
fn origins(config: &Config) -> Vec<String> {
    let Some(domain) = &config.host_domain else { return vec!["*".to_owned()] };
    let schemes: &[&str] = if config.allow_http { &["https", "http"] } else { &["https"] };
    let port = config.listen.port();
    let both = schemes.iter().map(|scheme| [format!("{scheme}://{domain}"), format!("{scheme}://{domain}:{port}")]);
    both.flatten().collect()
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
        endpoint_setting: "S3_LISTEN",
        bucket: config.s3_bucket.clone(),
        region: config.s3_region.clone(),
        access_key: keys.access_key,
        secret_key: Secret(keys.secret_key),
        ca_file: None,
        public_urls,
        // Its own server lets every page in.
        origins: vec!["*".to_owned()],
        // Its folder is this installation's.
        installation: None,
    })?;
    if let Err(trouble) = store.ensure_bucket().await {
        bail!("the embedded object store cannot be used: {trouble}");
    }
    store.set_health(Health::Ready);
    Ok((store, server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_may_come_from_the_host_domain_with_and_without_the_port() {
        let mut config = Config::default();
        assert_eq!(origins(&config), ["*"]);
        config.host_domain = Some("tango.example.com".to_owned());
        assert_eq!(origins(&config), ["https://tango.example.com", "https://tango.example.com:3031"]);
        config.allow_http = true;
        assert_eq!(origins(&config).len(), 4);
    }
}
