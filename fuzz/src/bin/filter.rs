//! Any text as a filter: refused with a position inside of it, or it means the same as the opposite of its opposite.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tango::domain::profile::ProfileKind;
use tango::domain::schema::{Field, FieldType, Schema};
use tango::filter::Filter;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut fields = ProfileKind::Agents.mandatory_fields();
    fields.push(Field::new("tenure", FieldType::Float));
    fields.push(Field::new("senior", FieldType::Boolean));
    fields.push(Field::new("since", FieldType::Timestamp));
    Schema { version: 1, accepted: true, fields }
});
static AGENTS: LazyLock<Vec<Map<String, Value>>> = LazyLock::new(|| {
    let all = json!([
        {"loginStatus": 4, "skills": {"English": 5, "Tech Support": 1}, "groups": ["Billing"], "tenure": 2.5, "senior": true,
         "since": "2024-05-01T08:30:00.000Z"},
        {"loginStatus": 9, "skills": {}, "groups": [], "tenure": -1e300, "senior": false},
        {"skills": {"ß": 0}, "groups": ["a b"], "tenure": null},
        {},
    ]);
    serde_json::from_value(all).expect("a list of objects")
});

fuzz_target!(|text: &str| {
    let compile = |text: &str| Filter::parse(text).and_then(|filter| filter.compile(&SCHEMA));
    let filter = match compile(text) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(error.position <= text.len() && !error.message.is_empty(), "{error:?}");
            return;
        }
    };
    filter.entries();
    let Ok(opposite) = compile(&format!("!({text})")) else { return }; // too long or too deep now
    for (index, agent) in AGENTS.iter().enumerate() {
        let id = format!("agent-{index}");
        assert_ne!(filter.matches(&id, agent), opposite.matches(&id, agent), "{agent:?}");
    }
});
