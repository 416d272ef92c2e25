//! The client against a real server, where that needs what a running program does not offer.

use std::net::Ipv4Addr;

use super::embedded::{EmbeddedServer, keys_in};
use super::{ObjectError, ObjectStore, ObjectStoreSettings, PublicUrls};
use crate::config::Secret;

async fn store(folder: &tempfile::TempDir) -> (ObjectStore, EmbeddedServer) {
    // Another test may have installed the provider: one is enough.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let keys = keys_in(folder.path()).unwrap();
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let server = EmbeddedServer::start(&folder.path().join("objects"), address, None, &keys).unwrap();
    let settings = ObjectStoreSettings {
        endpoint: format!("http://{}", server.internal_address),
        endpoint_setting: "S3_ENDPOINT",
        bucket: "tango".into(),
        region: "us-east-1".into(),
        access_key: keys.access_key,
        secret_key: Secret(keys.secret_key),
        ca_file: None,
        public_urls: PublicUrls::Fixed("https://s3.example.com".into()),
        origins: vec!["*".into()],
        installation: None,
    };
    (ObjectStore::new(&settings).unwrap(), server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_gone_is_no_reason_to_call_objects_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _server) = store(&folder).await;
    assert!(matches!(store.size("x").await, Err(ObjectError::Unavailable(_))));
    assert!(matches!(store.get_range("x", 0..1).await, Err(ObjectError::Unavailable(_))));
    assert!(!store.examine().await.unwrap().is_there);
    store.ensure_bucket().await.unwrap();
    assert!(matches!(store.size("x").await, Err(ObjectError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_beyond_the_end_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _server) = store(&folder).await;
    store.ensure_bucket().await.unwrap();
    store.put("x", bytes::Bytes::from_static(b"abcdef")).await.unwrap();
    assert_eq!(store.get_range("x", 2..6).await.unwrap(), "cdef");
    assert_eq!(store.get_range("x", 3..3).await.unwrap(), "");
    assert!(matches!(store.get_range("x", 4..8).await, Err(ObjectError::Failed(_))));
}
