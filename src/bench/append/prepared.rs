//! What the clients send and what the bare loop writes, made before the clock starts.

use serde_json::{Map, Value, json};

use crate::domain::Timestamp;
use crate::domain::profile::timestamp_text;
use crate::profiles::Profile;
use crate::profiles::journal::Writer;
use crate::profiles::record::write_record;
use crate::store::sqlite::{BareRecord, BareTransaction};
use crate::store::{Batch, Op};

/// Records of one request and one transaction.
pub const BATCH: usize = 100;
/// Records of each client; later batches update them.
const IDS: usize = 5_000;
/// Batches of each client before it begins again: every id three times, each time with other values.
const BATCHES: usize = 3 * IDS / BATCH;

/// What a connector knows of an agent. The groups of an id never change.
fn fields(client: usize, record: usize) -> Map<String, Value> {
    let fields = json!({
        "loginStatus": record % 10,
        "skills": {"English": record % 6, "Billing": (record + client) % 11, "Tech": true},
        "groups": groups(record),
        "site": format!("site {}", record % 17),
        "tenure": record as f64 / 7.0,
        "changed": record,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn groups(record: usize) -> [&'static str; 2] {
    ["Frontline", if record.is_multiple_of(2) { "Billing" } else { "Sales" }]
}

fn id(client: usize, record: usize) -> String {
    format!("{client}-{}", record % IDS)
}

fn records(batch: usize) -> std::ops::Range<usize> {
    batch * BATCH..(batch + 1) * BATCH
}

/// The bodies of a client's requests, in order.
pub fn bodies(client: usize) -> Vec<Vec<u8>> {
    let posted = |record| {
        let mut posted = fields(client, record);
        posted.insert("id".to_owned(), id(client, record).into());
        Value::Object(posted)
    };
    let body = |batch| json!({"records": records(batch).map(posted).collect::<Vec<_>>()}).to_string().into_bytes();
    (0..BATCHES).map(body).collect()
}

/// The rows that the store writes for the same requests.
pub fn transactions(client: usize, profile: &Profile, now: Timestamp) -> Vec<BareTransaction> {
    let updated_at = Value::from(timestamp_text(now)).to_string();
    (0..BATCHES)
        .map(|batch| {
            let mut journal = Writer::new(profile, now);
            let records = records(batch)
                .map(|record| {
                    let (id, new) = (id(client, record), record < IDS);
                    let fields = Value::Object(fields(client, record)).to_string();
                    let entry = journal.add(&id, new, &fields);
                    let body = write_record(&id, None, &fields, &updated_at, entry);
                    let elements = if new { groups(record).map(str::to_owned).to_vec() } else { Vec::new() };
                    BareRecord { id, body, elements }
                })
                .collect();
            let mut ops = Batch::new();
            journal.write(&mut ops);
            let mut transaction =
                BareTransaction { records, journal_body: String::new(), journal_values: bytes::Bytes::new() };
            for op in ops.ops {
                match op {
                    Op::PutBlob { bytes, .. } => transaction.journal_values = bytes,
                    Op::Insert { body, .. } => transaction.journal_body = body,
                    _ => {}
                }
            }
            transaction
        })
        .collect()
}
