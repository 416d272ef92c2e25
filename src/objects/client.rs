//! One S3 bucket, seen by this program.

use std::path::PathBuf;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::ProvideErrorMetadata;
use bytes::Bytes;

use super::connection::{StoreClock, WatchClock, http_client};
use super::failure::{CallError, object_error};
use super::health::Watch;
use super::patience;
use super::presign::PublicUrls;
use super::trouble::{Place, Trouble};
use super::{MAX_KEY_BYTES, ObjectError, ObjectInfo, Result};

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct ObjectStoreSettings {
    /// Base URL that this program uses, such as `https://s3.example.com`.
    pub endpoint: String,
    /// The setting that `endpoint` comes from, to be named when it is wrong.
    pub endpoint_setting: &'static str,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: crate::config::Secret,
    /// PEM file of the authorities to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    pub public_urls: PublicUrls,
    /// Where pages come from that may send parts, such as `https://tango.example.com`; `*` is everywhere.
    pub origins: Vec<String>,
    /// The installation that the bucket has to belong to; none leaves that open.
    pub installation: Option<String>,
}

/// One S3 bucket, seen by this program, with presigned URLs for clients. Cheap to clone.
#[derive(Clone)]
pub struct ObjectStore {
    pub(super) client: Client,
    pub(super) bucket: Arc<str>,
    pub(super) public_urls: Arc<PublicUrls>,
    pub(super) origins: Arc<[String]>,
    pub(super) installation: Option<Arc<str>>,
    pub(super) place: Arc<Place>,
    pub(super) watch: Arc<Watch>,
    pub(super) clock: Arc<StoreClock>,
}

impl ObjectStore {
    /// Prepares a client; nothing is sent yet.
    pub fn new(settings: &ObjectStoreSettings) -> anyhow::Result<Self> {
        let credentials =
            Credentials::new(&settings.access_key, &settings.secret_key.0, None, None, "tango configuration");
        let clock = Arc::new(StoreClock::default());
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .endpoint_url(&settings.endpoint)
            .force_path_style(true)
            .http_client(http_client(settings.ca_file.as_deref())?)
            .interceptor(WatchClock(clock.clone()))
            // Lengths are checked by HTTP and TLS; a hash of every byte would cost more than reading it.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(patience::retries())
            .timeout_config(patience::usual())
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(patience::STALLED).build())
            .build();
        let place = Place {
            endpoint: settings.endpoint.clone(),
            setting: settings.endpoint_setting,
            bucket: settings.bucket.clone(),
            region: settings.region.clone(),
            access_key: settings.access_key.clone(),
            ca_file: settings.ca_file.clone(),
        };
        Ok(Self {
            client: Client::from_conf(config),
            bucket: settings.bucket.as_str().into(),
            public_urls: Arc::new(settings.public_urls.clone()),
            origins: settings.origins.as_slice().into(),
            installation: settings.installation.as_deref().map(Arc::from),
            place: Arc::new(place),
            watch: Arc::default(),
            clock,
        })
    }

    /// Why a call about the bucket as a whole failed.
    pub(super) fn trouble<E>(&self, error: &CallError<E>) -> Trouble
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.place.trouble(error, self.clock.ahead_seconds())
    }

    /// Why a call about an object failed. Whoever looks after the store hears of it.
    pub(super) fn failure<E>(&self, key: &str, error: CallError<E>) -> ObjectError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let error = object_error(key, error);
        if matches!(error, ObjectError::Unavailable(_) | ObjectError::Refused(_)) {
            self.watch.suspected.notify_one();
        }
        error
    }

    /// Stores a whole object; durable when this returns.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        debug_assert!(key.len() <= MAX_KEY_BYTES);
        let limits = patience::sending(bytes.len() as u64);
        let put = self.client.put_object().bucket(&*self.bucket).key(key).body(bytes.into());
        let put = put.customize().config_override(limits).send().await;
        put.map(drop).map_err(|error| self.failure(key, error))
    }

    /// The object's size in bytes.
    pub async fn size(&self, key: &str) -> Result<u64> {
        let head = self.client.head_object().bucket(&*self.bucket).key(key).send().await;
        match head.map_err(|error| self.failure(key, error)) {
            Ok(head) => Ok(head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0)),
            Err(ObjectError::NotFound(key)) => {
                // A HEAD does not say what is missing. Of a bucket that is missing a list complains.
                self.list(&key, None).await?;
                Err(ObjectError::NotFound(key))
            }
            Err(error) => Err(error),
        }
    }

    /// Absent is fine.
    pub async fn delete(&self, key: &str) -> Result<()> {
        match self.client.delete_object().bucket(&*self.bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(error) => match self.failure(key, error) {
                ObjectError::NotFound(_) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Up to 1,000 objects with this prefix, sorted by key, after `after`.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectInfo>> {
        let list = self.client.list_objects_v2().bucket(&*self.bucket).prefix(prefix);
        let list = list.set_start_after(after.map(str::to_owned));
        let list = list.customize().config_override(patience::listing()).send().await;
        let list = list.map_err(|error| self.failure(prefix, error))?;
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
