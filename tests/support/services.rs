//! The servers that are shared by all tests of a run; see `start-services`.

use std::path::PathBuf;

/// A database of the test's own on the shared replica set.
#[derive(Debug, Clone)]
pub struct MongoDb {
    pub url: String,
    pub ca_file: PathBuf,
    pub database: String,
}

/// The database of this name. `None`, with a printed line, where there is no server.
pub fn mongodb(database: &str) -> Option<MongoDb> {
    let url = setting("MONGODB_URL")?;
    let database = database.to_owned();
    let url = url.replace("/tango?", &format!("/{database}?"));
    Some(MongoDb { url, ca_file: setting("MONGODB_CA_FILE")?.into(), database })
}

/// The shared S3 service, over HTTPS. Whoever has the keys may make buckets.
#[derive(Debug, Clone)]
pub struct S3 {
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
    pub ca_file: PathBuf,
}

/// `None`, with a printed line, where there is no server.
pub fn s3() -> Option<S3> {
    Some(S3 {
        endpoint: setting("S3_ENDPOINT")?,
        access_key: setting("S3_ACCESS_KEY")?,
        secret_key: setting("S3_SECRET_KEY")?,
        region: setting("S3_REGION")?,
        ca_file: setting("S3_CA_FILE")?.into(),
    })
}

fn setting(name: &str) -> Option<String> {
    let value = std::env::var(format!("TANGO_TEST_{name}")).ok();
    if value.is_none() {
        let missing = std::env::var("TANGO_TEST_SERVICES_MISSING");
        eprintln!(
            "skipped: {}",
            missing.unwrap_or_else(|_| "the servers are started by `cargo nextest run`".to_owned())
        );
    }
    value
}
