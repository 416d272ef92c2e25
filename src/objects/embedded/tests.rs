//! The embedded server through the client that the product uses, and through plain HTTP as a browser would.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::*;
use crate::config::Secret;
use crate::objects::{
    NamedPart, ObjectError, ObjectReader, ObjectStore, ObjectStoreSettings, PublicUrls, SignedPart, Trouble,
};

struct Fixture {
    store: Arc<ObjectStore>,
    server: EmbeddedServer,
    _folder: tempfile::TempDir,
}

async fn start() -> Fixture {
    // Another test may have installed the provider: one is enough.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let keys = keys_in(folder.path()).unwrap();
    let again = keys_in(folder.path()).unwrap();
    assert_eq!(keys.secret_key, again.secret_key);
    let server =
        EmbeddedServer::start(&folder.path().join("objects"), (Ipv4Addr::LOCALHOST, 0).into(), None, &keys).unwrap();
    let store = ObjectStore::new(&ObjectStoreSettings {
        endpoint: format!("http://{}", server.internal_address),
        endpoint_setting: "S3_ENDPOINT",
        bucket: "tango".into(),
        region: "us-east-1".into(),
        access_key: keys.access_key,
        secret_key: Secret(keys.secret_key),
        ca_file: None,
        public_urls: PublicUrls::RequestHost { scheme: "http", port: server.public_address.port() },
        origins: vec!["*".into()],
        installation: None,
    })
    .unwrap();
    assert!(store.ensure_bucket().await.unwrap());
    assert!(!store.ensure_bucket().await.unwrap());
    Fixture { store: Arc::new(store), server, _folder: folder }
}

fn sha256(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes))
}

async fn put(part: &SignedPart, bytes: Vec<u8>) -> reqwest::Response {
    let mut request = reqwest::Client::new().put(&part.url).body(bytes);
    for (name, value) in &part.headers {
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

const PART: usize = 5 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_stored_read_in_ranges_listed_and_deleted() {
    let Fixture { store, server: _server, _folder } = start().await;
    let bytes: Vec<u8> = (0..10_000_000u32).map(|i| (i % 251) as u8).collect();
    store.put("a/one", Bytes::from(bytes.clone())).await.unwrap();
    store.put("a/two", Bytes::from_static(b"2")).await.unwrap();
    assert_eq!(store.size("a/one").await.unwrap(), 10_000_000);
    assert_eq!(store.get_range("a/one", 5_000..5_007).await.unwrap(), bytes[5_000..5_007]);
    let keys: Vec<_> = store.list("a/", None).await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["a/one", "a/two"]);
    assert_eq!(store.list("a/", Some("a/one")).await.unwrap().len(), 1);

    let mut reader = ObjectReader::open(store.clone(), "a/one").await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        reader.seek(SeekFrom::Start(9_999_999)).unwrap();
        let mut last = [0];
        reader.read_exact(&mut last).unwrap();
        reader.seek(SeekFrom::Start(7)).unwrap();
        let mut seventh = [0];
        reader.read_exact(&mut seventh).unwrap();
        (all, last[0], seventh[0])
    });
    let (all, last, seventh) = read.await.unwrap();
    assert!(all == bytes);
    assert_eq!((last, seventh), (bytes[9_999_999], 7));

    store.delete("a/one").await.unwrap();
    store.delete("a/one").await.unwrap();
    assert!(matches!(store.size("a/one").await, Err(ObjectError::NotFound(_))));
    assert!(matches!(store.get_range("a/one", 0..1).await, Err(ObjectError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_go_through_signed_urls_and_only_as_signed() {
    let Fixture { store, server: _server, _folder } = start().await;
    let base = store.public_base(Some("127.0.0.1:3031"));
    let (first, second) = (vec![1u8; PART], vec![2u8; PART]);
    let upload = store.create_upload("raw/x", false).await.unwrap();
    let signer = store.part_signer(&base, "raw/x", &upload, Duration::from_secs(600)).unwrap();
    let one = signer.sign(1, PART as u64, Some(&sha256(&first))).await.unwrap();
    let two = signer.sign(2, PART as u64, Some(&sha256(&second))).await.unwrap();

    // Another size, other bytes, another part's bytes, a changed number, no signature: all refused.
    assert_eq!(put(&one, vec![1; PART + 1]).await.status(), 403);
    assert_eq!(put(&one, second.clone()).await.status(), 400);
    let mut forged = one.clone();
    forged.url = forged.url.replace("partNumber=1", "partNumber=2");
    assert_eq!(put(&forged, first.clone()).await.status(), 403);
    let mut without = one.clone();
    without.headers.clear();
    assert_eq!(put(&without, first.clone()).await.status(), 403);
    let bare = reqwest::Client::new().put(one.url.split('?').next().unwrap()).body("x").send().await.unwrap();
    assert_eq!(bare.status(), 403);
    assert!(store.list_parts("raw/x", &upload).await.unwrap().is_empty());

    let answer = put(&two, second).await;
    assert_eq!(answer.status(), 200);
    let etag_two = answer.headers()["etag"].to_str().unwrap().to_owned();
    let etag_one = put(&one, first).await.headers()["etag"].to_str().unwrap().to_owned();
    let arrived = store.list_parts("raw/x", &upload).await.unwrap();
    assert_eq!(
        arrived.iter().map(|part| (part.number, part.size_bytes)).collect::<Vec<_>>(),
        [(1, PART as u64), (2, PART as u64)]
    );

    let named = |one: &str, two: &str| {
        [(1, one), (2, two)].map(|(number, etag)| NamedPart { number, etag: etag.into(), sha256: None })
    };
    assert!(store.complete_upload("raw/x", &upload, &named(&etag_two, &etag_two), 0).await.is_err());
    assert!(store.complete_upload("raw/other", &upload, &named(&etag_one, &etag_two), 0).await.is_err());
    store.complete_upload("raw/x", &upload, &named(&etag_one, &etag_two), 0).await.unwrap();
    assert_eq!(store.size("raw/x").await.unwrap(), 2 * PART as u64);
    assert_eq!(store.get_range("raw/x", PART as u64 - 1..PART as u64 + 1).await.unwrap(), [1, 2][..]);
    let again = store.complete_upload("raw/x", &upload, &named(&etag_one, &etag_two), 0).await;
    assert!(matches!(again, Err(ObjectError::NotFound(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_can_be_streamed_sent_again_and_aborted() {
    let Fixture { store, server: _server, _folder } = start().await;
    let upload = store.create_upload("raw/y", false).await.unwrap();
    let stream = |byte: u8| -> crate::objects::ByteStream {
        Box::pin(futures::stream::iter((0..16).map(move |_| Ok(Bytes::from(vec![byte; 1_000])))))
    };
    let first = store.upload_part_streaming("raw/y", &upload, 1, 16_000, None, stream(1)).await.unwrap();
    let second = store.upload_part_streaming("raw/y", &upload, 1, 16_000, None, stream(2)).await.unwrap();
    assert_ne!(first, second);
    let checksum = sha256(&[3u8; 16_000]);
    let wrong = store.upload_part_streaming("raw/y", &upload, 2, 16_000, Some(&checksum), stream(1)).await;
    assert!(wrong.is_err());
    assert!(store.upload_part_streaming("raw/y", &upload, 3, 17_000, None, stream(1)).await.is_err());
    let arrived = store.list_parts("raw/y", &upload).await.unwrap();
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].etag.as_deref(), Some(&*second));
    store.abort_upload("raw/y", &upload).await.unwrap();
    store.abort_upload("raw/y", &upload).await.unwrap();
    assert!(matches!(store.list_parts("raw/y", &upload).await, Err(ObjectError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_send_parts_and_read_their_etags() {
    let Fixture { store, server: _server, _folder } = start().await;
    let upload = store.create_upload("raw/z", false).await.unwrap();
    let base = store.public_base(None);
    let signer = store.part_signer(&base, "raw/z", &upload, Duration::from_secs(600)).unwrap();
    let part = signer.sign(1, 3, None).await.unwrap();
    let client = reqwest::Client::new();
    let asked = client
        .request(http::Method::OPTIONS, &part.url)
        .header("origin", "https://tango.example")
        .header("access-control-request-method", "PUT")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    assert!(asked.headers()["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
    let sent = client.put(&part.url).header("origin", "https://tango.example").body("abc").send().await.unwrap();
    assert_eq!(sent.status(), 200);
    assert!(sent.headers()["access-control-expose-headers"].to_str().unwrap().contains("etag"));
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let Fixture { store: _, server, _folder } = start().await;
    let keys = keys_in(_folder.path()).unwrap();
    let error = EmbeddedServer::start(&_folder.path().join("other"), server.public_address, None, &keys).err().unwrap();
    assert!(error.to_string().contains(&server.public_address.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_unavailable() {
    let Fixture { store, server, _folder } = start().await;
    drop(server);
    tokio::task::yield_now().await;
    // The listener closes a moment after the order: wait for the refusal.
    loop {
        if let (Err(Trouble::Away(_)), Err(ObjectError::Unavailable(_))) =
            (store.examine().await, store.size("x").await)
        {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_has_expired_takes_nothing() {
    let Fixture { store, server: _server, _folder } = start().await;
    let upload = store.create_upload("raw/e", false).await.unwrap();
    let signer = store.part_signer(&store.public_base(None), "raw/e", &upload, Duration::from_secs(1)).unwrap();
    let part = signer.sign(1, 3, None).await.unwrap();
    let started = std::time::Instant::now();
    while put(&part, b"abc".to_vec()).await.status() != 403 {
        assert!(started.elapsed() < Duration::from_secs(20), "the URL never expires");
    }
}
