//! One S3 bucket, seen by this program.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use bytes::Bytes;

use super::embedded::DISK_FULL;
use super::presign::PublicUrls;
use super::{MAX_KEY_BYTES, ObjectError, ObjectInfo, Result};

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct ObjectStoreSettings {
    /// Base URL that this program uses, such as `https://s3.example.com`.
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: crate::config::Secret,
    /// PEM file of further authorities to trust.
    pub ca_file: Option<PathBuf>,
    pub public_urls: PublicUrls,
}

/// One S3 bucket, seen by this program, with presigned URLs for clients. Cheap to clone.
#[derive(Clone)]
pub struct ObjectStore {
    pub(super) client: Client,
    pub(super) bucket: Arc<str>,
    pub(super) public_urls: Arc<PublicUrls>,
}

impl ObjectStore {
    /// Prepares a client; nothing is sent yet.
    pub fn new(settings: &ObjectStoreSettings) -> anyhow::Result<Self> {
        let credentials =
            Credentials::new(&settings.access_key, &settings.secret_key.0, None, None, "tango configuration");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .endpoint_url(&settings.endpoint)
            .force_path_style(true)
            .http_client(http_client(settings)?)
            // Lengths are checked by HTTP and TLS; a hash of every byte would cost more than reading it.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(3)).build())
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(Duration::from_secs(20)).build(),
            )
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            bucket: settings.bucket.as_str().into(),
            public_urls: Arc::new(settings.public_urls.clone()),
        })
    }

    /// Creates the bucket unless it exists.
    pub async fn create_bucket(&self) -> Result<()> {
        if self.client.head_bucket().bucket(&*self.bucket).send().await.is_ok() {
            return Ok(());
        }
        match self.client.create_bucket().bucket(&*self.bucket).send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error().and_then(ProvideErrorMetadata::code) {
                Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists") => Ok(()),
                _ => Err(object_error(&self.bucket, error)),
            },
        }
    }

    /// A cheap question that fails when the store cannot be used.
    pub async fn ping(&self) -> Result<()> {
        let asked = self.client.head_bucket().bucket(&*self.bucket).send().await;
        asked.map(drop).map_err(|error| object_error(&self.bucket, error))
    }

    /// Stores a whole object; durable when this returns.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        debug_assert!(key.len() <= MAX_KEY_BYTES);
        let put = self.client.put_object().bucket(&*self.bucket).key(key).body(bytes.into());
        put.send().await.map(drop).map_err(|error| object_error(key, error))
    }

    /// The object's size in bytes.
    pub async fn size(&self, key: &str) -> Result<u64> {
        let head = self.client.head_object().bucket(&*self.bucket).key(key).send().await;
        let head = head.map_err(|error| object_error(key, error))?;
        Ok(head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0))
    }

    /// Bytes `range` of an object. A range that reaches over the object's end fails.
    pub async fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let mut attempt = 1;
        loop {
            let answer = self.client.get_object().bucket(&*self.bucket).key(key).range(&header).send().await;
            let answer = answer.map_err(|error| object_error(key, error))?;
            match answer.body.collect().await {
                Ok(body) => {
                    let bytes = body.into_bytes();
                    if bytes.len() as u64 == range.end - range.start {
                        return Ok(bytes);
                    }
                    let got = bytes.len();
                    return Err(ObjectError::Failed(anyhow::anyhow!("{key}: asked for {header}, got {got} bytes")));
                }
                // The client retries requests, but not bodies that break off.
                Err(_) if attempt < 3 => attempt += 1,
                Err(error) => return Err(ObjectError::Unavailable(error.into())),
            }
        }
    }

    /// Absent is fine.
    pub async fn delete(&self, key: &str) -> Result<()> {
        match self.client.delete_object().bucket(&*self.bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(error) => match object_error(key, error) {
                ObjectError::NotFound(_) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Up to 1,000 objects with this prefix, sorted by key, after `after`.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectInfo>> {
        let list = self.client.list_objects_v2().bucket(&*self.bucket).prefix(prefix);
        let list = list.set_start_after(after.map(str::to_owned)).send().await;
        let list = list.map_err(|error| object_error(prefix, error))?;
        Ok(list
            .contents()
            .iter()
            .filter_map(|object| {
                let size_bytes = u64::try_from(object.size()?).ok()?;
                Some(ObjectInfo { key: object.key()?.to_owned(), size_bytes })
            })
            .collect())
    }
}

fn http_client(settings: &ObjectStoreSettings) -> anyhow::Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).with_context(|| format!("S3_CA_FILE: {} cannot be read", path.display()))?;
        trust = trust.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trust).build().context("S3_CA_FILE holds no certificate")?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// Sorts an error of the client by what can be done about it.
pub(super) fn object_error<E, R>(key: &str, error: SdkError<E, R>) -> ObjectError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static + StatusOf,
{
    let status = error.raw_response().map(StatusOf::status);
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).map(str::to_owned);
    let full =
        status == Some(507) || matches!(code.as_deref(), Some(DISK_FULL | "XMinioStorageFull" | "QuotaExceeded"));
    let missing = status == Some(404) || matches!(code.as_deref(), Some("NoSuchKey" | "NotFound"));
    let away = match &error {
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => true,
        _ => matches!(status, Some(500 | 502 | 503 | 504 | 429)),
    };
    let source = anyhow::anyhow!("{key}: {}", aws_sdk_s3::error::DisplayErrorContext(&error));
    match () {
        () if full => ObjectError::Full(source),
        () if missing => ObjectError::NotFound(key.to_owned()),
        () if away => ObjectError::Unavailable(source),
        () => ObjectError::Failed(source),
    }
}

/// The HTTP status of a raw answer.
pub(super) trait StatusOf {
    fn status(&self) -> u16;
}

impl StatusOf for aws_sdk_s3::config::http::HttpResponse {
    fn status(&self) -> u16 {
        self.status().as_u16()
    }
}
