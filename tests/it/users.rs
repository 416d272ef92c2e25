//! Super users manage who may sign in, by the API and on the settings page.

use reqwest::header::LOCATION;
use serde_json::json;

use crate::app::TestApp;
use crate::pages::{cookie, landed, page, post};

#[tokio::test]
async fn users_are_added_given_passwords_and_removed() {
    let test = TestApp::start().await;
    let ana = json!({"username": "Ana@example.com", "password": "a first password"});
    let added = test.post("/api/v1/users").json(&ana).send().await.expect_status(201).json();
    assert_eq!((added["username"].as_str(), added["super_user"].as_bool()), (Some("Ana@example.com"), Some(false)));
    let id = added["id"].as_str().unwrap();
    let again = json!({"username": "ana@EXAMPLE.com", "password": "a first password"});
    let taken = test.post("/api/v1/users").json(&again).send().await.expect_problem(409, "user_exists");
    assert_eq!(taken["fields"][0]["path"], "username");
    let short = json!({"username": "bo", "password": "x"});
    let refused = test.post("/api/v1/users").json(&short).send().await.expect_problem(422, "bad_password");
    assert_eq!(refused["fields"][0]["path"], "password");
    let listed = test.get("/api/v1/users?sort=-created_at").send().await.ok().json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(listed["items"][0]["username"] == "Ana@example.com" && !listed.to_string().contains("argon"), "{listed}");

    let login = async |password: &str| {
        let body = json!({"username": "ana@example.com", "password": password});
        test.post("/api/v1/auth/login").json(&body).send().await
    };
    let token = login("a first password").await.expect_status(200).json()["token"].as_str().unwrap().to_owned();
    let as_ana = async |path: &str| {
        crate::app::Answer::read(test.http.get(format!("{}{path}", test.url)).bearer_auth(&token).send().await.unwrap())
            .await
    };
    as_ana("/api/v1/auth/me").await.expect_status(200);
    as_ana("/api/v1/users").await.expect_problem(403, "forbidden");
    let path = format!("/api/v1/users/{id}");
    let new = json!({"new": "a second password"});
    test.put(&format!("{path}/password")).json(&new).send().await.expect_status(200);
    as_ana("/api/v1/auth/me").await.expect_status(401);
    login("a first password").await.expect_problem(401, "invalid_credentials");
    login("a second password").await.expect_status(200);

    let me = test.get("/api/v1/auth/me").send().await.ok().json();
    let own = format!("/api/v1/users/{}", me["user_id"].as_str().unwrap());
    test.delete(&own).send().await.expect_problem(409, "own_user");
    test.delete(&path).send().await.expect_status(204);
    test.delete(&path).send().await.expect_problem(404, "user_not_found");
    login("a second password").await.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn the_settings_page_manages_users_for_super_users_only() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let form = [("username", "bo<b>"), ("new_password", "short")];
    let refused = post(&test, "/settings/users", &cookie, Some(&test.url), &form).await.expect_status(422);
    assert!(
        refused.text.contains("role=\"alert\"") && refused.text.contains("value=\"bo&lt;b&gt;\""),
        "{}",
        refused.text
    );
    assert!(!refused.text.contains("\"short\""), "a password is not written into a page");
    let form = [("username", "bo"), ("new_password", "long enough a password")];
    let added = post(&test, "/settings/users", &cookie, Some(&test.url), &form).await;
    assert!(landed(&test, &added, &cookie).await.text.contains("bo can sign in now."));
    let users = test.get("/api/v1/users").send().await.ok().json();
    let id = users["items"].as_array().unwrap().iter().find(|it| it["username"] == "bo").unwrap()["id"].clone();
    let path = format!("/settings/users/{}", id.as_str().unwrap());

    let form = [("username", "bo"), ("password", "long enough a password")];
    let signed_in = test.http.post(format!("{}/login", test.url)).form(&form).send().await.unwrap();
    let bo = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let seen = page(&test, "/settings", &bo).await.expect_status(200);
    assert!(!seen.text.contains("Add a user"), "{}", seen.text);
    let sent = post(&test, &format!("{path}/remove"), &bo, Some(&test.url), &[]).await;
    assert!(landed(&test, &sent, &bo).await.text.contains("Only a super user may do this."));

    let form = [("new_password", "another long password")];
    let set = post(&test, &format!("{path}/password"), &cookie, Some(&test.url), &form).await;
    assert_eq!(set.headers[LOCATION], "/settings#users-title");
    assert_eq!(page(&test, "/home", &bo).await.status, 303, "earlier sessions have ended");
    let removed = post(&test, &format!("{path}/remove"), &cookie, Some(&test.url), &[]).await;
    let told = landed(&test, &removed, &cookie).await.text;
    assert!(told.contains("The user is removed") && !told.contains(&path), "{told}");
}
