//! Which stores the HTTP tests run on: an embedded one in the test's folder, or (`TANGO_TEST_STORE=mongodb`) the shared replica set and
//! S3 service, in a database and a bucket of the test's own.

use std::path::Path;

use mongodb::bson::doc;
use mongodb::options::{ClientOptions, Tls, TlsOptions};
use tango::config::{Config, Secret};

use crate::services::{MongoDb, mongodb, s3};

/// A test's folder. When it goes, so does the database that was made beside it.
pub struct Folder {
    temp: tempfile::TempDir,
    database: Option<MongoDb>,
}

impl Folder {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let database = on_mongodb().then(|| {
            // Without what the name of a database may not have.
            let name: String =
                temp.path().file_name().unwrap().to_string_lossy().chars().filter(|c| c.is_alphanumeric()).collect();
            mongodb(&format!("it-{name}")).expect("the servers of this run")
        });
        Self { temp, database }
    }

    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Makes the settings those of a node of a cluster, if the tests run on one.
    pub fn choose_stores(&self, config: &mut Config) {
        let Some(database) = &self.database else { return };
        let s3 = s3().expect("the servers of this run");
        config.mongodb_url = Some(Secret(database.url.clone()));
        config.mongodb_ca_file = Some(database.ca_file.clone());
        config.s3_endpoint = Some(s3.endpoint);
        config.s3_access_key = Some(s3.access_key);
        config.s3_secret_key = Some(Secret(s3.secret_key));
        config.s3_region = s3.region;
        config.s3_ca_file = Some(s3.ca_file);
        config.s3_bucket = database.database.to_lowercase();
        config.token_secret = Some(Secret("a secret for tests, the same on every node".to_owned()));
    }
}

/// Whether the HTTP tests run on a cluster's stores.
pub fn on_mongodb() -> bool {
    std::env::var("TANGO_TEST_STORE").is_ok_and(|store| store == "mongodb")
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(database) = self.database.take() else { return };
        // A runtime of its own: this may be dropped inside of one.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(drop_database(&database));
        });
        if dropping.join().is_err() {
            eprintln!("a test's database was left behind");
        }
    }
}

async fn drop_database(database: &MongoDb) {
    let mut options = ClientOptions::parse(&database.url).await.unwrap();
    options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(database.ca_file.clone()).build()));
    let client = mongodb::Client::with_options(options).unwrap();
    client.database(&database.database).run_command(doc! { "dropDatabase": 1 }).await.unwrap();
}
