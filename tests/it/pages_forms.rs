//! Forms of pages: what was refused is shown again with what was typed, and whatever loses something asks first.

use reqwest::header::LOCATION;
use serde_json::json;

use crate::centre;
use crate::pages::{cookie, page, post};

#[tokio::test]
async fn a_refused_form_keeps_what_was_typed_beside_why() {
    let loaded = centre::start().await;
    let test = &loaded.app;
    let cookie = cookie(test).await;
    let (predictor, model) = loaded.activate("DISJOINT").await;
    let path = format!("/predictors/{predictor}");
    let refused = [
        (format!("{path}/retraining"), vec![("every_hours", "9999999"), ("model_id", &model), ("activate", "never")]),
        (format!("{path}/retraining"), vec![("every_hours", "weekly"), ("model_id", &model), ("activate", "never")]),
        (format!("{path}/rotation"), vec![("by", "periods"), ("lengths", "90 d, 1 s")]),
        (format!("{path}/production"), vec![("name", "what became of it"), ("refresh_minutes", "9999999")]),
        (format!("{path}/production"), vec![("name", "what became of it"), ("refresh_minutes", "seldom")]),
        (format!("/models/{model}/activate"), vec![("share", "140")]),
    ];
    for (address, form) in refused {
        let shown = post(test, &address, &cookie, Some(&test.url), &form).await;
        assert!(shown.status.is_client_error(), "{address}: {}", shown.status);
        assert!(shown.text.contains("class=\"error\" role=\"alert\""), "{address}: {}", shown.text);
        for (name, typed) in form.iter().filter(|(name, _)| !["by", "activate", "model_id"].contains(name)) {
            assert!(shown.text.contains(&format!("value=\"{typed}\"")), "{name} of {address}: {}", shown.text);
        }
        let chosen = |value: &str, how: &str| shown.text.contains(&format!("value=\"{value}\" {how}"));
        assert!(
            !address.ends_with("retraining") || chosen("never", "selected") && chosen(&model, "selected"),
            "{address}"
        );
        assert!(!address.ends_with("rotation") || chosen("periods", "checked"), "{address}");
    }
}

#[tokio::test]
async fn a_refused_password_of_somebody_else_is_told_beside_its_field() {
    let test = crate::app::TestApp::start().await;
    let cookie = cookie(&test).await;
    let body = json!({"username": "ana@example.com", "password": "long enough for ana"});
    let user = test.post("/api/v1/users").json(&body).send().await.ok().json()["id"].clone();
    let user = user.as_str().unwrap();
    let path = format!("/settings/users/{user}/password");
    let shown = post(&test, &path, &cookie, Some(&test.url), &[("new_password", "t1ny")]).await.expect_status(422).text;
    assert!(shown.contains(&format!("id=\"password-{user}\" open")), "{shown}");
    assert!(shown.contains(&format!("role=\"alert\" id=\"refused-{user}\"")) && !shown.contains("t1ny"), "{shown}");
}

#[tokio::test]
async fn whatever_loses_something_asks_first_and_names_it() {
    let loaded = centre::start().await;
    let test = &loaded.app;
    let cookie = cookie(test).await;
    let (predictor, model) = loaded.activate("DISJOINT").await;
    let name = test.get(&format!("/api/v1/predictors/{predictor}")).send().await.ok().json()["name"].clone();
    let name = name.as_str().unwrap();

    let path = format!("/models/{model}/deactivate");
    let form = [("from", "predictor")];
    let asked = post(test, &path, &cookie, Some(&test.url), &form).await.expect_status(200).text;
    assert!(asked.contains(&format!("No other model of {name} is live")), "{asked}");
    assert!(asked.contains("name=\"from\" value=\"predictor\"") && asked.contains("name=\"sure\""), "{asked}");
    let active = async || test.get(&format!("/api/v1/models/{model}")).send().await.ok().json()["active"].clone();
    assert_eq!(active().await, json!(true), "nothing was done yet");
    let sure = [("from", "predictor"), ("sure", "yes")];
    let done = post(test, &path, &cookie, Some(&test.url), &sure).await.expect_status(303);
    assert_eq!(done.headers[LOCATION], format!("/predictors/{predictor}").as_str());
    assert_eq!(active().await, json!(false));

    let path = format!("/predictors/{predictor}/retraining");
    let form = [("every_hours", "24"), ("model_id", model.as_str()), ("activate", "never")];
    post(test, &path, &cookie, Some(&test.url), &form).await.expect_status(303);
    let asked = post(test, &path, &cookie, Some(&test.url), &[("remove", "yes")]).await.expect_status(200).text;
    assert!(asked.contains("The schedule, every 24 hours, is lost."), "{asked}");
    test.get(&format!("/api/v1{path}")).send().await.expect_status(200);
    post(test, &path, &cookie, Some(&test.url), &[("remove", "yes"), ("sure", "yes")]).await.expect_status(303);
    test.get(&format!("/api/v1{path}")).send().await.expect_status(404);

    let dataset = test.get("/api/v1/datasets").send().await.ok().json()["items"][0].clone();
    let (id, rows) = (dataset["id"].as_str().unwrap(), dataset["rows"].as_u64().unwrap());
    let range = json!({"from": "2000-01-01", "to": "2100-01-01"});
    let deleted = test.post(&format!("/api/v1/datasets/{id}/delete_range")).json(&range).send().await.ok().json();
    test.wait_for_job(deleted["job_id"].as_str().unwrap()).await;
    let path = format!("/datasets/{id}/revert");
    let version = dataset["version"].to_string();
    let form = [("version", version.as_str())];
    let asked = post(test, &path, &cookie, Some(&test.url), &form).await.expect_status(200).text;
    let grouped = tango::http::pages::figures::grouped(rows);
    assert!(asked.contains(&format!("version {version} ({grouped} rows)")), "{asked}");
    let left = test.get(&format!("/api/v1/datasets/{id}")).send().await.ok().json()["rows"].as_u64().unwrap();
    assert!(left < rows, "nothing was brought back yet");
    post(test, &path, &cookie, Some(&test.url), &[("version", &version), ("sure", "yes")]).await.expect_status(303);

    let job = test.get("/api/v1/jobs?limit=1").send().await.ok().json()["items"][0]["id"].clone();
    let path = format!("/jobs/{}/cancel", job.as_str().unwrap());
    let asked = post(test, &path, &cookie, Some(&test.url), &[]).await.expect_status(200).text;
    assert!(asked.contains("What it has done so far is lost") && asked.contains("Yes, cancel it"), "{asked}");
}

#[tokio::test]
async fn a_predictors_models_are_paged_and_ordered_like_other_lists() {
    let loaded = centre::start().await;
    let test = &loaded.app;
    let cookie = cookie(test).await;
    let predictor = loaded.create_predictor().await;
    for number in 0..60 {
        let body = json!({"name": format!("model {number:02}"), "type": "GLOBAL"});
        test.post(&format!("/api/v1/predictors/{predictor}/models")).json(&body).send().await.ok();
    }
    let path = format!("/predictors/{predictor}");
    let first = page(test, &format!("{path}?sort=name"), &cookie).await.expect_status(200).text;
    let listed = |text: &str, name: &str| {
        text.contains(&format!("aria-label=\"{name}\"")) || text.contains(&format!(">{name}</a>"))
    };
    assert!(listed(&first, "model 01") && first.contains("aria-sort=\"ascending\""), "{first}");
    assert!(first.contains("61 models will be gone"), "all are counted: {first}");
    let next = first.split("rel=\"next\"").next().and_then(|text| text.rsplit_once("href=\"")).unwrap().1;
    let next = next.trim_end_matches([' ', '"']).replace("&amp;", "&");
    assert!(next.starts_with(&path) && next.contains("sort=name"), "{next}");
    let second = page(test, &next, &cookie).await.expect_status(200).text;
    let table = |text: &str| text[text.find("id=\"models\"").unwrap()..text.find("id=\"turns\"").unwrap()].to_owned();
    assert!(table(&second).contains("model 59") && !table(&second).contains("model 01"), "{second}");
    assert!(!table(&first).contains("model 59"), "{first}");
}
