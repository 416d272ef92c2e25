//! Long lists of fields: a part of them at a time, found by name, and the choice among them that is kept in the address
//! while one looks through the parts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;

use super::form::Form;

/// Part of a list: what matches, a page of it.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub find: String,
    /// From 1.
    pub page: usize,
    pub pages: usize,
    /// Entries that match.
    pub matching: usize,
    /// Entries of the whole list.
    pub total: usize,
    /// Places in the whole list.
    #[serde(skip)]
    pub places: Vec<usize>,
    /// All that match, wherever they are.
    #[serde(skip)]
    pub all: Vec<usize>,
}

impl Part {
    /// Of entries at these places with these names: those whose name contains `find`, and of them the page that is asked for.
    pub fn of<'a>(entries: impl Iterator<Item = (usize, &'a str)>, find: &str, page: &str, size: usize) -> Self {
        let part = find.trim().to_lowercase();
        let mut total = 0;
        let counted = entries.inspect(|_| total += 1);
        let all: Vec<usize> =
            counted.filter(|(_, name)| name.to_lowercase().contains(&part)).map(|(place, _)| place).collect();
        let pages = all.len().div_ceil(size).max(1);
        let page = page.parse().unwrap_or(1).clamp(1, pages);
        let places = all.iter().copied().skip((page - 1) * size).take(size).collect();
        Self { find: find.trim().to_owned(), page, pages, matching: all.len(), total, places, all }
    }
}

/// Which fields of a dataset's schema are chosen as features: a bit a field, good for one version of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    version: u64,
    bits: Vec<bool>,
}

/// The side on which a field with this role is a feature; none for what can be no feature.
pub(super) fn side_of(field: &Value) -> Option<&'static str> {
    match field["role"].as_str()? {
        "context" | "customer_id" => Some("context"),
        "customer" => Some("customer"),
        "agent" => Some("agent"),
        _ => None,
    }
}

impl Choice {
    /// What was chosen so far (`picked`), with the boxes of the part that was on the screen (`seen`, and of them `pick`). At first,
    /// and when the schema has changed meanwhile, everything that is there to be a feature.
    pub fn of(schema: &Value, form: &Form) -> Self {
        let version = schema["version"].as_u64().unwrap_or(0);
        let fields = schema["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let kept = form.get("picked").and_then(|text| Self::decode(text, version, fields.len()));
        let Some(mut choice) = kept else {
            let bits = fields.iter().map(|field| side_of(field).is_some() && field["role"] != "customer_id").collect();
            return Self { version, bits };
        };
        let places = |name: &str| form.all(name).into_iter().filter_map(|text| text.parse::<usize>().ok());
        for (name, value) in [("seen", false), ("pick", true)] {
            for place in places(name) {
                choice.set(place, value);
            }
        }
        choice
    }

    pub fn set(&mut self, place: usize, value: bool) {
        if let Some(bit) = self.bits.get_mut(place) {
            *bit = value;
        }
    }

    pub fn has(&self, place: usize) -> bool {
        self.bits.get(place).copied().unwrap_or(false)
    }

    /// Names of the chosen features of a side, without the metric.
    pub fn names(&self, schema: &Value, side: &str, metric: &str) -> Vec<String> {
        let fields = schema["fields"].as_array().into_iter().flatten().enumerate();
        let chosen = fields.filter(|(place, field)| self.has(*place) && side_of(field) == Some(side));
        chosen
            .filter_map(|(_, field)| field["name"].as_str())
            .filter(|name| *name != metric)
            .map(str::to_owned)
            .collect()
    }

    /// `3.AAEC…`: the schema's version and the bits.
    pub fn encode(&self) -> String {
        let bytes: Vec<u8> = self
            .bits
            .chunks(8)
            .map(|bits| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | (u8::from(*bit) << at)))
            .collect();
        format!("{}.{}", self.version, URL_SAFE_NO_PAD.encode(bytes))
    }

    fn decode(text: &str, version: u64, fields: usize) -> Option<Self> {
        let (its_version, bits) = text.split_once('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(bits).ok()?;
        if its_version.parse() != Ok(version) || bytes.len() != fields.div_ceil(8) {
            return None;
        }
        let bits = (0..fields).map(|at| bytes[at / 8] & (1 << (at % 8)) != 0).collect();
        Some(Self { version, bits })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        let roles = ["agent_id", "timestamp", "customer_id", "context", "customer", "agent", "metric", "ignored"];
        let mut fields: Vec<Value> =
            roles.iter().map(|role| json!({"name": format!("the {role}"), "role": role})).collect();
        fields.extend((0..40).map(|at| json!({"name": format!("column {at}"), "role": "context"})));
        json!({"version": 3, "fields": fields})
    }

    #[test]
    fn a_choice_is_kept_while_parts_are_looked_at() {
        let schema = schema();
        let first = Choice::of(&schema, &Form::default());
        assert_eq!(first.names(&schema, "agent", ""), ["the agent"]);
        assert_eq!(first.names(&schema, "context", "column 7").len(), 40, "one is the metric");
        let form = format!("picked={}&seen=3&seen=2&seen=8&pick=2&pick=99999", first.encode());
        let second = Choice::of(&schema, &Form::parse(form.as_bytes()));
        let context = second.names(&schema, "context", "");
        assert!(context.contains(&"the customer_id".to_owned()) && !context.contains(&"the context".to_owned()));
        assert!(!context.contains(&"column 0".to_owned()) && context.contains(&"column 1".to_owned()));
        let third = Choice::of(&schema, &Form::parse(format!("picked={}", second.encode()).as_bytes()));
        assert_eq!(second, third);
        let mut changed = schema.clone();
        changed["version"] = json!(4);
        let form = Form::parse(format!("picked={}", second.encode()).as_bytes());
        assert_eq!(Choice::of(&changed, &form).bits, first.bits, "another schema begins anew");
        for nonsense in ["", "x", "3.", "3.!!", "3.AAAA"] {
            let form = Form::parse(format!("picked={nonsense}").as_bytes());
            assert_eq!(Choice::of(&schema, &form), first);
        }
    }

    #[test]
    fn a_part_is_found_by_name_and_paged() {
        let names: Vec<String> = (0..120).map(|at| format!("Column {at}")).collect();
        let entries = || names.iter().map(String::as_str).enumerate();
        let part = Part::of(entries(), "", "3", 50);
        assert_eq!((part.page, part.pages, part.matching, part.places.len()), (3, 3, 120, 20));
        let part = Part::of(entries(), " column 11", "9", 50);
        assert_eq!((part.page, part.pages, part.places.len()), (1, 1, 11));
        assert_eq!(Part::of(entries(), "none", "1", 50).pages, 1);
    }
}
