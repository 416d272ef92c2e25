//! Forms that two people, or a person and a connector, have open at the same time; what is asked before something goes;
//! and what a person types into forms.

use reqwest::header::{LOCATION, SET_COOKIE};
use serde_json::{Value, json};

use crate::app::{Answer, PASSWORD, TestApp, USERNAME};
use crate::centre;
use crate::pages::{cookie, landed, page, post};

async fn agent(test: &TestApp, id: &str) -> Value {
    test.get(&format!("/api/v1/agents/records/{id}")).send().await.expect_status(200).json()
}

async fn with_agents(records: Value) -> (TestApp, String) {
    let test = TestApp::start().await;
    test.post("/api/v1/agents/records").json(&json!({"records": records})).send().await.expect_status(200);
    let signed_in = cookie(&test).await;
    (test, signed_in)
}

#[tokio::test]
async fn a_record_is_changed_without_taking_back_what_was_posted_meanwhile() {
    let agents = json!([{"id": "a1", "loginStatus": 4, "skills": {"English": 5}, "site": "Dublin"}]);
    let (test, cookie) = with_agents(agents).await;
    let path = "/agents/records/a1";
    let shown = page(&test, path, &cookie).await.expect_status(200).text;
    for was in ["name=\"was.loginStatus\" value=\"4\"", "name=\"was.skills\" value=\"English = 5\""] {
        assert!(shown.contains(was), "{was}: {shown}");
    }
    let form = [
        ("was.loginStatus", "4"),
        ("field.loginStatus", "4"),
        ("was.skills", "English = 5"),
        ("field.skills", "English = 5\r\n"),
        ("was.site", "Dublin"),
        ("field.site", "Cork"),
    ];
    // The connector is faster.
    let posted = json!({"loginStatus": 0, "skills": {"English": 5, "billing": 3}});
    test.patch("/api/v1/agents/records/a1").json(&posted).send().await.expect_status(200);
    let stored = post(&test, path, &cookie, Some(&test.url), &form).await;
    assert!(landed(&test, &stored, &cookie).await.text.contains("The record is stored"));
    let now = agent(&test, "a1").await;
    assert_eq!((&now["loginStatus"], &now["site"]), (&json!(0), &json!("Cork")), "{now}");
    assert_eq!(now["skills"]["billing"], json!(3), "{now}");

    // Two who change the same field: the second is told, and can insist.
    let form = [("was.site", "Dublin"), ("field.site", "Galway")];
    let clash = post(&test, path, &cookie, Some(&test.url), &form).await.expect_status(422).text;
    assert!(clash.contains("Somebody else changed site meanwhile") && clash.contains("value=\"Galway\""), "{clash}");
    assert!(clash.contains("name=\"was.site\" value=\"Cork\""), "{clash}");
    assert_eq!(agent(&test, "a1").await["site"], "Cork");
    let insists = [("was.site", "Cork"), ("field.site", "Galway")];
    post(&test, path, &cookie, Some(&test.url), &insists).await.expect_status(303);
    assert_eq!(agent(&test, "a1").await["site"], "Galway");
}

#[tokio::test]
async fn a_new_record_does_not_replace_one_that_is_there() {
    let (test, cookie) = with_agents(json!([{"id": "a1", "skills": {"English": 5}}])).await;
    let form = [("id", "a1"), ("field.loginStatus", "4")];
    let refused = post(&test, "/agents/records", &cookie, Some(&test.url), &form).await.expect_status(422);
    assert!(refused.text.contains("There is a record a1 already"), "{}", refused.text);
    assert!(refused.text.contains("name=\"field.loginStatus\""), "{}", refused.text);
    assert_eq!(agent(&test, "a1").await["skills"]["English"], json!(5));
    let form = [("id", "a2"), ("field.loginStatus", "4")];
    post(&test, "/agents/records", &cookie, Some(&test.url), &form).await.expect_status(303);
    assert_eq!(agent(&test, "a2").await["loginStatus"], json!(4));
}

#[tokio::test]
async fn a_profiles_schema_keeps_what_others_added_and_asks_before_a_field_goes() {
    let (test, cookie) = with_agents(json!([{"id": "a1", "site": "Dublin", "level": 3}])).await;
    let path = "/agents/schema";
    // A form that was opened before `tenure` came.
    let form = |site: &'static str| {
        vec![
            ("name.0", "loginStatus"),
            ("was.0", "Integer||visible|"),
            ("type.0", "Integer"),
            ("visible.0", "on"),
            ("name.3", "site"),
            ("was.3", "String||visible|"),
            ("type.3", "String"),
            ("visible.3", site),
        ]
    };
    let more = json!({"records": [{"id": "a2", "tenure": 7}]});
    test.post("/api/v1/agents/records").json(&more).send().await.expect_status(200);
    post(&test, path, &cookie, Some(&test.url), &form("on")).await.expect_status(303);
    let names = async || {
        let schema = test.get("/api/v1/agents/schema").send().await.expect_status(200).json();
        let fields = schema["fields"].as_array().unwrap().iter();
        fields.map(|field| field["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(names().await.contains(&"tenure".to_owned()), "{:?}", names().await);

    let mut drop = form("on");
    drop.push(("drop.3", "on"));
    let asked = post(&test, path, &cookie, Some(&test.url), &drop).await.expect_status(200).text;
    assert!(asked.contains("site goes with its values in 2 records"), "{asked}");
    assert!(asked.contains("name=\"sure\"") && asked.contains("name=\"drop.3\""), "{asked}");
    assert!(names().await.contains(&"site".to_owned()));
    drop.push(("sure", "yes"));
    post(&test, path, &cookie, Some(&test.url), &drop).await.expect_status(303);
    assert!(!names().await.contains(&"site".to_owned()));

    let stale = json!({"fields": [], "version": 1});
    test.put("/api/v1/agents/schema").json(&stale).send().await.expect_problem(409, "schema_changed");
}

#[tokio::test]
async fn a_datasets_schema_is_not_changed_back_by_an_older_form() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let csv = "started,agent_id,reason,ok\n2026-01-01T10:00:00Z,a1,x,true\n2026-01-02T10:00:01Z,a2,y,false\n";
    let made = test.upload("dataset", csv.as_bytes(), json!({"name": "two", "accept_schema": true})).await;
    let path = format!("/datasets/{}/schema", made["dataset_id"].as_str().unwrap());
    let schema = test.get(&format!("/api/v1{path}")).send().await.expect_status(200).json();
    let was =
        |field: &Value| format!("{}|{}|visible|", field["type"].as_str().unwrap(), field["role"].as_str().unwrap());
    let (reason, ok) = (was(&schema["fields"][2]), was(&schema["fields"][3]));
    let row = |place: usize, name: &'static str, was: &str, kind: &'static str, role: &'static str| {
        [("name", name), ("was", was), ("type", kind), ("role", role), ("visible", "on")]
            .map(|(what, value)| (format!("{what}.{place}"), value.to_owned()))
    };
    let send = async |rows: Vec<(String, String)>| {
        let form: Vec<(&str, &str)> = rows.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        post(&test, &path, &cookie, Some(&test.url), &form).await
    };
    // One person says that `ok` is the outcome; another one, with the form as it was, that `reason` is not used.
    send(row(3, "ok", &ok, "Boolean", "metric").to_vec()).await.expect_status(303);
    let mut second = row(2, "reason", &reason, "String", "ignored").to_vec();
    let (kind, role) = ok.split_once('|').map(|(kind, rest)| (kind, rest.split('|').next().unwrap())).unwrap();
    let kept = [("name.3", "ok"), ("was.3", ok.as_str()), ("type.3", kind), ("role.3", role), ("visible.3", "on")];
    second.extend(kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
    send(second).await.expect_status(303);
    let schema = test.get(&format!("/api/v1{path}")).send().await.expect_status(200).json();
    let roles: Vec<&Value> = schema["fields"].as_array().unwrap().iter().map(|field| &field["role"]).collect();
    assert_eq!((roles[2], roles[3]), (&json!("ignored"), &json!("metric")), "{schema}");
    // A third one wants something else of the same field.
    let third = send(row(3, "ok", &ok, "Boolean", "ignored").to_vec()).await.expect_status(409).text;
    assert!(third.contains("Somebody else changed ok meanwhile"), "{third}");
}

#[tokio::test]
async fn periods_are_typed_as_days_and_their_rows_are_counted_before_they_go() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let mut csv = String::from("started,agent_id,ok\n");
    for day in 1..=20 {
        csv += &format!("2026-01-{day:02}T10:00:00Z,a{},{}\n", day % 3, day % 2 == 0);
    }
    let made = test.upload("dataset", csv.as_bytes(), json!({"name": "days", "accept_schema": true})).await;
    let id = made["dataset_id"].as_str().unwrap();
    let path = format!("/datasets/{id}");
    let rows = page(&test, &format!("{path}/rows?from=2026-01-19"), &cookie).await.expect_status(200).text;
    assert_eq!(rows.matches("<tr>").count(), 3, "a head and two days: {rows}");
    let refused = page(&test, &format!("{path}/rows?from=19.1."), &cookie).await.expect_status(422).text;
    assert!(refused.contains("a day such as 2024-05-01"), "{refused}");

    let delete = format!("{path}/delete_range");
    let form = |from, to| [("from", from), ("to", to)];
    let nonsense = post(&test, &delete, &cookie, Some(&test.url), &form("x", "y")).await.expect_status(422).text;
    assert!(nonsense.contains("is no time") && nonsense.contains("value=\"x\""), "{nonsense}");
    let turned = form("2026-02-01", "2026-01-01");
    post(&test, &delete, &cookie, Some(&test.url), &turned).await.expect_status(422);
    let days = form("2026-01-03", "2026-01-08");
    let asked = post(&test, &delete, &cookie, Some(&test.url), &days).await.expect_status(200).text;
    assert!(asked.contains("5 rows of 20, from 2026-01-03 until before 2026-01-08, go."), "{asked}");
    let sure = [("from", "2026-01-03"), ("to", "2026-01-08"), ("sure", "yes")];
    let going = post(&test, &delete, &cookie, Some(&test.url), &sure).await;
    assert!(landed(&test, &going, &cookie).await.text.contains("are being deleted"));
    let jobs = test.get("/api/v1/jobs?sort=-id").send().await.expect_status(200).json();
    let job = jobs["items"].as_array().unwrap().iter().find(|it| it["kind"] == "dataset_delete_range").unwrap();
    test.wait_for_job(job["id"].as_str().unwrap()).await;
    let dataset = test.get(&format!("/api/v1/datasets/{id}")).send().await.expect_status(200).json();
    assert_eq!(dataset["rows"], 15);

    // What the wizard's sliders write.
    let form = [
        ("dataset", id),
        ("metric", "ok"),
        ("kind", "classification"),
        ("name", "in_january"),
        ("from", "2026-01-01"),
        ("to", "2026-01-20"),
        ("agent_source", "dataset"),
    ];
    let schema = test.get(&format!("/api/v1/datasets/{id}/schema")).send().await.expect_status(200).json();
    let made = post(&test, "/predictors", &cookie, Some(&test.url), &form).await;
    assert!(made.status == 303 || !made.text.contains("is not a time"), "{schema} {}", made.text);
}

#[tokio::test]
async fn a_link_to_what_is_gone_is_a_page_with_a_reason() {
    let test = TestApp::start().await;
    let cookie = cookie(&test).await;
    let made = test.upload("dataset", b"a,b\n1,2\n3,4\n", json!({"name": "ab", "accept_schema": true})).await;
    let path = format!("/datasets/{}/columns", made["dataset_id"].as_str().unwrap());
    for query in ["?target=gone", "?after=gone"] {
        let shown = page(&test, &format!("{path}{query}"), &cookie).await.expect_status(422).text;
        assert!(shown.contains("role=\"alert\"") && !shown.contains("went wrong on the server"), "{shown}");
    }
}

#[tokio::test]
async fn what_the_api_says_is_said_in_the_persons_language() {
    let test = TestApp::start().await;
    let cookie = format!("{}; tango_language=de", cookie(&test).await);
    let gone = page(&test, "/datasets/ds_00000000000000000000000000", &cookie).await.expect_status(404).text;
    assert!(gone.contains("In diesem Konto gibt es") && !gone.contains("There is no"), "{gone}");
    let form = [("name", "1 wrong"), ("combine", "0.5*fcr")];
    let refused = post(&test, "/predictors/combine", &cookie, Some(&test.url), &form).await.text;
    assert!(refused.contains("beginnt mit einem Buchstaben oder Unterstrich"), "{refused}");
    let said = page(&test, "/said?text=The+schema+was+accepted+before.", &cookie).await.expect_status(200).json();
    assert_eq!(said["text"], "Das Schema wurde schon angenommen.");
    let english = test.get("/api/v1/datasets/ds_0").send().await.expect_problem(404, "dataset_not_found");
    assert!(
        english["detail"].as_str().unwrap().starts_with("There is no dataset"),
        "the API speaks English: {english}"
    );
}

#[tokio::test]
async fn signing_in_leads_to_our_own_pages_only() {
    let test = TestApp::start().await;
    for (next, to) in [
        ("/jobs?state=dead", "/jobs?state=dead"),
        ("/\t/evil.example", "/home"),
        ("/\n/evil.example", "/home"),
        ("//evil.example", "/home"),
        ("/\\evil.example", "/home"),
        ("https://evil.example", "/home"),
    ] {
        let form = [("username", USERNAME), ("password", PASSWORD), ("next", next)];
        let sent = test.http.post(format!("{}/login", test.url)).form(&form).send().await.unwrap();
        let answer = Answer::read(sent).await.expect_status(303);
        assert_eq!(answer.headers[LOCATION], to, "{next:?}");
        assert!(answer.headers.contains_key(SET_COOKIE));
    }
}

#[tokio::test]
async fn numbers_of_a_profile_can_be_typed_in_the_playground_in_ones_own_language() {
    let loaded = centre::start().await;
    let test = &loaded.app;
    let cookie = cookie(test).await;
    let mut body = loaded.predictor_body();
    body["features"]["customer"] = json!(["tier", "customer_tenure_months"]);
    let made = test.post("/api/v1/predictors").json(&body).send().await.expect_status(201).json();
    let predictor = made["id"].as_str().unwrap().to_owned();
    let model = loaded.create_model(&predictor, "GLOBAL").await;
    loaded.train(&model).await;
    test.post(&format!("/api/v1/models/{model}/activate")).send().await.expect_status(200);
    let composite = json!({"name": "half", "combine": "0.5*fcr"});
    let composite = test.post("/api/v1/predictors").json(&composite).send().await.expect_status(201).json();
    let composite = composite["id"].as_str().unwrap();
    for id in [predictor.as_str(), composite] {
        let query = format!(
            "predictor={id}&context.customer_tenure_months=12&context.wait_seconds=9&action_filters=loginStatus%3E0&score=yes"
        );
        let german = format!("{cookie}; tango_language=de");
        let scored = page(test, &format!("/playground?{query}"), &german).await.expect_status(200).text;
        assert!(scored.contains("name=\"context.customer_tenure_months\""), "{scored}");
        assert!(!scored.contains("wrong type") && !scored.contains("falschen Typ"), "{scored}");
        let production =
            test.get(&format!("/api/v1/predictors/{id}/production")).send().await.expect_status(200).json();
        assert_eq!(production["scoring"]["requests"], json!(0), "what is tried out counts nowhere: {production}");
        assert!(scored.contains("&quot;customer_tenure_months&quot;:12"), "{scored}");
    }
}

#[tokio::test]
async fn everything_can_be_chosen_however_much_there_is() {
    let loaded = centre::start().await;
    let test = &loaded.app;
    let cookie = cookie(test).await;
    let mut body = loaded.predictor_body();
    for number in 0..102 {
        body["name"] = json!(format!("p_{number:03}"));
        test.post("/api/v1/predictors").json(&body).send().await.expect_status(201);
    }
    for path in ["/reports", "/playground"] {
        let newest = page(test, path, &cookie).await.expect_status(200).text;
        assert!(!newest.contains(">p_000<") && newest.contains("name=\"find\""), "{path}");
        let found = page(test, &format!("{path}?find=P_00"), &cookie).await.expect_status(200).text;
        assert!(found.contains(">p_000") && !found.contains(">p_010"), "{path}: {found}");
    }
    let found = page(test, "/predictors?contains=_00", &cookie).await.expect_status(200).text;
    assert!(found.contains("p_007") && found.contains("value=\"_00\""), "{found}");
}
