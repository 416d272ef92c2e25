//! The real executable: what it prints, whom it refuses, how it ends.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{PATIENCE, client, client_builder};
pub use crate::support::process::Process;

pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tango"));
    command.env_clear().current_dir(folder).args(arguments);
    command
}

pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// Everything that it printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Process {
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_by(command(folder, arguments))
    }

    /// Runs a command that becomes a `tango`, and waits until it says that it is ready.
    pub fn start_by(command: Command) -> Self {
        let mut process = Self::spawn(command);
        process.wait_for_welcome();
        process
    }

    /// How long its start took, as it says itself.
    pub fn ready_in(&self) -> Duration {
        let said = self.told(concat!("tango ", env!("CARGO_PKG_VERSION"), " is ready in"));
        Duration::from_secs_f64(said.trim_end_matches(" s").parse().unwrap())
    }

    /// The most memory that it has had resident so far, in kilobytes.
    pub fn peak_memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

pub const LOCAL: [&str; 2] = ["--listen", "127.0.0.1:0"];

async fn sign_in(url: &str, username: &str, password: &str) -> reqwest::Response {
    let body = json!({"username": username, "password": password});
    client().post(format!("{url}/api/v1/auth/login")).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn starts_without_configuration_prints_the_way_in_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &LOCAL);
    let (url, password) = (process.told("web application").to_owned(), process.told("password").to_owned());
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    println!("first start: ready in {:?}, {:?} from outside", process.ready_in(), process.started_in);
    assert_eq!(process.told("user"), "super_user@genesys.com");
    assert_eq!(sign_in(&url, "super_user@genesys.com", &password).await.status(), 200);
    assert!(folder.path().join("tango-data").is_dir());
    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));

    // The same password is shown until it is changed, and works after a restart.
    let mut process = Process::start(folder.path(), &LOCAL);
    assert_eq!(process.told("password"), password);
    let url = process.told("web application").to_owned();
    assert_eq!(sign_in(&url, "super_user@genesys.com", &password).await.status(), 200);
    process.signal("INT");
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn a_second_process_on_the_folder_is_refused_in_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Process::start(folder.path(), &LOCAL);
    let second = run(folder.path(), &LOCAL);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: another tango process is using the data folder"), "{said}");
}

#[tokio::test]
async fn users_are_changed_through_the_running_process_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &LOCAL);
    let url = process.told("web application").to_owned();
    let first = process.told("password").to_owned();
    let changed = run(folder.path(), &["user", "password", "super_user@genesys.com", "--password", "a better one"]);
    assert!(changed.status.success(), "{}", text(&changed));
    assert_eq!(sign_in(&url, "super_user@genesys.com", &first).await.status(), 401);
    assert_eq!(sign_in(&url, "super_user@genesys.com", "a better one").await.status(), 200);
    assert!(!folder.path().join("tango-data/initial-password").exists(), "the first password is of no use any more");

    for _ in 0..10 {
        assert_eq!(sign_in(&url, "super_user@genesys.com", "a guess").await.status(), 401);
    }
    assert_eq!(sign_in(&url, "super_user@genesys.com", "a better one").await.status(), 423);
    let piped = command(folder.path(), &["user", "password", "super_user@genesys.com"])
        .stdin(std::fs::File::open(write(folder.path(), "the best one\n")).unwrap())
        .output()
        .unwrap();
    assert!(piped.status.success(), "{}", text(&piped));
    assert_eq!(sign_in(&url, "super_user@genesys.com", "the best one").await.status(), 200, "the lock is lifted");
    let nothing = run(folder.path(), &["user", "password", "super_user@genesys.com"]);
    assert!(text(&nothing).contains("nothing is changed"), "{}", text(&nothing));

    let added = text(&run(folder.path(), &["user", "add", "ana@example.com", "--generate"]));
    let generated = added.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().to_owned();
    assert_eq!(sign_in(&url, "ana@example.com", &generated).await.status(), 200);
    let again = run(folder.path(), &["user", "add", "ANA@example.com", "--generate"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("there is a user"), "{}", text(&again));
    drop(process);

    let list = text(&run(folder.path(), &["user", "list"]));
    assert!(list.contains("ana@example.com\tuser") && list.contains("super_user@genesys.com\tsuper user"), "{list}");
    assert!(run(folder.path(), &["user", "remove", "ana@example.com"]).status.success());
    assert!(!text(&run(folder.path(), &["user", "list"])).contains("ana@"));
    let last = run(folder.path(), &["user", "remove", "super_user@genesys.com"]);
    assert_eq!(last.status.code(), Some(1), "the last super user stays");
}

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("standard-input");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn what_is_kept_is_for_the_owner_alone_also_in_a_folder_that_was_open() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("tango-data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let process = Process::start(folder.path(), &LOCAL);
    for entry in std::fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.path().display());
    }
    drop(process);
    let doctor = text(&run(folder.path(), &["doctor", "--listen", "127.0.0.1:0"]));
    assert!(doctor.contains("chmod"), "{doctor}");
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["openapi"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), text(&ended)), (Some(0), String::new()));
}

#[test]
fn doctor_refuses_what_a_start_would_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join(format!("{name}.crt")), folder.path().join(format!("{name}.key")));
        std::fs::write(&cert, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        (cert, key)
    };
    let ((certificate, _), (_, other_key)) = (key("one"), key("other"));
    let doctor = command(folder.path(), &["doctor", "--listen", "127.0.0.1:0"])
        .env("S3_LISTEN", "127.0.0.1:0")
        .env("TLS_CERT_FILE", certificate)
        .env("TLS_KEY_FILE", other_key)
        .output()
        .unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    assert!(text(&doctor).contains("belong together"), "{}", text(&doctor));
    let doctor = command(folder.path(), &["doctor", "--listen", "127.0.0.1:0"])
        .env("S3_ENDPOINT", "https://s3.example:9000")
        .output()
        .unwrap();
    assert!(text(&doctor).contains("S3_ACCESS_KEY is missing"), "{}", text(&doctor));
}

#[tokio::test]
async fn other_addresses_are_served_by_https_unless_one_insists() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--listen", "0.0.0.0:0"]);
    let url = process.told("web application").to_owned();
    assert!(url.starts_with("https://"), "{url}");
    assert!(process.told("certificate").contains("generated for this installation"));
    let pem = std::fs::read(folder.path().join("tango-data/tls/tango.crt")).unwrap();
    let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
    let trusting = client_builder().add_root_certificate(certificate).build().unwrap();
    let login = trusting.get(format!("{url}/login")).send().await.unwrap();
    assert_eq!(login.status(), 200, "the certificate holds the address that is printed");
    let health = run(folder.path(), &["healthcheck"]);
    assert!(health.status.success(), "{}", text(&health));
    drop(process);

    let process = Process::start(folder.path(), &["--listen", "0.0.0.0:0", "--http"]);
    assert!(process.told("web application").starts_with("http://"));
    assert!(process.welcome.contains("WARNING: plain HTTP"), "{}", process.welcome);
}

#[tokio::test]
async fn the_log_is_an_object_a_line_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tango.env"), "LOG_FORMAT=json\n").unwrap();
    let mut process = Process::start(folder.path(), &LOCAL);
    let url = format!("{}/api/v1/auth/me", process.told("web application"));
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));
    let said = process.end();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = lines.iter().find(|line| line["fields"]["request_id"] == request.as_str());
    let told = told.unwrap_or_else(|| panic!("{said}"));
    assert_eq!((&told["level"], &told["fields"]["status"]), (&json!("INFO"), &json!(401)), "{told:#}");
    assert!(told["timestamp"].is_string(), "{told:#}");
}

#[tokio::test]
async fn a_draining_process_tells_load_balancers_and_a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tango.env"), "DRAIN_SECONDS=600\n").unwrap();
    let mut process = Process::start(folder.path(), &LOCAL);
    let url = process.told("web application").to_owned();
    let http = client();
    let status = async |path: &str| http.get(format!("{url}{path}")).send().await.unwrap().status().as_u16();
    let in_use = http.get(format!("{url}/login")).send().await.unwrap();
    assert_eq!((in_use.status().as_u16(), in_use.headers().get("connection")), (200, None));
    process.signal("TERM");
    let started = Instant::now();
    while status("/login").await != 503 {
        assert!(started.elapsed() < PATIENCE, "/login goes on with 200");
    }
    let alive = http.get(format!("{url}/livez")).send().await.unwrap();
    assert_eq!(alive.status().as_u16(), 200, "what is not a probe for traffic goes on");
    assert_eq!(alive.headers()["connection"], "close", "a balancer keeps no connection that will end");
    process.signal("TERM");
    assert_eq!(process.wait(), Some(128 + 15));
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(folder.path(), &["--listen", &address]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn settings_are_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tango.env"), "LOG_LEVEL=LOUD\n").unwrap();
    let wrong = run(folder.path(), &["config", "check"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = text(&wrong);
    assert!(said.contains("LOG_LEVEL") && said.contains("\"LOUD\"") && said.contains("DEBUG"), "{said}");
    std::fs::write(folder.path().join("tango.env"), "LOG_FORMAT=xml\n").unwrap();
    let said = text(&run(folder.path(), &["config", "check"]));
    assert!(said.contains("LOG_FORMAT") && said.contains("use text or json"), "{said}");

    std::fs::write(
        folder.path().join("tango.env"),
        "LOG_LEVEL=DEBUG\nTOKEN_SECRET=0123456789012345678901234567890123456789\n",
    )
    .unwrap();
    let shown = text(&run(folder.path(), &["config", "check"]));
    assert!(
        shown.contains("tango.env line 1") && shown.contains("(hidden)") && !shown.contains("0123456789"),
        "{shown}"
    );

    let other = tempfile::tempdir().unwrap();
    let cluster = command(other.path(), &["config", "check"])
        .env("MONGODB_URL", "mongodb://db.example/tango")
        .env("S3_ENDPOINT", "https://s3.example:9000")
        .output()
        .unwrap();
    assert_eq!(cluster.status.code(), Some(2));
    assert!(text(&cluster).contains("TOKEN_SECRET is missing"), "{}", text(&cluster));
}

#[test]
fn help_shows_examples_and_openapi_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let help = text(&run(folder.path(), &["--help"]));
    for word in ["Examples:", "doctor", "healthcheck", "demo", "bench", "--data-dir"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    let document: Value = serde_json::from_slice(&run(folder.path(), &["openapi"]).stdout).unwrap();
    assert!(document["paths"]["/api/v1/auth/login"]["post"].is_object());
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let mut ids: Vec<&str> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), all > 50), (all, true), "every operation has a name of its own");
    let unknown = run(folder.path(), &["bench", "nonsense"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn migrate_names_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let status = text(&run(folder.path(), &["migrate", "--status"]));
    assert!(status.contains("missing   0001_documents"), "{status}");
    assert!(!folder.path().join("tango-data").exists(), "a status changes nothing");
    let done = text(&run(folder.path(), &["migrate"]));
    assert!(done.contains("applied 0001_documents"), "{done}");
    let again = text(&run(folder.path(), &["migrate"]));
    assert!(!again.contains("applied") && again.contains("up to date"), "{again}");
    let status = text(&run(folder.path(), &["migrate", "--status"]));
    assert!(status.contains("missing   none"), "{status}");
}

#[test]
fn doctor_looks_at_a_folder_with_and_without_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let listen = ["doctor", "--listen", "127.0.0.1:0"];
    let doctor =
        |arguments: &[&str]| command(folder.path(), arguments).env("S3_LISTEN", "127.0.0.1:0").output().unwrap();
    let new = doctor(&listen);
    assert!(new.status.success(), "{}", text(&new));
    let process = Process::start(folder.path(), &LOCAL);
    let running = text(&doctor(&listen));
    assert!(running.contains("runs at http://127.0.0.1:") && running.contains("is ready"), "{running}");
    drop(process);
    let stopped = text(&doctor(&listen));
    assert!(stopped.contains("the document store opens") && stopped.contains("1 user(s)"), "{stopped}");
    assert_eq!(run(folder.path(), &["healthcheck"]).status.code(), Some(1));
}
