//! `/api/v1/reports` with `lift_estimation`: against the truth of a simulated centre, and what is refused.

use serde_json::{Value, json};
use tango::simulation::Outcome;

use crate::app::TestApp;
use crate::centre;

/// Asks for the report and waits; answers it whole.
async fn report(app: &TestApp, body: &Value) -> Value {
    let started = app.post("/api/v1/reports").json(body).send().await.expect_status(202).json();
    app.wait_for_job_end(started["job_id"].as_str().unwrap()).await;
    let path = format!("/api/v1/reports/{}", started["id"].as_str().unwrap());
    app.get(&path).send().await.expect_status(200).json()
}

#[tokio::test]
async fn a_lift_estimation_agrees_with_the_truth_of_the_centre() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "HYBRID").await;
    let ask = json!({"kind": "lift_estimation", "model_id": model, "agents_free": [5, 1, 3], "segment_by": "channel"});
    let report = report(app, &ask).await;
    assert_eq!(report["state"], "ready", "{report:#}");
    let content = &report["content"];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));

    // A fifth is held back by default, the latest.
    let holdout = &loaded.centre.interactions[2_400..];
    let resolved = holdout.iter().filter(|interaction| interaction.first_contact_resolution).count();
    assert_eq!((&content["rows"], &content["agents_free"]), (&json!(600), &json!(3)), "{content:#}");
    assert!((number(&content["actual"]["estimate"]) - resolved as f64 / 600.0).abs() < 1e-9);
    let points = content["curve"].as_array().unwrap();
    assert_eq!(points.iter().map(|point| number(&point["agents_free"])).collect::<Vec<_>>(), [1.0, 3.0, 5.0]);
    for point in points {
        let free = number(&point["agents_free"]) as usize;
        let choices = loaded.centre.choices(holdout, free);
        let truth = loaded.centre.compare(Outcome::FirstContactResolution, &choices, |choice| choice.free[0]).unwrap();
        for estimator in ["replay", "ips", "snips", "direct_method", "doubly_robust"] {
            let interval: Vec<f64> = point[estimator]["interval"].as_array().unwrap().iter().map(number).collect();
            assert!(interval[0] < number(&point[estimator]["estimate"]), "{point:#}");
            // Between anybody and the best that was possible, as far as 600 interactions can tell.
            assert!(interval[1] > truth.random && interval[0] < truth.best, "{estimator} {free} {truth:?} {point:#}");
        }
        let size = number(&point["effective_sample_size"]);
        assert!(size > 50.0 && size <= 600.0 && number(&point["largest_weight"]) < 1.03 * free as f64, "{point:#}");
    }
    // Any one of those who usually take such contacts: what the centre's own routing is near to.
    let random: Vec<f64> = content["random"]["interval"].as_array().unwrap().iter().map(number).collect();
    let truth =
        loaded.centre.compare(Outcome::FirstContactResolution, &loaded.centre.choices(holdout, 1), |c| c.free[0]);
    assert!((random[0]..random[1]).contains(&truth.unwrap().random), "{random:?} {truth:?}");
    assert_eq!(points[0]["doubly_robust"]["against_random"]["estimate"], 0.0);

    let segments = content["segments"]["values"].as_array().unwrap();
    let names: Vec<&str> = segments.iter().map(|segment| segment["value"].as_str().unwrap()).collect();
    assert_eq!(names, ["voice", "chat", "email"], "{segments:#?}");
    assert_eq!(segments.iter().map(|segment| number(&segment["rows"])).sum::<f64>(), 600.0);
    assert!(content["assumptions"].as_array().unwrap().len() > 4, "{content:#}");
    let warned =
        |part: &str| content["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains(part));
    assert!(
        warned("values of channel: ") && warned("email"),
        "an email in eight is too few: {:#}",
        content["warnings"]
    );
    let who = content["propensities"]["fields"].as_array().unwrap();
    assert!(who.contains(&json!("language")) && who.contains(&json!("reason")), "{who:?}");
}

#[tokio::test]
async fn a_field_that_cannot_split_is_named_with_those_that_can() {
    let loaded = centre::start().await;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "GLOBAL").await;
    for field in ["site", "start_time", "skills"] {
        let ask = json!({"kind": "lift_estimation", "model_id": model, "segment_by": field});
        let asked = loaded.app.post("/api/v1/reports").json(&ask).send().await;
        let problem = asked.expect_problem(422, "invalid_body");
        assert_eq!(problem["fields"][0]["path"], "segment_by", "{problem:#}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(field) && detail.contains("name one of reason, language, channel"), "{detail}");
    }
}
