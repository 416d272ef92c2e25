//! The servers that all tests of a run share are what they have to be.

use std::path::Path;

use mongodb::Client;
use mongodb::bson::doc;
use mongodb::options::{ClientOptions, Tls, TlsOptions};

use crate::services;
use crate::support::client::{client, client_builder};

fn trusting(file: &Path) -> TlsOptions {
    TlsOptions::builder().ca_file_path(file.to_path_buf()).build()
}

async fn connect(url: &str, tls: TlsOptions) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ClientOptions::parse(url).await.unwrap();
    options.tls = Some(Tls::Enabled(tls));
    Client::with_options(options).unwrap()
}

/// The database itself, for what no `tango` would write.
pub async fn database(server: &services::MongoDb) -> mongodb::Database {
    connect(&server.url, trusting(&server.ca_file)).await.database(&server.database)
}

#[tokio::test]
async fn mongodb_has_transactions_and_knows_users_by_password_and_by_certificate() {
    let Some(server) = services::mongodb(&format!("test-{}", std::process::id())) else { return };
    let client = connect(&server.url, trusting(&server.ca_file)).await;
    let database = client.default_database().unwrap();
    assert_eq!(database.name(), server.database);
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    database.collection("pairs").insert_one(doc! {"n": 1}).session(&mut session).await.unwrap();
    database.collection("others").insert_one(doc! {"n": 2}).session(&mut session).await.unwrap();
    assert_eq!(database.collection::<mongodb::bson::Document>("pairs").count_documents(doc! {}).await.unwrap(), 0);
    session.commit_transaction().await.unwrap();

    let mut tls = trusting(&server.ca_file);
    tls.cert_key_file_path = Some(std::env::var("TANGO_TEST_MONGODB_CLIENT_CERTIFICATE_FILE").unwrap().into());
    let by_certificate = connect(&std::env::var("TANGO_TEST_MONGODB_X509_URL").unwrap(), tls).await;
    let pairs = by_certificate.database(&server.database).collection::<mongodb::bson::Document>("pairs");
    assert_eq!(pairs.count_documents(doc! {}).await.unwrap(), 1);
    database.drop().await.unwrap();
}

#[tokio::test]
async fn s3_answers_by_https_to_those_who_sign() {
    let Some(server) = services::s3() else { return };
    assert!(server.endpoint.starts_with("https://") && !server.region.is_empty(), "{}", server.endpoint);
    assert!(!server.access_key.is_empty() && !server.secret_key.is_empty());
    assert!(client().get(&server.endpoint).send().await.is_err(), "its authority is not known to the world");
    let authority = reqwest::Certificate::from_pem(&std::fs::read(&server.ca_file).unwrap()).unwrap();
    let http = client_builder().add_root_certificate(authority).build().unwrap();
    assert_eq!(http.get(&server.endpoint).send().await.unwrap().status(), 403);
}
