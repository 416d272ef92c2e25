//! Settings and servers that cannot be: each start is refused with one line that says what to change, and `doctor` shows the same.

use std::path::Path;
use std::process::{Command, Stdio};

use mongodb::bson::doc;

use crate::services;
use crate::support::patience::until;

/// What `tango` says when it is started with these settings; it must not start.
fn refused(folder: &Path, command: &[&str], settings: &[(&str, &str)]) -> String {
    let mut tango = Command::new(env!("CARGO_BIN_EXE_tango"));
    tango.env_clear().current_dir(folder).args(command);
    tango.env("LISTEN", "127.0.0.1:0").env("ALLOW_HTTP", "True").env("TOKEN_SECRET", "x".repeat(32));
    // Nothing is listening there: the document store is looked at first.
    tango.env("S3_ENDPOINT", "http://127.0.0.1:1").env("S3_ACCESS_KEY", "key").env("S3_SECRET_KEY", "a long secret");
    let output = tango.envs(settings.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    said
}

/// The start's one line, after checking that `doctor` says it, too.
fn refusal(settings: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let said = refused(folder.path(), &["server"], settings);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    let doctor = refused(folder.path(), &["doctor"], settings);
    let reason = errors[0].trim_start_matches("error: ");
    assert!(doctor.contains(reason), "the start said\n{reason}\nand doctor\n{doctor}");
    reason.to_owned()
}

#[test]
fn a_wrong_url_password_authority_or_set_name_is_named() {
    let Some(server) = services::mongodb(&format!("refused-{}", std::process::id())) else { return };
    let ca_file = server.ca_file.to_str().unwrap();
    let (before, after) = server.url.split_once('@').unwrap();
    let user = before.rsplit_once(':').unwrap().0;
    let wrong_password = format!("{user}:wrong-password@{after}");
    let said = refusal(&[("MONGODB_URL", &wrong_password), ("MONGODB_CA_FILE", ca_file)]);
    assert!(said.contains("refuses user and password") && !said.contains("wrong-password"), "{said}");

    let said = refusal(&[("MONGODB_URL", "mongo://nowhere"), ("MONGODB_CA_FILE", ca_file)]);
    assert!(said.contains("MONGODB_URL cannot be read") && said.contains("mongodb://user:password@"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other_ca = folder.path().join("other.pem");
    std::fs::write(&other_ca, other.cert.pem()).unwrap();
    let said = refusal(&[("MONGODB_URL", &server.url), ("MONGODB_CA_FILE", other_ca.to_str().unwrap())]);
    assert!(said.contains("is not trusted") && said.contains("MONGODB_CA_FILE"), "{said}");
    std::fs::write(&other_ca, "no certificate").unwrap();
    let said = refusal(&[("MONGODB_URL", &server.url), ("MONGODB_CA_FILE", other_ca.to_str().unwrap())]);
    assert!(said.contains("holds no certificate in PEM form"), "{said}");

    let renamed = server.url.replace("replicaSet=rs0", "replicaSet=other");
    let said = refusal(&[("MONGODB_URL", &renamed), ("MONGODB_CA_FILE", ca_file)]);
    assert!(said.contains("is called rs0, not other"), "{said}");
}

#[test]
fn an_older_program_is_refused_by_a_schema_that_needs_a_newer_one_and_settings_are_complete() {
    let Some(server) = services::mongodb(&format!("newer-{}", std::process::id())) else { return };
    let settings = [("MONGODB_URL", server.url.as_str()), ("MONGODB_CA_FILE", server.ca_file.to_str().unwrap())];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let write = |version: i64, min_program: &str| {
        runtime.block_on(async {
            let database = crate::shared_services::database(&server).await;
            let body = doc! { "schema_version": version, "min_program": min_program };
            let new = doc! { "_id": { "s": "", "i": "schema" }, "r": 1_i64, "v": body };
            let meta = database.collection::<mongodb::bson::Document>("meta");
            meta.replace_one(doc! { "_id": { "s": "", "i": "schema" } }, new).upsert(true).await.unwrap();
        });
    };
    write(99, "9.0.0");
    let said = refusal(&settings);
    assert!(said.contains("use tango 9.0.0 or newer") && said.contains("schema 99"), "{said}");

    // A schema that was only added to is used by this program, and an older one is brought up to date: both are looked at only.
    write(99, "0.1.0");
    let folder = tempfile::tempdir().unwrap();
    let status = |wanted: &str| {
        let mut tango = Command::new(env!("CARGO_BIN_EXE_tango"));
        tango.env_clear().current_dir(folder.path()).args(["migrate", "--status"]).envs(settings);
        tango.env("ALLOW_HTTP", "True").env("TOKEN_SECRET", "x".repeat(32)).env("S3_ENDPOINT", "http://127.0.0.1:1");
        let output = tango.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wanted), "{said}");
    };
    status("missing   none");
    write(0, "0.1.0");
    status("missing   0001_documents");

    let folder = tempfile::tempdir().unwrap();
    let said = refused(folder.path(), &["server"], &[settings[0], settings[1], ("TOKEN_SECRET", "")]);
    assert!(said.contains("TOKEN_SECRET is missing"), "{said}");
    let said = refused(folder.path(), &["server"], &[settings[0], settings[1], ("S3_ENDPOINT", "")]);
    assert!(said.contains("S3_ENDPOINT is missing"), "{said}");
    let said = refused(folder.path(), &["server"], &[settings[0], settings[1], ("ALLOW_HTTP", "False")]);
    assert!(said.contains("S3_ENDPOINT") && said.contains("https://"), "{said}");
    runtime.block_on(async { crate::shared_services::database(&server).await.drop().await.unwrap() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongod_that_is_no_replica_set_is_refused() {
    let Some(cluster) = crate::dev_cluster::DevCluster::open() else { return };
    let port = cluster.free_ports(1)[0];
    let program = cluster.run(&["mongo", "program"]);
    let data = tempfile::tempdir().unwrap();
    let mut mongod = Command::new(program.trim())
        .args(["--dbpath", data.path().to_str().unwrap(), "--bind_ip", "127.0.0.1", "--port", &port.to_string()])
        .args(["--wiredTigerCacheSizeGB", "0.25"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the server's port", async || {
        std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.kind())
    })
    .await;
    for url in [format!("mongodb://127.0.0.1:{port}/"), format!("mongodb://127.0.0.1:{port}/?replicaSet=rs0")] {
        let said = tokio::task::block_in_place(|| refusal(&[("MONGODB_URL", &url)]));
        assert!(said.contains("is no member of a replica set"), "{said}");
    }
    mongod.kill().unwrap();
    mongod.wait().unwrap();
}
