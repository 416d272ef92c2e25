//! Few bins for what a model reads and predicts, made from the artifact's own encoding: so training and every server count alike, and
//! what they counted can be compared and added up.

use serde_json::{Map, Value};

use super::artifact::Outcome;
use super::encoding::{Derive, Encoding, Levels, Raw, Side, TextLevels, read_value};
use crate::domain::Timestamp;
use crate::domain::predictor::MetricKind;

/// Bins of the predicted value.
pub const PREDICTED_BINS: usize = 20;
/// Bins of the outermost standard deviations of a predicted metric.
const DEVIATIONS: f64 = 2.5;
/// Texts with a bin of their own, most frequent first; the others share one.
const MAX_TEXTS: usize = 30;
/// Whole numbers that are levels as they are; an input with more has a sibling of ranges.
const MAX_INTEGERS: usize = 40;
/// Inputs that are counted at most: a list or a dictionary has up to a hundred.
const MAX_INPUTS: usize = 200;

/// The bin of a prediction: twentieths of probability, or quarters of a standard deviation of the training data's metric.
pub fn predicted_bin(outcome: &Outcome, p_score: f64) -> usize {
    let share = match outcome.kind {
        MetricKind::Classification => p_score,
        MetricKind::Regression => ((p_score - outcome.mean) / outcome.deviation + DEVIATIONS) / (2.0 * DEVIATIONS),
    };
    // A cast saturates, and makes 0 of what is no number.
    ((share * PREDICTED_BINS as f64) as usize).min(PREDICTED_BINS - 1)
}

/// The context-side inputs of a model that are counted, and their bins.
#[derive(Debug, Clone)]
pub struct Bins {
    encoding: Encoding,
    counted: Vec<Counted>,
}

/// One counted input.
#[derive(Debug, Clone)]
struct Counted {
    input: usize,
    /// The frequent texts.
    texts: TextLevels,
}

/// What an input is called, and what its bins stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinNames {
    /// The feature, with what is read of it: `start_time (hour)`, `skills[english]`.
    pub input: String,
    pub field: String,
    pub bins: Vec<String>,
}

impl Bins {
    pub fn new(mut encoding: Encoding) -> Bins {
        let counted: Vec<Counted> = counted_inputs(&encoding)
            .into_iter()
            .map(|input| {
                let texts = match &encoding.inputs[input].levels {
                    Some(Levels::Texts(texts)) => texts.iter().take(MAX_TEXTS).cloned().zip(0..).collect(),
                    _ => TextLevels::default(),
                };
                Counted { input, texts }
            })
            .collect();
        // What is not counted may be large.
        for (at, input) in encoding.inputs.iter_mut().enumerate() {
            if !counted.iter().any(|counted| counted.input == at) {
                input.levels = None;
            }
        }
        Bins { encoding, counted }
    }

    /// How many inputs are counted.
    pub fn len(&self) -> usize {
        self.counted.len()
    }

    pub fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// Adds one interaction, read as scoring reads it, to counts by input and bin.
    pub fn count(
        &self,
        context: &Map<String, Value>,
        customer: Option<&Map<String, Value>>,
        now: Timestamp,
        counts: &mut Vec<Vec<u64>>,
    ) {
        let encoding = &self.encoding;
        counts.resize_with(self.counted.len(), Vec::new);
        let time = interaction_time(encoding, context, now);
        for (counted, counts) in self.counted.iter().zip(counts) {
            let field = &encoding.fields[encoding.inputs[counted.input].field as usize];
            let value = context.get(&field.name).or_else(|| match field.side {
                Side::Customer => customer.and_then(|fields| fields.get(&field.name)),
                _ => None,
            });
            let raw = match value {
                Some(value) => read_value(field.field_type, value).unwrap_or(Raw::Missing),
                None if field.is_request_time => Raw::Time(time),
                None => Raw::Missing,
            };
            let encoded = encoding.encode(counted.input, &counted.texts, &raw, time);
            add(counts, bin_of(encoding, counted.input, encoded.level));
        }
    }
}

/// The inputs that are counted: those of context and customer whose levels are few, or are made few. The age of the interaction
/// itself says only that time has passed.
pub fn counted_inputs(encoding: &Encoding) -> Vec<usize> {
    let counted = |input: &usize| {
        let spec = &encoding.inputs[*input];
        let field = &encoding.fields[spec.field as usize];
        let few = match &spec.levels {
            Some(Levels::Integers(values)) => values.len() <= MAX_INTEGERS,
            Some(_) => true,
            None => false,
        };
        field.side != Side::Agent && few && !(field.is_request_time && spec.derive == Derive::AgeDays)
    };
    (0..encoding.inputs.len()).filter(counted).take(MAX_INPUTS).collect()
}

/// The bin of an input's level.
pub fn bin_of(encoding: &Encoding, input: usize, level: u32) -> usize {
    let Some(levels) = &encoding.inputs[input].levels else { return 0 };
    let (other, missing) = (levels.other(), levels.missing());
    let shown = shown_levels(levels);
    let bin = match level {
        level if level == missing => shown + 1,
        level if level == other || level >= shown => shown,
        level => level,
    };
    bin as usize
}

/// Adds one to a bin.
pub fn add(counts: &mut Vec<u64>, bin: usize) {
    if counts.len() <= bin {
        counts.resize(bin + 1, 0);
    }
    counts[bin] += 1;
}

/// Levels that have a bin of their own; behind them come "other" and "missing".
fn shown_levels(levels: &Levels) -> u32 {
    levels.other().min(if matches!(levels, Levels::Texts(_)) { MAX_TEXTS as u32 } else { u32::MAX })
}

/// Names of the counted inputs and of their bins, in order.
pub fn names(encoding: &Encoding) -> Vec<BinNames> {
    counted_inputs(encoding)
        .into_iter()
        .map(|input| {
            let spec = &encoding.inputs[input];
            let field = encoding.fields[spec.field as usize].name.clone();
            let input = match &spec.derive {
                Derive::Value => field.clone(),
                Derive::Hour => format!("{field} (hour)"),
                Derive::Weekday => format!("{field} (weekday)"),
                Derive::AgeDays => format!("{field} (days)"),
                Derive::ListItem(key) | Derive::DictKey(key) => format!("{field}[{key}]"),
            };
            let mut bins: Vec<String> = match &spec.levels {
                Some(Levels::Texts(texts)) => texts.iter().take(MAX_TEXTS).map(ToString::to_string).collect(),
                Some(Levels::Integers(values)) => values.iter().map(ToString::to_string).collect(),
                Some(Levels::Cuts(cuts)) => ranges(cuts, spec.offset),
                None => Vec::new(),
            };
            bins.extend(["(other)".to_owned(), "(missing)".to_owned()]);
            BinNames { input, field, bins }
        })
        .collect()
}

fn ranges(cuts: &[f32], offset: f64) -> Vec<String> {
    // As short as it was when nothing was taken off.
    let cut = |cut: &f32| if offset == 0.0 { cut.to_string() } else { (f64::from(*cut) + offset).to_string() };
    let cuts: Vec<String> = cuts.iter().map(cut).collect();
    let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return vec!["any".to_owned()] };
    let between = cuts.windows(2).map(|pair| format!("{} to {}", pair[0], pair[1]));
    [format!("below {first}")].into_iter().chain(between).chain([format!("{last} and more")]).collect()
}

fn interaction_time(encoding: &Encoding, context: &Map<String, Value>, now: Timestamp) -> i64 {
    let own = encoding.fields.iter().find(|field| field.is_request_time);
    match own.and_then(|field| Some(read_value(field.field_type, context.get(&field.name)?))) {
        Some(Ok(Raw::Time(at))) => at,
        _ => now.timestamp_micros(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::schema::FieldType;
    use crate::score::encoding::{EncodedField, Input, Scale};

    fn encoding() -> Encoding {
        let field = |name: &str, side, field_type, is_request_time| EncodedField {
            name: name.to_owned(),
            side,
            field_type,
            is_request_time,
        };
        let input =
            |field, derive, levels| Input { field, derive, offset: 0.0, scale: None::<Scale>, levels: Some(levels) };
        let texts = (0..50).map(|n| Arc::from(format!("t{n}"))).collect();
        Encoding {
            fields: vec![
                field("reason", Side::Context, FieldType::String, false),
                field("at", Side::Context, FieldType::Timestamp, true),
                field("age", Side::Customer, FieldType::Integer, false),
                field("site", Side::Agent, FieldType::String, false),
            ],
            inputs: vec![
                input(0, Derive::Value, Levels::Texts(texts)),
                input(1, Derive::Hour, Levels::Integers((0..24).collect())),
                input(1, Derive::AgeDays, Levels::Cuts(vec![1.0])),
                input(2, Derive::Value, Levels::Cuts(vec![10.0, 20.0])),
                input(3, Derive::Value, Levels::Texts(Vec::new())),
            ],
            tree_inputs: Vec::new(),
            reference_time: None,
        }
    }

    #[test]
    fn an_interaction_falls_into_one_bin_of_each_counted_input() {
        let encoding = encoding();
        let names = names(&encoding);
        let inputs: Vec<&str> = names.iter().map(|names| names.input.as_str()).collect();
        assert_eq!(inputs, ["reason", "at (hour)", "age"], "no agents, no age of the interaction itself");
        let bins = Bins::new(encoding);
        let now = Timestamp::UNIX_EPOCH + chrono::Duration::hours(7);
        let mut counts = Vec::new();
        let mut count = |context: Value, customer: Value| {
            let before = counts.clone();
            bins.count(context.as_object().unwrap(), customer.as_object(), now, &mut counts);
            let changed = |at: usize| {
                let old = before.get(at).cloned().unwrap_or_default();
                let new = counts[at].iter().enumerate();
                let mut bin = new.filter(|(bin, n)| old.get(*bin).copied().unwrap_or(0) < **n).map(|(bin, _)| bin);
                names[at].bins[bin.next().unwrap()].clone()
            };
            [changed(0), changed(1), changed(2)]
        };
        assert_eq!(count(json!({"reason": "t3"}), json!({"age": 15})), ["t3", "7", "10 to 20"]);
        assert_eq!(count(json!({"reason": "t40", "age": 3}), json!({"age": 15})), ["(other)", "7", "below 10"]);
        assert_eq!(
            count(json!({"reason": 4, "at": "1970-01-01T03:00:00Z"}), json!(null)),
            ["(missing)", "3", "(missing)"]
        );
        assert_eq!(count(json!({"reason": "never"}), json!({"age": 99})), ["(other)", "7", "20 and more"]);
    }

    #[test]
    fn predictions_fall_into_bins_whatever_they_are() {
        let outcome = |kind| Outcome {
            kind,
            goal: crate::domain::predictor::Goal::Maximize,
            mean: 10.0,
            deviation: 2.0,
            high: 0.0,
        };
        let classes = outcome(MetricKind::Classification);
        let bins = [0.0, 0.049, 0.5, 1.0, f64::NAN].map(|p| predicted_bin(&classes, p));
        assert_eq!(bins, [0, 0, 10, 19, 0]);
        let metric = outcome(MetricKind::Regression);
        assert_eq!([-100.0, 10.0, 100.0].map(|p| predicted_bin(&metric, p)), [0, 10, 19]);
    }
}
