//! Signing in, tokens, passwords.

use std::sync::Arc;

use serde_json::json;
use tango::clock::{Clock as _, ManualClock, SystemClock};

use crate::app::{Answer, Folder, PASSWORD, TestApp, USERNAME};

#[tokio::test]
async fn a_token_opens_the_door_and_me_says_who_came_in() {
    let test = TestApp::start().await;
    let me = test.get("/api/v1/auth/me").send().await.expect_status(200).json();
    assert_eq!(me["username"], USERNAME);
    assert_eq!(me["super_user"], true);
    assert!(me["account_id"].as_str().unwrap().starts_with("acc_"));
}

#[tokio::test]
async fn wrong_and_missing_tokens_are_refused_with_words() {
    let test = TestApp::start().await;
    let url = format!("{}/api/v1/auth/me", test.url);
    let missing = Answer::read(test.http.get(&url).send().await.unwrap()).await;
    let problem = missing.expect_problem(401, "unauthenticated");
    assert!(problem["request_id"].as_str().unwrap().starts_with("req_"));
    for bad in ["Bearer nonsense", "Basic dXNlcjpwYXNz", "Bearer", "Bearer a.b.c"] {
        let answer = test.http.get(&url).header("authorization", bad).send().await.unwrap();
        Answer::read(answer).await.expect_problem(401, "unauthenticated");
    }
    // Another installation's token, properly signed there.
    let other = TestApp::start().await;
    let answer = test.http.get(&url).bearer_auth(&other.token).send().await.unwrap();
    Answer::read(answer).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_expired_token_has_its_own_number() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let test = TestApp::start_at(Folder::new(), clock.clone(), |_| {}).await;
    clock.advance(chrono::Duration::seconds(43_199));
    test.get("/api/v1/auth/me").send().await.ok();
    clock.advance(chrono::Duration::seconds(1));
    let problem = test.get("/api/v1/auth/me").send().await.expect_problem(401, "token_expired");
    assert_eq!(problem["error_code"], 12);
}

#[tokio::test]
async fn sign_in_refuses_what_it_does_not_know() {
    let test = TestApp::start().await;
    let login = "/api/v1/auth/login";
    let wrong = json!({"username": USERNAME, "password": "wrong"});
    test.post(login).json(&wrong).send().await.expect_problem(401, "invalid_credentials");
    let unknown = json!({"username": "nobody@example.com", "password": "wrong"});
    test.post(login).json(&unknown).send().await.expect_problem(401, "invalid_credentials");
    let key = json!({"username": USERNAME, "password": PASSWORD, "api_key": "not ours"});
    test.post(login).json(&key).send().await.expect_problem(401, "invalid_credentials");
    let field = json!({"username": USERNAME, "password": PASSWORD, "colour": "blue"});
    let problem = test.post(login).json(&field).send().await.expect_problem(422, "unknown_field");
    assert!(problem["detail"].as_str().unwrap().contains("colour"), "{problem}");
    test.post(login).body("application/json", "{").send().await.expect_problem(400, "bad_json");
    test.post(login).body("text/plain", "{}").send().await.expect_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn an_api_key_names_the_account() {
    let test = TestApp::start().await;
    let auth = &test.app.state.auth;
    let key = auth.api_key(&auth.default_account().await.unwrap()).unwrap();
    let body = json!({"username": USERNAME, "password": PASSWORD, "api_key": key});
    let answer = test.post("/api/v1/auth/login").json(&body).send().await.expect_status(200).json();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 43_200);
}

#[tokio::test]
async fn a_changed_password_ends_every_older_token() {
    let test = TestApp::start().await;
    let change = |current: &str, new: &str| {
        test.post("/api/v1/auth/password").json(&json!({"current": current, "new": new})).send()
    };
    change("wrong", "a brand new password").await.expect_problem(401, "invalid_credentials");
    change(PASSWORD, "short").await.expect_problem(422, "bad_password");
    change(PASSWORD, PASSWORD).await.expect_problem(422, "bad_password");
    let new = change(PASSWORD, "a brand new password").await.expect_status(200).json();
    test.get("/api/v1/auth/me").send().await.expect_problem(401, "unauthenticated");
    let url = format!("{}/api/v1/auth/me", test.url);
    let me = test.http.get(url).bearer_auth(new["token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(me.status(), 200);
    let old = json!({"username": USERNAME, "password": PASSWORD});
    test.post("/api/v1/auth/login").json(&old).send().await.expect_problem(401, "invalid_credentials");
    test.sign_in(USERNAME, "a brand new password").await;
}

#[tokio::test]
async fn logging_out_ends_one_token_only_and_for_good() {
    let test = TestApp::start().await;
    let other = test.sign_in(USERNAME, PASSWORD).await;
    let ended = test.token.clone();
    test.post("/api/v1/auth/logout").send().await.expect_status(204);
    test.get("/api/v1/auth/me").send().await.expect_problem(401, "unauthenticated");
    let folder = test.stop().await;
    let test = TestApp::start_at(folder, Arc::new(SystemClock), |_| {}).await;
    let url = format!("{}/api/v1/auth/me", test.url);
    let status = async |token: &str| test.http.get(&url).bearer_auth(token).send().await.unwrap().status().as_u16();
    assert_eq!(status(&other).await, 200, "a token survives a restart");
    assert_eq!(status(&ended).await, 401, "an ended one stays ended");
}

#[tokio::test]
async fn ten_wrong_passwords_in_a_row_lock_the_name() {
    let test = TestApp::start().await;
    for name in [USERNAME, "nobody@example.com"] {
        let wrong = json!({"username": name, "password": "wrong wrong"});
        for _ in 0..10 {
            test.post("/api/v1/auth/login").json(&wrong).send().await.expect_problem(401, "invalid_credentials");
        }
        let locked = test.post("/api/v1/auth/login").json(&wrong).send().await;
        let seconds: u64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=900).contains(&seconds), "{seconds}");
        locked.expect_problem(423, "account_locked");
    }
    let right = json!({"username": USERNAME, "password": PASSWORD});
    test.post("/api/v1/auth/login").json(&right).send().await.expect_problem(423, "account_locked");
}
