//! What goes through the program does not stay in its memory, and what is refused takes little of it.

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::json;

use crate::app::client;
use crate::centre;
use crate::door::Door;
use crate::process::{LOCAL, Process};

const PART: usize = 128 << 20;
/// Room for buffers, the allocator's habits and a development build.
const MOST_KB: u64 = 48 << 10;

/// The bytes of a part, made as they are sent.
fn body() -> reqwest::Body {
    const PIECE: usize = 1 << 20;
    let pieces = futures::stream::repeat(()).take(PART / PIECE);
    reqwest::Body::wrap_stream(pieces.map(|()| Ok::<_, std::io::Error>(vec![b'7'; PIECE])))
}

#[tokio::test]
async fn a_part_of_128_mb_passes_by_its_url_and_through_the_program_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &LOCAL);
    let door = Door::open(&process).await;
    let ask = json!({
        "target": "dataset", "filename": "x.csv", "size_bytes": 2 * PART, "mode": "create", "part_size_bytes": PART,
    });
    let upload = door.post("uploads", "large", &ask).await;
    let before = process.peak_memory_kb();
    let part = &upload["parts"][0];
    let put = client().put(part["url"].as_str().unwrap()).header("content-length", PART).body(body());
    assert_eq!(put.send().await.unwrap().status(), 200);
    let by_url = process.peak_memory_kb() - before;
    let through = door.request(Method::PUT, &format!("uploads/{}/parts/2", upload["id"].as_str().unwrap()));
    let through = through.header("content-length", PART).body(body()).send().await.unwrap();
    assert_eq!(through.status(), 200, "{}", through.text().await.unwrap());
    let both = process.peak_memory_kb() - before;
    println!("{} MB by URL: peak memory grew by {by_url} kB; once more through the program: {both} kB", PART >> 20);
    assert!(both < MOST_KB, "{both} kB");
}

#[tokio::test]
async fn millions_of_interactions_in_one_call_are_refused_in_bounded_memory() {
    let loaded = centre::start().await;
    loaded.create_predictor().await;
    let body = format!(r#"{{"interactions":[{}{{}}]}}"#, "{},".repeat(5_000_000));
    let bytes = body.len() as u64;
    // The peak begins anew.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = own_peak_kb();
    let post = loaded.app.post("/api/v1/predictors/fcr/score/batch").body("application/json", body);
    post.send().await.expect_problem(422, "too_many_records");
    let grown = own_peak_kb() - before;
    println!("{} MB of interactions: peak memory grew by {grown} kB", bytes >> 20);
    assert!(grown < (20 * bytes) >> 10, "{grown} kB");
}

fn own_peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
