//! Answers as JSON, as [`super::body`] describes them. Scores are most of it, millions a second: they are written straight into
//! bytes, the rest by `serde`.

use serde::Serialize;

use super::body::{BatchAnswer, Format, ScoreAnswer, Scores};
use crate::score::{AgentScore, Explanation, ScoreSource};

/// What an answer takes, about: without its scores, and for each.
const ANSWER_BYTES: usize = 1 << 10;
const SCORE_BYTES: usize = 128;

impl ScoreAnswer<'_> {
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut json = Vec::with_capacity(ANSWER_BYTES + SCORE_BYTES * self.scores.scores.len());
        self.write(&mut json)?;
        Ok(json)
    }

    fn write(&self, json: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut object = Object::open(json);
        object.field("request_id", &self.request_id)?;
        object.field("context_id", &self.context_id)?;
        object.field("customer_found", &self.customer_found)?;
        object.field("mode", &self.mode)?;
        object.field("predictor", &self.predictor)?;
        object.field("model", &self.model)?;
        if !self.components.is_empty() {
            object.field("components", &self.components)?;
        }
        self.scores.write(object.name("scores"))?;
        object.field("median", &self.median)?;
        object.field("max", &self.max)?;
        object.field("min", &self.min)?;
        object.field("global", &self.global)?;
        object.field("eligible", &self.eligible)?;
        object.field("warnings", &self.warnings)?;
        object.field("took_us", &self.took_us)?;
        object.close();
        Ok(())
    }
}

impl BatchAnswer<'_> {
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let scores: usize = self.results.iter().map(|result| result.scores.scores.len()).sum();
        let mut json = Vec::with_capacity(ANSWER_BYTES * (1 + self.results.len()) + SCORE_BYTES * scores);
        let mut object = Object::open(&mut json);
        enclosed(object.name("results"), b"[]", &self.results, |json, result| result.write(json))?;
        if let Some(assignment) = &self.assignment {
            object.field("assignment", assignment)?;
        }
        if let Some(total) = &self.total {
            object.field("total", total)?;
        }
        if let Some(gap) = &self.gap {
            object.field("gap", gap)?;
        }
        object.close();
        Ok(json)
    }
}

impl Scores<'_> {
    fn write(&self, json: &mut Vec<u8>) -> serde_json::Result<()> {
        match self.format {
            Format::Map => enclosed(json, b"{}", &self.scores, |json, score| {
                text(json, score.agent_id)?;
                json.push(b':');
                number(json, score.score);
                Ok(())
            }),
            Format::List => {
                let mut explanations = self.explanations.iter();
                enclosed(json, b"[]", &self.scores, |json, score| {
                    listed(json, score, explanations.next().and_then(Option::as_ref))
                })
            }
        }
    }
}

/// As [`super::body::ListedScore`] describes it.
#[inline]
fn listed(json: &mut Vec<u8>, score: &AgentScore<'_>, explanation: Option<&Explanation>) -> serde_json::Result<()> {
    json.extend_from_slice(b"{\"agent_id\":");
    text(json, score.agent_id)?;
    json.extend_from_slice(b",\"score\":");
    number(json, score.score);
    json.extend_from_slice(b",\"p_score\":");
    match score.p_score {
        Some(p_score) => number(json, p_score),
        None => json.extend_from_slice(b"null"),
    }
    json.extend_from_slice(match score.source {
        ScoreSource::Local => b",\"source\":\"local\",\"rank\":",
        ScoreSource::Global => b",\"source\":\"global\",\"rank\":",
        ScoreSource::Default => b",\"source\":\"default\",\"rank\":",
    });
    whole_number(json, u64::from(score.rank));
    if let Some(explanation) = explanation {
        json.extend_from_slice(b",\"explanation\":");
        serde_json::to_writer(&mut *json, explanation)?;
    }
    json.push(b'}');
    Ok(())
}

/// An object that is being written.
struct Object<'a> {
    json: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    fn open(json: &'a mut Vec<u8>) -> Self {
        Self { json, separator: b'{' }
    }

    /// What is written next is the value. Names are plain.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.json.extend_from_slice(&[self.separator, b'"']);
        self.separator = b',';
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
        self.json
    }

    fn field(&mut self, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
        serde_json::to_writer(self.name(name), value)
    }

    /// Of one field at least.
    fn close(self) {
        self.json.push(b'}');
    }
}

/// A list, or the entries of an object.
fn enclosed<T>(
    json: &mut Vec<u8>,
    [open, close]: &[u8; 2],
    elements: &[T],
    mut write: impl FnMut(&mut Vec<u8>, &T) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    json.push(*open);
    for (at, element) in elements.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        write(json, element)?;
    }
    json.push(*close);
    Ok(())
}

/// Ids seldom hold what must be escaped.
#[inline]
fn text(json: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    if !text.as_bytes().iter().all(is_plain) {
        return serde_json::to_writer(json, text);
    }
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
    Ok(())
}

/// The shortest text that reads as the same number; JSON has no word for others than finite ones.
#[inline]
fn number(json: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        json.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        json.extend_from_slice(b"null");
    }
}

#[inline]
fn whole_number(json: &mut Vec<u8>, number: u64) {
    json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::id::{ModelId, PredictorId};
    use crate::domain::model::ModelType;
    use crate::domain::score_log::Mode;
    use crate::http::score::body::{Assigned, Component, ModelName, PredictorName};

    fn scores(format: Format, scores: Vec<AgentScore<'_>>) -> Scores<'_> {
        Scores { format, scores, explanations: Vec::new() }
    }

    fn score(agent_id: &str, score: f64, p_score: Option<f64>, source: ScoreSource) -> AgentScore<'_> {
        AgentScore { agent_id, score, p_score, source, rank: 1 }
    }

    fn read(json: serde_json::Result<Vec<u8>>) -> Value {
        serde_json::from_slice(&json.unwrap()).unwrap()
    }

    #[test]
    fn answers_are_what_the_contract_says() {
        let (predictor, model) = (PredictorId::parse("prd_1").unwrap(), ModelId::parse("mdl_1").unwrap());
        let predictor = || PredictorName { id: &predictor, name: "won \"it\"" };
        let model = || ModelName { id: &model, version: 3, model_type: ModelType::Hybrid };
        let answer = |scores, composite: bool| ScoreAnswer {
            request_id: None,
            context_id: Some("c\n1"),
            customer_found: true,
            mode: Mode::DryRun,
            predictor: predictor(),
            model: (!composite).then(model),
            components: if composite { vec![Component { predictor: predictor(), model: model() }] } else { Vec::new() },
            scores,
            median: Some(0.1),
            max: None,
            min: Some(-0.0),
            global: 1e300,
            eligible: 4,
            warnings: vec![Cow::Borrowed("one"), Cow::Borrowed("two")],
            took_us: 12,
        };
        let listed = vec![
            score("a", 1.5, Some(0.5), ScoreSource::Local),
            score("b", 2.0, None, ScoreSource::Default),
            AgentScore { rank: 4_000_000_000, ..score("c", f64::MAX, Some(f64::NAN), ScoreSource::Global) },
        ];
        let explanation = Explanation { base: 0.25, contributions: Vec::new(), raw: 0.5 };
        let explained = Scores { explanations: vec![Some(explanation), None], ..scores(Format::List, listed) };
        let simple = answer(explained, false);
        let (named_predictor, named_model) =
            (json!({"id": "prd_1", "name": "won \"it\""}), json!({"id": "mdl_1", "version": 3, "type": "HYBRID"}));
        let expected = json!({
            "request_id": null, "context_id": "c\n1", "customer_found": true, "mode": "dry_run",
            "predictor": named_predictor, "model": named_model,
            "scores": [
                {"agent_id": "a", "score": 1.5, "p_score": 0.5, "source": "local", "rank": 1,
                    "explanation": {"base": 0.25, "contributions": [], "raw": 0.5}},
                {"agent_id": "b", "score": 2.0, "p_score": null, "source": "default", "rank": 1},
                {"agent_id": "c", "score": f64::MAX, "p_score": null, "source": "global", "rank": 4_000_000_000u32},
            ],
            "median": 0.1, "max": null, "min": -0.0, "global": 1e300, "eligible": 4, "warnings": ["one", "two"], "took_us": 12,
        });
        assert_eq!(read(simple.to_json()), expected);
        let composite = answer(scores(Format::Map, Vec::new()), true);
        let mut of_composite = expected.clone();
        (of_composite["model"], of_composite["scores"]) = (Value::Null, json!({}));
        of_composite["components"] = json!([{"predictor": named_predictor, "model": named_model}]);
        assert_eq!(read(composite.to_json()), of_composite);

        let mut batch = BatchAnswer { results: vec![simple, composite], assignment: None, total: None, gap: None };
        assert_eq!(read(batch.to_json()), json!({"results": [expected, of_composite]}));
        batch.results.clear();
        batch.assignment = Some(vec![Assigned { interaction: 0, agent_id: "a", score: 1.5 }]);
        (batch.total, batch.gap) = (Some(1.5), Some(0.0));
        let assigned = json!([{"interaction": 0, "agent_id": "a", "score": 1.5}]);
        assert_eq!(read(batch.to_json()), json!({"results": [], "assignment": assigned, "total": 1.5, "gap": 0.0}));
    }

    proptest! {
        #[test]
        fn ids_and_numbers_are_read_as_they_were(
            entries in prop::collection::btree_map("(?s).{0,6}[\\x00-\\x1f\"]?", any::<f64>(), 0..8),
        ) {
            let of = |format| scores(
                format,
                entries.iter().map(|(id, number)| score(id, *number, Some(*number), ScoreSource::Local)).collect(),
            );
            let read = |format| -> Value {
                let mut json = Vec::new();
                of(format).write(&mut json).unwrap();
                serde_json::from_slice(&json).unwrap()
            };
            let map: serde_json::Map<String, Value> = entries.iter().map(|(id, number)| (id.clone(), json!(number))).collect();
            let list: Vec<Value> = map
                .iter()
                .map(|(id, number)| json!({"agent_id": id, "score": number, "p_score": number, "source": "local", "rank": 1}))
                .collect();
            for (id, number_of) in &entries {
                let mut json = Vec::new();
                text(&mut json, id).unwrap();
                number(&mut json, *number_of);
                let expected = serde_json::to_string(id).unwrap() + &serde_json::to_string(number_of).unwrap();
                prop_assert_eq!(String::from_utf8(json).unwrap(), expected);
            }
            prop_assert_eq!(read(Format::Map), Value::Object(map));
            prop_assert_eq!(read(Format::List), Value::Array(list));
        }
    }
}
