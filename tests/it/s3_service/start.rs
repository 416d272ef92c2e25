//! Starts: what is refused with one line that says what to change, and what is not needed to start.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tango::app::App;
use tango::clock::SystemClock;
use tango::config::{Config, Secret};

use super::{Certificate, Fault, Front, Remote, Service, trusting};
use crate::app::{PATIENCE, TestApp, test_config, until};
use crate::datasets::calls;

/// What a start with these settings says when it is refused.
async fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = test_config(folder.path());
    change(&mut config);
    let error = App::start(config, Arc::new(SystemClock)).await.err().expect("a start that is refused");
    let said = format!("{error:#}");
    assert_eq!(said.lines().count(), 1, "{said}");
    eprintln!("{said}");
    said
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_and_the_reason_told() {
    let service = Service::start();
    let front = service.front().await;
    let other = service.front().await;
    let good = service.at(&front.url, &front);
    let said = refusal(|config| {
        good(config);
        config.s3_ca_file = Some(other.ca_file.clone());
    })
    .await;
    says(&said, &[&front.url, "S3_ENDPOINT", "S3_CA_FILE", "authority"]);
    let said = refusal(|config| {
        good(config);
        config.s3_ca_file = None;
    })
    .await;
    says(&said, &[&front.url, "authority that this machine does not know", "S3_CA_FILE"]);
    let said = refusal(|config| {
        good(config);
        config.s3_ca_file = Some(front.ca_file.with_file_name("missing.pem"));
    })
    .await;
    says(&said, &["S3_CA_FILE", "missing.pem", "cannot be read"]);
    let expired = Front::open(&service.endpoint, Certificate::Expired).await;
    let said = refusal(service.at(&expired.url, &expired)).await;
    says(&said, &[&expired.url, "has expired since 2021-02-03", "renew it"]);
    let other_name = Front::open(&service.endpoint, Certificate::OtherName).await;
    let said = refusal(service.at(&other_name.url, &other_name)).await;
    says(&said, &[&other_name.url, "another host name", "s3.example.com", "S3_ENDPOINT"]);
    let said = refusal(|config| {
        good(config);
        config.s3_internal_endpoint = Some(other_name.url.clone());
        config.s3_ca_file = Some(other_name.ca_file.clone());
    })
    .await;
    says(&said, &[&other_name.url, "S3_INTERNAL_ENDPOINT"]);
}

#[tokio::test]
async fn keys_that_do_not_fit_are_refused_and_named() {
    let service = Service::start();
    let front = service.front().await;
    let good = service.at(&front.url, &front);
    let said = refusal(|config| {
        good(config);
        config.s3_secret_key = Some(Secret("not the secret".to_owned()));
    })
    .await;
    says(&said, &[&front.url, &service.access_key, "S3_SECRET_KEY"]);
    assert!(!said.contains("not the secret"), "{said}");
    let said = refusal(|config| {
        good(config);
        config.s3_access_key = Some("somebody".to_owned());
    })
    .await;
    says(&said, &[&front.url, "somebody", "S3_ACCESS_KEY"]);
    let said = refusal(|config| {
        good(config);
        config.s3_secret_key = None;
    })
    .await;
    says(&said, &["S3_SECRET_KEY is missing"]);
    // The bucket is missing, and the keys may not make it.
    front.set(Fault::Answer { line: format!("PUT /{}", service.bucket), status: 403, code: "AccessDenied" });
    let said = refusal(&good).await;
    says(&said, &[&service.bucket, "may not make one", "S3_BUCKET"]);
    // It is there, and somebody else's.
    front.set(Fault::Answer { line: String::new(), status: 403, code: "AccessDenied" });
    says(&refusal(&good).await, &[&service.bucket, "refuses the access key", "allow the key"]);
    front.set(Fault::Answer { line: String::new(), status: 403, code: "RequestTimeTooSkewed" });
    says(&refusal(&good).await, &["clock is 20 minutes ahead of its own", "NTP"]);
    front.set(Fault::Answer { line: String::new(), status: 400, code: "AuthorizationHeaderMalformed" });
    says(&refusal(&good).await, &["S3_REGION"]);
}

#[tokio::test]
async fn an_endpoint_that_is_no_s3_service_is_refused() {
    let service = Service::start();
    let front = service.front().await;
    // Another web server: this program.
    let web = TestApp::start().await;
    let said = refusal(|config| {
        service.at(&web.url, &front)(config);
        config.allow_http = true;
    })
    .await;
    says(&said, &[&web.url, "is no S3 service", "S3_ENDPOINT"]);
    // Its TLS is elsewhere.
    let without_tls = service.endpoint.replace("http://", "https://");
    let said = refusal(service.at(&without_tls, &front)).await;
    says(&said, &[&without_tls, "does not speak TLS", "S3_ENDPOINT"]);
}

/// What a process is told of the service.
fn settings(service: &Service, front: &Front) -> [(&'static str, String); 6] {
    [
        ("S3_ENDPOINT", front.url.clone()),
        ("S3_ACCESS_KEY", service.access_key.clone()),
        ("S3_SECRET_KEY", service.secret_key.clone()),
        ("S3_BUCKET", service.bucket.clone()),
        ("S3_REGION", service.region.clone()),
        ("S3_CA_FILE", front.ca_file.display().to_string()),
    ]
}

/// `tango` as a process with these settings; the front of the service goes on answering meanwhile.
async fn tango(
    folder: &std::path::Path,
    arguments: &[&str],
    settings: impl IntoIterator<Item = (&'static str, String)>,
) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tango"));
    command.env_clear().current_dir(folder).args(arguments).envs(settings);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_refuses_in_one_line_and_doctor_says_the_same() {
    let service = Service::start();
    let front = service.front().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = |endpoint: &str, secret: &str| {
        let mut settings = settings(&service, &front);
        for (at, other) in [(0, endpoint), (2, secret)] {
            if !other.is_empty() {
                settings[at].1 = other.to_owned();
            }
        }
        settings
    };
    let run = async |arguments: &[&str], settings: &[(&'static str, String)]| {
        tango(folder.path(), arguments, settings.to_vec()).await
    };
    let start = ["--listen", "127.0.0.1:0"];
    let doctor = ["doctor", "--listen", "127.0.0.1:0"];
    let (code, said) = run(&start, &settings("http://s3.example:9000", "")).await;
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    says(&said, &["S3_ENDPOINT", "http://s3.example:9000", "https://", "ALLOW_HTTP"]);
    let (code, said) = run(&start, &settings("", "another secret")).await;
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    let line = said.trim().strip_prefix("error: ").unwrap().to_owned();
    let (code, said) = run(&doctor, &settings("", "another secret")).await;
    assert_eq!(code, Some(1), "{said}");
    says(&said, &[&format!("FAILED   {line}")]);

    let (code, said) = run(&doctor, &settings("", "")).await;
    assert_eq!(code, Some(0), "{said}");
    says(&said, &["has no bucket", "the next start makes"]);
    let app = TestApp::start_with(service.at(&front.url, &front)).await;
    let (code, said) = run(&doctor, &settings("", "")).await;
    assert_eq!(code, Some(0), "{said}");
    says(&said, &["can be listed", "a CORS rule", "a lifecycle rule", "a list of unfinished uploads"]);
    // Where a rule can be set, browsers are let in; where not, they are told of.
    let browsers = if said.contains("lacks a CORS rule") { "may not send files to" } else { "may send files to" };
    says(&said, &["browsers with pages of https://any.example", browsers]);
    let (code, bundle) = run(&[&doctor[..], &["--bundle", "-"]].concat(), &settings("", "")).await;
    assert_eq!(code, Some(0), "{bundle}");
    assert!(bundle.starts_with("tango ") && bundle.contains("\nFindings\n  ok       "), "{bundle}");
    eprintln!("{said}");
    drop(app);
    front.set(Fault::Closed);
    let (code, said) = run(&doctor, &settings("", "")).await;
    assert_eq!(code, Some(1), "{said}");
    says(&said, &["closes connections", "tango starts without it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_warns_when_the_bucket_of_datasets_was_missing_and_doctor_does_from_then_on() {
    let remote = Remote::start().await;
    crate::datasets::dataset(&remote.app, &calls(0, 100)).await;
    let config = remote.app.app.state.ctx.config.clone();
    let folder = remote.app.stop().await;
    let (right, wrong) = (&remote.service.bucket, &format!("{}-other", remote.service.bucket));
    let command = |words: &[&str], bucket: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tango"));
        command.env_clear().current_dir(folder.path()).args(words);
        command.args(["--data-dir", "data", "--listen", "127.0.0.1:0"]);
        command.envs(settings(&remote.service, &remote.front)).env("S3_BUCKET", bucket);
        // Where the tests run on MongoDB.
        if let (Some(url), Some(file), Some(secret)) =
            (&config.mongodb_url, &config.mongodb_ca_file, &config.token_secret)
        {
            command.env("MONGODB_URL", &url.0).env("MONGODB_CA_FILE", file).env("TOKEN_SECRET", &secret.0);
        }
        command
    };
    let doctor = |bucket: &str| {
        let output = tokio::task::block_in_place(|| command(&["doctor"], bucket).output().unwrap());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = doctor(right);
    assert_eq!(code, Some(0), "{said}");
    says(&said, &[&format!("the bucket {right} holds what the document store refers to")]);
    let (code, said) = doctor(wrong);
    assert_eq!(code, Some(1), "{said}");
    says(&said, &[&format!("FAILED   there is no bucket {wrong}"), "S3_BUCKET"]);

    let mut process = command(&[], wrong).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.into_iter().try_for_each(|line| sender.send(line)));
    let warned = tokio::task::spawn_blocking(move || {
        let wanted = |line: &String| line.contains("the bucket was missing and is empty");
        std::iter::from_fn(|| said.recv_timeout(PATIENCE).ok()).find(wanted)
    });
    let warned = warned.await.unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(warned.is_some_and(|line| line.contains("S3_BUCKET") && line.contains("backup")));
    // The start has made it.
    let (code, said) = doctor(wrong);
    assert_eq!(code, Some(1), "{said}");
    says(&said, &[&format!("FAILED   the bucket {wrong} lacks seg/"), "S3_BUCKET", "backup"]);
}

async fn ready(app: &TestApp) -> Value {
    app.get("/readyz").send().await.expect_status(200).json()
}

#[tokio::test]
async fn a_first_start_without_the_object_store_makes_the_bucket_when_that_is_back() {
    let service = Service::start();
    let front = service.front().await;
    front.set(Fault::Closed);
    let app = trusting(TestApp::start_with(service.at(&front.url, &front)).await, &front);
    let state = ready(&app).await;
    assert_eq!(state["checks"]["object_store"], "unavailable", "{state:#}");
    assert!(state["detail"].as_str().unwrap().contains("scoring go on"), "{state:#}");
    let metrics = app.get("/metrics").send().await.ok().text;
    assert!(metrics.contains("tango_object_store_up 0"), "{metrics}");
    app.get("/login").send().await.expect_status(200);
    let agent = json!({"records": [{"id": "a", "loginStatus": 1}]});
    app.post("/api/v1/agents/records").json(&agent).send().await.expect_status(200);
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": 10, "mode": "create"});
    let problem = app.post("/api/v1/uploads").json(&ask).send().await;
    assert!(problem.headers.contains_key("retry-after"));
    problem.expect_problem(503, "object_store_unavailable");

    // It comes back as one that refuses the keys: nothing to stop over any more, but told apart.
    front.set(Fault::Answer { line: String::new(), status: 403, code: "InvalidAccessKeyId" });
    until("the refusal", async || {
        let state = ready(&app).await;
        if state["checks"]["object_store"] == "misconfigured" { Ok(()) } else { Err(state) }
    })
    .await;
    app.post("/api/v1/uploads").json(&ask).send().await.expect_problem(503, "object_store_unavailable");

    front.heal();
    until("the object store", async || {
        let state = ready(&app).await;
        if state["checks"]["object_store"] == "ok" { Ok(()) } else { Err(state) }
    })
    .await;
    assert!(ready(&app).await.get("detail").is_none());
    let metrics = app.get("/metrics").send().await.ok().text;
    assert!(metrics.contains("tango_object_store_up 1"), "{metrics}");
    let done = app.upload("dataset", calls(0, 500).as_bytes(), json!({})).await;
    assert_eq!(done["job"]["result"]["rows"], 500, "{done:#}");
}

#[tokio::test]
async fn a_restart_without_the_object_store_signs_in_and_scores() {
    let remote = Remote::start().await;
    let loaded = crate::centre::load(remote.app).await;
    loaded.activate("HYBRID").await;
    let waiting = loaded.centre.waiting(1).remove(0);
    let ids: Vec<&str> = loaded.centre.agents.iter().map(|agent| agent.id.as_str()).collect();
    let ask = json!({"context_id": loaded.centre.customers[waiting.customer].id, "context": waiting.context(), "agents": ids});
    let score = async |app: &TestApp| {
        app.post("/api/v1/predictors/fcr/score").json(&ask).send().await.expect_status(200).json()["scores"].clone()
    };
    let before = score(&loaded.app).await;
    let folder = loaded.app.stop().await;
    remote.front.set(Fault::Silent);
    let settings = remote.service.at(&remote.front.url, &remote.front);
    let app = TestApp::start_at(folder, Arc::new(SystemClock), settings).await;
    println!("ready in {:?} without the object store", app.app.ready_in);
    assert!(app.app.ready_in.as_secs() < 10, "{:?}", app.app.ready_in);
    assert_eq!(ready(&app).await["checks"]["object_store"], "unavailable");
    assert_eq!(score(&app).await, before);
}

#[tokio::test]
async fn a_bucket_of_another_installation_is_refused_and_its_objects_stay() {
    let service = Service::start();
    let front = service.front().await;
    let good = service.at(&front.url, &front);
    let folder = tempfile::tempdir().unwrap();
    let mut config = test_config(folder.path());
    good(&mut config);
    let first = App::start(config.clone(), Arc::new(SystemClock)).await.unwrap();
    first.stop().await.unwrap();
    let said = refusal(|config| good(config)).await;
    says(&said, &["belongs to another tango installation", "S3_BUCKET", "tango-installation"]);
    // The first one's, as often as it starts.
    let first = App::start(config.clone(), Arc::new(SystemClock)).await.unwrap();
    first.stop().await.unwrap();
    // Another bucket of the same service is free.
    let folder = tempfile::tempdir().unwrap();
    let mut other = test_config(folder.path());
    good(&mut other);
    other.s3_bucket = "another".to_owned();
    App::start(other, Arc::new(SystemClock)).await.unwrap().stop().await.unwrap();
    // Set to the first one's, it is told by the doctor, too.
    let doctor = ["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let (code, said) = tango(folder.path(), &doctor, settings(&service, &front)).await;
    assert_eq!(code, Some(1), "{said}");
    says(&said, &["FAILED", "belongs to another tango installation", "S3_BUCKET"]);
}
