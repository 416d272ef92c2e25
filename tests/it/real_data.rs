//! Public data through the whole program. Left out, with a line that says so, where the data is not there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::centre;

/// Enough for local models of many agents, few enough for a test.
const ROWS: usize = 4_000;

fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("TANGO_TEST_DATA").map(PathBuf::from);
    let mut beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|parent| parent.join("shared/data"));
    given.into_iter().chain(&mut beside).find(|folder| folder.join("flights.csv.gz").exists())
}

/// The header, with names that say the roles, and the first complete rows.
fn slice(path: &Path, roles: &[(&str, &str)]) -> String {
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let mut lines = BufReader::new(file).lines().map(Result::unwrap);
    let header = lines.next().unwrap();
    let role = |name: &str| roles.iter().find(|role| role.0 == name).map_or(name.to_owned(), |role| role.1.to_owned());
    let header: Vec<String> = header.split(',').map(|name| role(name.trim_matches('"'))).collect();
    let complete = lines.filter(|line| !line.split(',').any(|value| value == "NA")).take(ROWS);
    let mut text = header.join(",") + "\n";
    complete.for_each(|line| text.extend([line.as_str(), "\n"]));
    text
}

/// Uploads the rows to a program of its own, trains there, and answers the artifact's digest.
async fn digest(threads: usize, csv: &str, context: &[&str]) -> String {
    let app = TestApp::start_with(|config| config.omp_num_threads = Some(threads)).await;
    let dataset = centre::dataset(&app, "interactions", csv.as_bytes()).await;
    let body = json!({
        "name": "outcome",
        "dataset_id": dataset,
        "metric": {"field": "outcome", "kind": "regression", "goal": "maximize"},
        "agent_source": "dataset",
        "features": {"context": context},
    });
    let predictor = app.post("/api/v1/predictors").json(&body).send().await.expect_status(201).json();
    let path = format!("/api/v1/predictors/{}/models", predictor["id"].as_str().unwrap());
    let settings = json!({"trees": 10, "max_leaves": 8, "early_stop": false, "holdout": "random"});
    let body = json!({"name": "model", "type": "HYBRID", "settings": settings, "seed": 7});
    let model = app.post(&path).json(&body).send().await.expect_status(201).json();
    let path = format!("/api/v1/models/{}", model["id"].as_str().unwrap());
    let started = app.post(&format!("{path}/train")).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    let trained: Value = app.get(&path).send().await.expect_status(200).json();
    assert_eq!(trained["trained_on"]["rows"], ROWS, "{trained:#}");
    let artifact = app.get(&format!("{path}/artifact")).send().await;
    artifact.headers["x-content-sha256"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn two_programs_learn_the_same_bytes_from_public_data_on_any_number_of_threads() {
    let Some(folder) = folder() else {
        println!("skipped: flights.csv.gz is not there (set TANGO_TEST_DATA to the folder that has it)");
        return;
    };
    let flights = [("tailnum", "agent_id"), ("time_hour", "start_time"), ("arr_delay", "outcome")];
    let lectures = [("lecturer_id", "agent_id"), ("student_id", "customer_id"), ("rating", "outcome")];
    for (file, roles, context) in [
        ("flights.csv.gz", flights, ["start_time", "carrier", "dest"]),
        ("insteval.csv.gz", lectures, ["lecture_age", "service", "department"]),
    ] {
        let csv = slice(&folder.join(file), &roles);
        assert_eq!(digest(1, &csv, &context).await, digest(2, &csv, &context).await, "{file}");
    }
}
