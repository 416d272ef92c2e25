//! Pages by which models go live, take turns, and are gone back to.

use serde_json::json;

use crate::centre;
use crate::pages::{cookie, landed, page, post};

#[tokio::test]
async fn models_take_turns_by_a_form_and_one_click_goes_back_to_the_one_before() {
    let loaded = centre::start().await;
    let test = &loaded.app;
    let cookie = cookie(test).await;
    let (predictor, first) = loaded.activate("DISJOINT").await;
    let path = format!("/predictors/{predictor}");
    let shown = page(test, &path, &cookie).await.expect_status(200).text;
    assert!(shown.contains("answers all scores."), "{shown}");
    assert!(!shown.contains("Back to "), "nobody was live before");

    let rotate = format!("{path}/rotation");
    let form = [("by", "periods"), ("lengths", "30 min, soon")];
    let told = post(test, &rotate, &cookie, Some(&test.url), &form).await.expect_status(422).text;
    assert!(told.contains("“soon” is no length of a period"), "{told}");
    assert!(told.contains("value=\"30 min, soon\"") && told.contains("value=\"periods\" checked"), "{told}");
    let form = [("by", "periods"), ("lengths", "30 min, 1 h")];
    let changed = post(test, &rotate, &cookie, Some(&test.url), &form).await;
    let told = landed(test, &changed, &cookie).await.text;
    assert!(told.contains("off 1 h.") && told.contains("value=\"30 min, 1 h\""), "{told}");
    assert!(told.contains("svg class=\"chart turns\"") && !told.contains("style="), "{told}");
    let stored = test.get(&format!("/api/v1/predictors/{predictor}")).send().await.ok().json();
    assert_eq!(stored["rotation"], json!({"by": "periods", "seconds": [1800, 3600]}));
    assert!(stored["features"]["context"].as_array().is_some_and(|all| !all.is_empty()), "the rest stays: {stored}");

    let second = loaded.create_model(&predictor, "DISJOINT").await;
    loaded.train(&second).await;
    let form = [("from", "predictor")];
    let gone = post(test, &format!("/models/{second}/activate"), &cookie, Some(&test.url), &form).await;
    let told = landed(test, &gone, &cookie).await.text;
    let back = format!("action=\"/models/{first}/activate\"");
    assert!(told.contains("Back to ") && told.contains(&back), "{told}");
    post(test, &rotate, &cookie, Some(&test.url), &[("by", "share")]).await;
    let again = post(test, &format!("/models/{first}/activate"), &cookie, Some(&test.url), &form).await;
    assert!(landed(test, &again, &cookie).await.text.contains(&format!("action=\"/models/{second}/activate\"")));
}
