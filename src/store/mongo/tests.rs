//! The conformance suite over a real replica set, and what only this backend promises.

use super::{MongoSettings, MongoStore};
use crate::store::conformance::{Fixture, conformance_suite};

/// The replica set that the test run started; `None` (with a line that says so) when there is none.
fn settings() -> Option<MongoSettings> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Ok(url) = std::env::var("TANGO_TEST_MONGODB_URL") else {
        assert!(std::env::var_os("TANGO_TEST_REQUIRE_SERVICES").is_none(), "no MongoDB was started for this run");
        println!("skipped: TANGO_TEST_MONGODB_URL names no replica set");
        return None;
    };
    let ca_file = std::env::var_os("TANGO_TEST_MONGODB_CA_FILE").map(Into::into);
    // A database of its own for each test.
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let name = format!("tango_test_{}", hex::encode(random));
    let (before, after) = url.split_once("/tango?").expect("the URL of the test run names the database tango");
    Some(MongoSettings { url: format!("{before}/{name}?{after}"), ca_file, allow_plain: true })
}

struct Dropped(mongodb::Database);

impl Drop for Dropped {
    fn drop(&mut self) {
        let database = self.0.clone();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async { database.drop().await.ok() })
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with the server's clock, which no test moves")]
fn now() -> crate::domain::Timestamp {
    chrono::Utc::now()
}

async fn open() -> Option<Fixture> {
    let store = MongoStore::open(&settings()?, now()).await.unwrap();
    let keep = Dropped(store.database().clone());
    Some(Fixture::new(store, keep))
}

conformance_suite!(super::open);
