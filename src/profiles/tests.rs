//! Appending and counting over a real store.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::append::{Appended, Present, append};
use super::counting::{Counted, Counter};
use super::posted::Posted;
use super::record::StoredProfile;
use super::{Profile, counts, indexes, journal, query, schema};
use crate::clock::SystemClock;
use crate::config::{Config, Secret};
use crate::context::Context;
use crate::domain::id::{AccountId, JobId};
use crate::domain::job::{Job, JobState, Progress, Silent, Topic};
use crate::domain::profile::ProfileKind;
use crate::domain::schema::{Field, FieldType, Schema};
use crate::filter::Filter;
use crate::objects::{ObjectStore, ObjectStoreSettings, PublicUrls};
use crate::store::sqlite::SqliteStore;
use crate::store::{Batch, Collection, Op, Query, Record};

struct Bench {
    ctx: Context,
    profile: Profile,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(every: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { add_cardinalities_every_n_records: every, ..Config::default() };
        let settings = ObjectStoreSettings {
            endpoint_setting: "S3_ENDPOINT",
            endpoint: "http://127.0.0.1:9".to_owned(),
            bucket: "unused".to_owned(),
            region: "unused".to_owned(),
            access_key: "unused".to_owned(),
            secret_key: Secret::default(),
            ca_file: None,
            public_urls: PublicUrls::Fixed("http://127.0.0.1:9".to_owned()),
            origins: Vec::new(),
            installation: None,
        };
        let ctx = Context {
            store: Arc::new(SqliteStore::open(folder.path()).unwrap()),
            objects: Arc::new(ObjectStore::new(&settings).unwrap()),
            config: Arc::new(config),
            clock: Arc::new(SystemClock),
            backlog: Arc::default(),
        };
        let profile = Profile::new(AccountId::parse("acc_1").unwrap(), ProfileKind::Agents);
        Self { ctx, profile, _folder: folder }
    }

    async fn append(&self, records: Value) -> Appended {
        let Value::Array(records) = records else { panic!("an array") };
        let records: Vec<Posted<'_>> = records.iter().map(Posted::from).collect();
        append(&self.ctx, &self.profile, &records, Present::Perhaps, &mut |_, _| {}).await.unwrap()
    }

    async fn numbered(&self, ids: std::ops::Range<u32>) -> Appended {
        self.append(ids.map(|id| json!({"id": format!("a{id}"), "loginStatus": id % 7})).collect()).await
    }

    /// A running job to count with.
    async fn job(&self) -> Job {
        let now = self.ctx.clock.now();
        let job = Job {
            id: JobId::generate(now),
            account_id: self.profile.account_id.clone(),
            topic: Topic::Analysis,
            kind: "test".to_owned(),
            payload: Value::Null,
            state: JobState::Running,
            attempt: 1,
            max_attempts: 1,
            failures: 0,
            fence: 1,
            heartbeat: 0,
            lease_ms: 1_000,
            worker: None,
            cancel_requested: false,
            not_before: None,
            progress: Progress::default(),
            error: None,
            result: None,
            log: Vec::new(),
            curves: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        let mut batch = Batch::new();
        batch.put(&job);
        self.ctx.store.commit(batch).await.unwrap();
        job
    }

    fn counter<'a>(&'a self, job: &'a Job) -> Counter<'a> {
        let fence = Op::Guard {
            collection: Collection::Jobs,
            key: job.key(),
            field: "fence".to_owned(),
            equals: 1.into(),
            shared: false,
        };
        Counter { ctx: &self.ctx, profile: &self.profile, job: &job.id, fence, reporter: &Silent }
    }

    async fn counts(&self) -> (u64, u64) {
        let counts = counts::read(&self.ctx, &self.profile).await.unwrap();
        (counts.records_counted, counts.records_pending)
    }

    async fn record(&self, id: &str) -> StoredProfile {
        let key = self.profile.record_key(id);
        StoredProfile::decode(&self.ctx.store.get(Collection::Agents, &key).await.unwrap().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn versions_duplicates_and_equal_content_are_decided_in_order() {
    let bench = Bench::new(1_000);
    let first = bench
        .append(json!([
            {"id": "a", "version": 2, "loginStatus": 1},
            {"id": "a", "version": 1, "loginStatus": 9},
            {"id": "a", "version": 3, "loginStatus": 4},
            {"id": "b", "loginStatus": 0},
            {"id": "b", "loginStatus": 0},
            {"id": 5},
        ]))
        .await;
    assert_eq!((first.accepted, first.stale, first.unchanged, first.rejected.len()), (3, 1, 1, 1));
    assert_eq!(bench.record("a").await.fields["loginStatus"], 4);
    // A newer version with equal content is remembered, so that what is older than it stays out.
    let again = bench
        .append(json!([{"id": "a", "version": 9, "loginStatus": 4}, {"id": "a", "version": 8, "loginStatus": 5}]))
        .await;
    assert_eq!((again.accepted, again.unchanged, again.stale), (0, 1, 1));
    assert_eq!(bench.record("a").await.version, Some(9));
    assert_eq!(bench.counts().await, (0, 3));
}

#[tokio::test]
async fn counting_takes_what_waits_once() {
    let bench = Bench::new(10);
    assert_eq!(bench.numbered(0..6).await.cardinalities.pending, 6);
    assert_eq!(bench.numbered(0..6).await.unchanged, 6);
    bench.append(json!([{"id": "a1", "loginStatus": 100}])).await;
    let job = bench.job().await;
    assert_eq!(bench.counter(&job).count_waiting().await.unwrap(), Counted::Records(7));
    assert_eq!(bench.counter(&job).count_waiting().await.unwrap(), Counted::Records(0));
    let counts = counts::read(&bench.ctx, &bench.profile).await.unwrap();
    assert_eq!((counts.records_counted, counts.records_pending), (7, 0));
    let status = counts.fields.iter().find(|field| field.field == "loginStatus").unwrap();
    // Six rows; the update added its value and took none away.
    assert_eq!((status.rows, status.nulls, status.distinct), (6, 0, 7));
    assert_eq!(status.max, Some(json!(100)));
}

#[tokio::test]
async fn a_lost_lease_counts_nothing() {
    let bench = Bench::new(10);
    bench.numbered(0..5).await;
    let mut job = bench.job().await;
    let counter_job = job.clone();
    job.fence = 2;
    let mut batch = Batch::new();
    batch.put(&job);
    bench.ctx.store.commit(batch).await.unwrap();
    bench.counter(&counter_job).count_waiting().await.unwrap_err();
    assert_eq!(bench.counts().await, (0, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn full_and_incremental_counts_never_lose_or_double_under_appends() {
    let bench = Arc::new(Bench::new(20));
    bench.numbered(0..2_500).await;
    let writers: Vec<_> = (0..4_u32)
        .map(|writer| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let mut new = 0;
                for round in 0..25_u32 {
                    let first = 10_000 * (writer + 1) + 10 * round;
                    new += bench.numbered(first..first + 10).await.accepted;
                    // Updates of old records, too: values that were never there before.
                    let id = format!("a{}", (writer * 25 + round) * 25);
                    bench.append(json!([{"id": id, "loginStatus": 1_000 + writer * 100 + round}])).await;
                }
                new
            })
        })
        .collect();
    let counters: Vec<_> = (0..3)
        .map(|index| {
            let bench = bench.clone();
            tokio::spawn(async move {
                for _ in 0..6 {
                    let mut job = bench.job().await;
                    let counter = bench.counter(&job);
                    let counted = if index == 0 { counter.count_all().await } else { counter.count_waiting().await };
                    counted.unwrap();
                    job.state = JobState::Succeeded;
                    let mut batch = Batch::new();
                    batch.put(&job);
                    bench.ctx.store.commit(batch).await.unwrap();
                }
            })
        })
        .collect();
    let mut new = 2_500;
    for writer in writers {
        new += writer.await.unwrap();
    }
    for counter in counters {
        counter.await.unwrap();
    }
    let job = bench.job().await;
    bench.counter(&job).count_waiting().await.unwrap();
    let counts = counts::read(&bench.ctx, &bench.profile).await.unwrap();
    let status = counts.fields.iter().find(|field| field.field == "loginStatus").unwrap();
    assert_eq!(counts.records_pending, 0);
    assert_eq!((status.rows, new), (3_500, 3_500));
    assert_eq!(status.nulls, 0);
    // Every one of the hundred odd values was counted at least once.
    assert_eq!(status.distinct, 107);
    // A last full count agrees with what is stored now.
    bench.counter(&job).count_all().await.unwrap();
    let counts = counts::read(&bench.ctx, &bench.profile).await.unwrap();
    assert_eq!((counts.records_counted, counts.records_pending), (3_500, 0));
}

#[tokio::test]
async fn a_full_count_leaves_later_entries_pending_and_defers_incremental_ones() {
    let bench = Bench::new(10);
    bench.numbered(0..30).await;
    let full = bench.job().await;
    let incremental = bench.job().await;
    assert_eq!(bench.counter(&full).count_all().await.unwrap(), Counted::Records(30));
    assert_eq!(bench.counts().await, (30, 0));
    bench.numbered(30..35).await;
    assert_eq!(bench.counts().await, (30, 5));
    // While a full count is announced and alive, an incremental one leaves the journal alone.
    let mut head = counts::load_head(&bench.ctx.store, &bench.profile).await.unwrap().unwrap();
    head.value.full_job = Some(full.id.clone());
    let mut batch = Batch::new();
    batch.replace(&head);
    bench.ctx.store.commit(batch).await.unwrap();
    assert_eq!(bench.counter(&incremental).count_waiting().await.unwrap(), Counted::Deferred);
    // A dead one stops nobody.
    let mut batch = Batch::new();
    batch.put(&Job { state: JobState::Dead, ..full });
    bench.ctx.store.commit(batch).await.unwrap();
    assert_eq!(bench.counter(&incremental).count_waiting().await.unwrap(), Counted::Records(5));
    assert_eq!(bench.counts().await, (35, 0));
    assert!(journal::pending_everywhere(&bench.ctx.store).await.unwrap().is_empty());
}

#[tokio::test]
async fn indexes_follow_the_accepted_schema() {
    let bench = Bench::new(1_000);
    bench.append(json!([{"id": "a", "site": "Oslo", "skills": {"English": 3, "a b": true}}])).await;
    assert_eq!(indexes::reconcile(&bench.ctx, &bench.profile).await.unwrap(), (0, 0));
    let mut stored = schema::load(&bench.ctx.store, &bench.profile).await.unwrap();
    stored.value.schema.accepted = true;
    let mut batch = Batch::new();
    batch.replace(&stored);
    bench.ctx.store.commit(batch).await.unwrap();
    // loginStatus, groups, site and two skills.
    assert_eq!(indexes::reconcile(&bench.ctx, &bench.profile).await.unwrap(), (5, 0));
    assert_eq!(indexes::reconcile(&bench.ctx, &bench.profile).await.unwrap(), (0, 0));
    let lines = indexes::list(&bench.ctx, &bench.profile).await.unwrap();
    let labels: Vec<&str> = lines.iter().map(|line| line.field.as_str()).collect();
    assert_eq!(labels, ["id", "loginStatus", "groups", "site", "skills.English", "skills.a b"]);
    let mut stored = schema::load(&bench.ctx.store, &bench.profile).await.unwrap();
    stored.value.schema.fields.retain(|field| field.name != "site");
    let mut batch = Batch::new();
    batch.replace(&stored);
    bench.ctx.store.commit(batch).await.unwrap();
    assert_eq!(indexes::reconcile(&bench.ctx, &bench.profile).await.unwrap(), (0, 1));
}

fn filter_schema() -> Schema {
    let mut fields = ProfileKind::Agents.mandatory_fields();
    fields.push(Field::new("site", FieldType::String));
    fields.push(Field::new("vip", FieldType::Boolean));
    fields.push(Field::new("tenure", FieldType::Float));
    fields.push(Field::new("hired", FieldType::Timestamp));
    Schema { version: 1, accepted: true, fields }
}

fn stored_fields() -> impl Strategy<Value = Map<String, Value>> {
    let maybe = |values: Vec<Value>| prop::option::of(prop::sample::select(values));
    (
        maybe(vec![json!(0), json!(4), json!(9)]),
        maybe(vec![json!("Oslo"), json!("oslo"), json!("Ångström"), json!("")]),
        maybe(vec![json!(true), json!(false)]),
        maybe(vec![json!(0.5), json!(4.0), json!(-3.0), json!(1e17)]),
        maybe(vec![json!("2024-05-01T00:00:00.000000Z"), json!("2023-01-01T10:00:00.500000Z")]),
        maybe(vec![json!({"English": 4, "x y": true}), json!({"English": 4.5}), json!({"English": false}), json!({})]),
        maybe(vec![json!(["Billing"]), json!(["Sales", "Billing"]), json!([])]),
    )
        .prop_map(|(status, site, vip, tenure, hired, skills, groups)| {
            [
                ("loginStatus", status),
                ("site", site),
                ("vip", vip),
                ("tenure", tenure),
                ("hired", hired),
                ("skills", skills),
                ("groups", groups),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
        })
}

fn filter_text() -> impl Strategy<Value = String> {
    let operator = || prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let equality = || prop::sample::select(vec!["=", "!="]);
    let pick = |values: &'static [&'static str]| prop::sample::select(values.to_vec());
    let leaf = prop_oneof![
        (
            pick(&["loginStatus", "tenure", "English", "\"x y\"", "Nobody"]),
            operator(),
            pick(&["4", "4.0", "4.5", "-3", "0", "100000000000000000"])
        )
            .prop_map(|(name, operator, value)| format!("{name}{operator}{value}")),
        (pick(&["site", "id"]), operator(), pick(&["\"Oslo\"", "\"\"", "\"r1\"", "\"Ångström\"", "\"o\""]))
            .prop_map(|(name, operator, value)| format!("{name} {operator} {value}")),
        (operator(), pick(&["\"2024-05-01\"", "\"2023-01-01T10:00:00.5Z\"", "\"1999-01-01\""]))
            .prop_map(|(operator, value)| format!("hired {operator} {value}")),
        (pick(&["vip", "English", "\"x y\""]), equality(), pick(&["true", "false"]))
            .prop_map(|(name, operator, value)| format!("{name}{operator}{value}")),
        (equality(), pick(&["\"Billing\"", "\"Sales\""]))
            .prop_map(|(operator, value)| format!("groups{operator}{value}")),
        pick(&["Billing", "vip", "Nothing"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} & {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} | {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_filter_means_the_same_in_memory_and_in_the_store(
        records in prop::collection::vec(stored_fields(), 1..12),
        texts in prop::collection::vec(filter_text(), 12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(1_000);
            let now = bench.ctx.clock.now();
            let mut batch = Batch::new();
            for (index, fields) in records.iter().enumerate() {
                let id = format!("r{index}");
                let record = StoredProfile { id: id.clone(), version: None, fields: fields.clone(), updated_at: now, entry: String::new() };
                batch.push(Op::Insert { collection: Collection::Agents, key: bench.profile.record_key(&id), body: record.encode() });
            }
            bench.ctx.store.commit(batch).await.unwrap();
            for text in texts {
                let filter = Filter::parse(&text).unwrap().compile(&filter_schema()).unwrap();
                let expected: Vec<String> = records
                    .iter()
                    .enumerate()
                    .map(|(index, fields)| (format!("r{index}"), fields))
                    .filter(|(id, fields)| filter.matches(id, fields))
                    .map(|(id, _)| id)
                    .collect();
                let found = Query::new(Collection::Agents, "acc_1").filter(query::condition(&filter)).limit(500);
                let mut found: Vec<String> =
                    bench.ctx.store.find(&found).await.unwrap().documents.into_iter().map(|document| document.key.id).collect();
                found.sort_by_key(|id| id[1..].parse::<usize>().unwrap());
                prop_assert_eq!(found, expected, "{}", text);
            }
            Ok(())
        })?;
    }
}
