//! The pages that a browser shows: sign-in, home, and the forms that work without a script.

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::json;
use tango::http::session::COOKIE as COOKIE_NAME;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::{Answer, PASSWORD, TestApp, USERNAME};
use crate::centre;

/// Signs in by the form, as a browser does; the cookie.
pub async fn cookie(test: &TestApp) -> String {
    let form = [("username", USERNAME), ("password", PASSWORD)];
    let answer = test.http.post(format!("{}/login", test.url)).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    assert_eq!(answer.headers()[LOCATION], "/home");
    let set = answer.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

pub async fn page(test: &TestApp, path: &str, cookie: &str) -> Answer {
    Answer::read(test.http.get(format!("{}{path}", test.url)).header(COOKIE, cookie).send().await.unwrap()).await
}

pub async fn post(test: &TestApp, path: &str, cookie: &str, origin: Option<&str>, form: &[(&str, &str)]) -> Answer {
    let mut request = test.http.post(format!("{}{path}", test.url)).header(COOKIE, cookie).form(form);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn the_sign_in_page_is_200_for_whoever_asks_however() {
    let test = TestApp::start_with(|config| {
        config.login_messages = "Gr&uuml;&szlig;e &lt;b&gt; <script>alert(1)</script>".to_owned();
    })
    .await;
    let login = format!("{}/login", test.url);
    let answer = Answer::read(test.http.get(&login).send().await.unwrap()).await.expect_status(200);
    assert!(answer.text.contains("Grüße"), "entities are decoded: {}", answer.text);
    assert!(!answer.text.contains("<script>alert") && !answer.text.contains("<b>"), "markup is not executed");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(test.http.head(&login).send().await.unwrap().status(), 200);
    let signed_in = cookie(&test).await;
    page(&test, "/login", &signed_in).await.expect_status(200);
    page(&test, "/login", &format!("{COOKIE_NAME}=nonsense")).await.expect_status(200);
    let strange = test.http.get(&login).header("host", "elsewhere.example:1").send().await.unwrap();
    assert_eq!(strange.status(), 200);

    // An old load balancer: HTTP/1.0, no Host.
    let mut stream = tokio::net::TcpStream::connect(test.app.address).await.unwrap();
    stream.write_all(b"GET /login HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.0 200"), "{}", text.lines().next().unwrap_or_default());
}

#[tokio::test]
async fn while_draining_the_probes_say_so_and_everything_else_works() {
    let test = TestApp::start().await;
    let ready = test.get("/readyz").send().await.expect_status(200).json();
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["checks"]["document_store"], "ok");
    test.app.state.lifecycle.start_draining();
    test.get("/login").send().await.expect_status(503);
    assert_eq!(test.get("/readyz").send().await.expect_status(503).json()["status"], "draining");
    test.get("/livez").send().await.expect_status(200);
    test.get("/api/v1/auth/me").send().await.expect_status(200);
}

#[tokio::test]
async fn a_wrong_password_shows_the_form_again() {
    let test = TestApp::start().await;
    let form = [("username", "<ana>"), ("password", "wrong")];
    let answer = Answer::read(test.http.post(format!("{}/login", test.url)).form(&form).send().await.unwrap()).await;
    let answer = answer.expect_status(401);
    assert!(answer.text.contains("The username or the password is wrong."), "{}", answer.text);
    let password = answer.text.lines().find(|line| line.contains("id=\"password\"")).unwrap();
    assert!(password.contains(" autofocus"), "the next thing to type: {password}");
    assert!(!answer.text.contains("<ana>"), "what was typed is escaped");
}

#[tokio::test]
async fn the_home_page_needs_a_session_and_ends_with_it() {
    let test = TestApp::start().await;
    for (path, to) in [("/", "/home"), ("/home", "/login")] {
        let answer = test.http.get(format!("{}{path}", test.url)).send().await.unwrap();
        assert!(answer.status().is_redirection());
        assert_eq!(answer.headers()[LOCATION], to);
    }
    let asked = test.http.get(format!("{}/jobs?state=dead", test.url)).send().await.unwrap();
    assert_eq!(asked.headers()[LOCATION], "/login?next=%2Fjobs%3Fstate%3Ddead");
    let cookie = cookie(&test).await;
    let home = page(&test, "/home", &cookie).await.expect_status(200);
    for words in [USERNAME, "Datasets", "All predictors", "Jobs", "/assets/live.js"] {
        assert!(home.text.contains(words), "{words}");
    }
    let out = post(&test, "/logout", &cookie, Some(&test.url), &[]).await;
    assert_eq!(out.headers[LOCATION], "/login");
    let home = page(&test, "/home", &cookie).await;
    assert_eq!(home.headers[LOCATION], "/login", "the cookie's token has ended, not only the cookie");
}

#[tokio::test]
async fn a_cookie_writes_only_from_our_own_pages() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let write = async |origin: Option<&str>, site: Option<&str>| {
        let mut request = test.http.post(format!("{}/api/v1/auth/logout", test.url)).header(COOKIE, &cookie);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        Answer::read(request.send().await.unwrap()).await
    };
    write(None, None).await.expect_problem(403, "forbidden");
    write(Some("https://evil.example"), None).await.expect_problem(403, "forbidden");
    write(Some(&test.url), Some("cross-site")).await.expect_problem(403, "forbidden");
    write(Some(&test.url), Some("same-site")).await.expect_problem(403, "forbidden");
    let read = test.http.get(format!("{}/api/v1/auth/me", test.url)).header(COOKIE, &cookie);
    assert_eq!(read.send().await.unwrap().status(), 200, "reading is fine");
    write(Some(&test.url), Some("same-origin")).await.expect_status(204);
}

/// What the page says after it was sent to by a form: in a cookie that is read once.
pub async fn landed(test: &TestApp, sent: &Answer, cookie: &str) -> Answer {
    assert_eq!(sent.status, 303, "{}", sent.text);
    let said = sent.headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let to = sent.headers[LOCATION].to_str().unwrap();
    let answer = page(test, to, &format!("{cookie}; {said}")).await.expect_status(200);
    assert!(answer.headers[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"), "it is not said twice");
    answer
}

#[tokio::test]
async fn a_small_csv_goes_in_without_a_script() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let mut csv = String::from("started,agent_id,reason,resolved\r\n");
    for row in 0..40 {
        csv += &format!("2026-01-01T10:00:{row:02}Z,a{},billing,{}\r\n", row % 3, row % 2 == 0);
    }
    let form = [("target", "dataset"), ("name", "pasted rows"), ("accept", "on"), ("csv", csv.as_str())];
    post(&test, "/upload/text", &cookie, Some("https://evil.example"), &form).await.expect_status(403);
    let answer = post(&test, "/upload/text", &cookie, Some(&test.url), &form).await;
    assert!(landed(&test, &answer, &cookie).await.text.contains("in the queue"));
    let jobs = test.get("/api/v1/jobs?sort=-created_at&topic=dataset_upload").send().await.ok().json();
    test.wait_for_job(jobs["items"][0]["id"].as_str().unwrap()).await;
    let datasets = test.get("/api/v1/datasets").send().await.ok().json();
    assert_eq!(datasets["items"][0]["rows"], 40, "{datasets}");
    let shown = page(&test, answer.headers[LOCATION].to_str().unwrap(), &cookie).await.expect_status(200);
    assert!(shown.text.contains("pasted rows") && !shown.text.contains("in the queue"), "{}", shown.text);

    let empty = post(&test, "/upload/text", &cookie, Some(&test.url), &[("target", "agents"), ("csv", "")]).await;
    assert!(empty.expect_status(422).text.contains("The file is empty"));
}

#[tokio::test]
async fn assets_are_embedded_and_sent_once() {
    let test = TestApp::start().await;
    let style = test.get("/assets/style.css").send().await.expect_status(200);
    assert_eq!(style.headers["content-type"], "text/css");
    let etag = style.headers["etag"].to_str().unwrap();
    test.get("/assets/style.css").header("if-none-match", etag).send().await.expect_status(304);
    test.get("/assets/../Cargo.toml").send().await.expect_status(404);
    test.get("/assets/missing.js").send().await.expect_problem(404, "file_not_found");
    let docs = test.get("/docs/").send().await.expect_status(200);
    assert!(docs.text.contains("swagger-ui"), "{}", docs.text);
}

#[tokio::test]
async fn an_unknown_address_is_a_page_for_a_person_and_a_problem_for_a_program() {
    let test = TestApp::start().await;
    let signed_in = cookie(&test).await;
    for (cookie, navigation) in [("", false), (signed_in.as_str(), true)] {
        let look = |path: &str| {
            let asked = test.http.get(format!("{}{path}", test.url)).header("accept", "text/html,*/*;q=0.8");
            asked.header(COOKIE, cookie).send()
        };
        let answer = Answer::read(look("/nonsense").await.unwrap()).await.expect_status(404);
        assert!(answer.text.contains("<h1>") && answer.text.contains("/nonsense"), "{}", answer.text);
        assert_eq!(answer.text.contains("href=\"/datasets\""), navigation, "{}", answer.text);
        assert!(answer.headers.contains_key("content-security-policy"));
        // The address of a form belongs to the page that has it.
        let form = Answer::read(look("/upload/text").await.unwrap()).await.expect_status(303);
        assert_eq!(form.headers[LOCATION], "/upload");
    }
    let asked = test.http.get(format!("{}/api/v1/nonsense", test.url)).header("accept", "text/html");
    Answer::read(asked.send().await.unwrap()).await.expect_problem(404, "not_found");
    test.get("/nonsense").send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_schema_is_edited_and_accepted_and_a_dataset_can_be_deleted() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let csv = "started,agent_id,<reason>\n2026-01-01T10:00:00Z,a1,\"<b>\"\n2026-01-01T10:00:01Z,a2,billing\n";
    let options = json!({"name": "two calls", "filename": "two.csv", "accept_schema": false});
    let made = test.upload("dataset", csv.as_bytes(), options).await;
    let id = made["dataset_id"].as_str().unwrap();

    let home = page(&test, "/home", &cookie).await.expect_status(200);
    assert!(home.text.contains("Reading two.csv"), "a job says what it reads: {}", home.text);
    let dataset = format!("/datasets/{id}");
    assert!(home.text.contains(&dataset));
    let path = format!("{dataset}/schema");
    let schema = page(&test, &path, &cookie).await.expect_status(200);
    for words in ["two calls", "started", "when it happened", "billing", "Accept and store the rows"] {
        assert!(schema.text.contains(words), "{words}: {}", schema.text);
    }
    assert!(!schema.text.contains("<b>") && !schema.text.contains("<reason>"), "names and values are escaped");
    let twice = [
        ("name.0", "started"),
        ("type.0", "Timestamp"),
        ("role.0", "timestamp"),
        ("visible.0", "on"),
        ("name.1", "agent_id"),
        ("type.1", "String"),
        ("role.1", "agent_id"),
        ("name.2", "<reason>"),
        ("type.2", "String"),
        ("role.2", "agent_id"),
    ];
    let refused = post(&test, &path, &cookie, Some(&test.url), &twice).await.expect_status(422);
    assert!(refused.text.contains("class=\"error\"") && refused.text.contains("role=\"alert\""), "{}", refused.text);
    let mut form = twice.to_vec();
    form[9] = ("role.2", "context");
    form.push(("accept", "yes"));
    let accepted = post(&test, &path, &cookie, Some(&test.url), &form).await;
    assert_eq!(accepted.headers[LOCATION], dataset.as_str());
    assert!(landed(&test, &accepted, &cookie).await.text.contains("The schema is accepted"));
    let missing = page(&test, "/datasets/ds_00000000000000000000000000/schema", &cookie).await.expect_status(404);
    assert!(missing.text.contains("<h1>") && missing.text.contains("deleted by somebody else"), "{}", missing.text);

    let delete = format!("{dataset}/delete");
    post(&test, &delete, &cookie, Some("https://evil.example"), &[]).await.expect_status(403);
    let deleted = post(&test, &delete, &cookie, Some(&test.url), &[]).await;
    assert_eq!(deleted.headers[LOCATION], "/datasets");
    let list = landed(&test, &deleted, &cookie).await;
    assert!(list.text.contains("two calls is deleted.") && !list.text.contains(&dataset), "{}", list.text);
}

#[tokio::test]
async fn refused_rows_are_told_and_pasted_text_is_kept() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let mut csv = String::from("call,agent_id\n");
    for row in 0..95 {
        csv += &format!("c{row},a{}\n", row % 3);
    }
    for row in 0..5 {
        csv += &format!("c{row},a1,one value too many\n");
    }
    let form = [("target", "dataset"), ("name", "some bad"), ("accept", "on"), ("csv", csv.as_str())];
    post(&test, "/upload/text", &cookie, Some(&test.url), &form).await;
    let jobs = test.get("/api/v1/jobs?sort=-created_at&topic=dataset_upload").send().await.ok().json();
    test.wait_for_job(jobs["items"][0]["id"].as_str().unwrap()).await;
    let dataset = test.get("/api/v1/datasets").send().await.ok().json()["items"][0]["id"].clone();
    let path = format!("/datasets/{}", dataset.as_str().unwrap());
    let shown = page(&test, &path, &cookie).await.expect_status(200);
    assert!(shown.text.contains("5 rows of the last upload were refused"), "{}", shown.text);
    let rejected = page(&test, &format!("{path}/rejected"), &cookie).await.expect_status(200);
    assert!(rejected.text.contains("the row has 3 values"), "{}", rejected.text);

    let form = [("target", "agents"), ("name", "staff"), ("id_field", "id"), ("csv", "id,skill\n1,2\n")];
    let refused = post(&test, "/upload/text", &cookie, Some(&test.url), &form).await.expect_status(422);
    assert!(refused.text.contains("cannot be a column named ID"), "{}", refused.text);
    for kept in ["id,skill", "value=\"staff\"", "value=\"agents\" selected"] {
        assert!(refused.text.contains(kept), "{kept}: {}", refused.text);
    }
}

#[tokio::test]
async fn upkeep_is_left_out_of_the_home_page_and_listed_among_jobs() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let form = [("target", "agents"), ("name", "staff"), ("csv", "agent_id,skill\na1,English\n")];
    post(&test, "/upload/text", &cookie, Some(&test.url), &form).await;
    let upload = test.get("/api/v1/jobs?topic=dataset_upload").send().await.ok().json();
    test.wait_for_job(upload["items"][0]["id"].as_str().unwrap()).await;
    let home = page(&test, "/home", &cookie).await.expect_status(200);
    assert!(home.text.contains("Reading staff.csv") && !home.text.contains("Counting agents"), "{}", home.text);
    let all = page(&test, "/jobs", &cookie).await.expect_status(200);
    assert!(all.text.contains("Reading staff.csv") && all.text.contains("Counting agents"), "{}", all.text);
}

#[tokio::test]
async fn a_trained_model_has_its_quality_and_its_card_as_pages() {
    let loaded = centre::start().await;
    let test = &loaded.app;
    let signed_in = cookie(test).await;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "HYBRID").await;
    let path = format!("/models/{model}");
    let unseen = Answer::read(test.http.get(format!("{}{path}", test.url)).send().await.unwrap()).await;
    assert_eq!(unseen.status, 303);
    assert!(unseen.headers[LOCATION].to_str().unwrap().starts_with("/login?next="), "and comes back after signing in");
    page(test, &path, &signed_in).await.expect_status(200);
    page(test, &format!("{path}/card"), &signed_in).await.expect_status(409);
    loaded.train(&model).await;
    let quality = page(test, &path, &signed_in).await.expect_status(200).text;
    for expected in ["Calibration error", "Average precision", "ROC", "Figures as a table", "By context value"] {
        assert!(quality.contains(expected), "{expected} is missing: {quality}");
    }
    assert!(quality.matches("<polyline").count() >= 4 && !quality.contains("NaN"), "{quality}");
    assert!(!quality.contains("style=") && !quality.contains("onclick"), "shown under the page's own policy");
    let card = page(test, &format!("{path}/card"), &signed_in).await.expect_status(200).text;
    for expected in ["first_contact_resolution", "SHA-256", "wait_seconds"] {
        assert!(card.contains(expected), "{expected} is missing: {card}");
    }
    for path in ["/agents", "/customers", "/predictors", "/reports", "/playground", "/settings", "/predictors/new"] {
        page(test, path, &signed_in).await.expect_status(200);
    }
}

#[tokio::test]
async fn a_form_of_an_ended_session_is_shown_again_with_everything_that_was_typed() {
    let test = TestApp::start().await;
    let form = [("name", "typed <by hand>"), ("current_password", "secret")];
    let answer = post(&test, "/predictors", "tango_session=ended", Some(&test.url), &form).await.expect_status(401);
    assert!(
        answer.text.contains("typed &lt;by hand&gt;") && answer.text.contains("action=\"/predictors\""),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains("secret"), "a password is not kept in a page");
}

#[tokio::test]
async fn language_and_theme_are_chosen_by_cookie() {
    let test = TestApp::start().await;
    let set = post(&test, "/preferences", "", Some(&test.url), &[("language", "de"), ("theme", "dark")]).await;
    assert_eq!((set.status.as_u16(), set.headers.get_all(SET_COOKIE).iter().count()), (303, 2));
    let login = page(&test, "/login", "tango_language=de; tango_theme=dark").await.expect_status(200);
    assert!(
        login.text.contains("lang=\"de\" data-theme=\"dark\"") && login.text.contains("Anmelden"),
        "{}",
        login.text
    );
}
