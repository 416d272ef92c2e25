//! How raw values become numbers and levels: learned from training data only, stored in the artifact.
//!
//! A chosen *field* (say `language`, or the dictionary `skills`) gives one or more *inputs* (`language`; one a skill).
//! An input has a number (NaN when missing), a level (an index that is always valid), or both. What trees test are
//! *tree inputs*: an input's number, or the target encoding of its level.

use std::sync::Arc;

use chrono::{Datelike, Timelike};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::Timestamp;
use crate::domain::schema::FieldType;
use crate::quick_map::QuickMap;

/// Which part of an interaction a feature describes. Context and customer are known when the interaction waits; they
/// are one side of the factorised engine, agents the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Context,
    Customer,
    Agent,
}

/// A chosen feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedField {
    pub name: String,
    pub side: Side,
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// The interaction's own time: taken from the request's clock when the context does not give it.
    pub is_request_time: bool,
}

/// What is read from the field's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derive {
    /// The value itself: a number, a Boolean as 0 or 1, a text as a level.
    Value,
    /// 0 to 23, UTC.
    Hour,
    /// 0 (Monday) to 6, UTC.
    Weekday,
    /// Days from the value to the interaction; for the interaction's own time, to the end of the training data.
    /// Never below 0.
    AgeDays,
    /// 1 when the list holds the text, else 0.
    ListItem(String),
    /// The dictionary's value under the key, missing when absent.
    DictKey(String),
}

/// The levels of an input. The last two are always "other" (rare in training, or unseen) and "missing".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Levels {
    /// Texts by falling frequency.
    Texts(Vec<Arc<str>>),
    /// Whole numbers in ascending order.
    Integers(Vec<i64>),
    /// Ascending: level `i` holds the values below cut `i` and not below cut `i - 1`.
    Cuts(Vec<f32>),
}

impl Levels {
    /// Number of levels with "other" and "missing".
    pub fn len(&self) -> usize {
        match self {
            Levels::Texts(v) => v.len() + 2,
            Levels::Integers(v) => v.len() + 2,
            Levels::Cuts(v) => v.len() + 3,
        }
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn other(&self) -> u32 {
        (self.len() - 2) as u32
    }

    pub fn missing(&self) -> u32 {
        (self.len() - 1) as u32
    }

    /// The level of a number; NaN is missing.
    pub fn of_number(&self, value: f64) -> u32 {
        if value.is_nan() {
            return self.missing();
        }
        match self {
            Levels::Cuts(cuts) => cuts.partition_point(|cut| f64::from(*cut) <= value) as u32,
            Levels::Integers(values) => {
                if value.fract() != 0.0 {
                    return self.other();
                }
                values.binary_search(&(value as i64)).map_or(self.other(), |at| at as u32)
            }
            Levels::Texts(_) => self.other(),
        }
    }
}

/// One number, one level, or both, read from a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Index into [`Encoding::fields`].
    pub field: u32,
    pub derive: Derive,
    /// What is taken off a number before it is kept: 0 unless numbers are so far from 0, beside how they vary, that 24 binary digits
    /// would not tell them apart (times in milliseconds, numbers of contracts).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: f64,
    /// For numbers: how the linear part standardises them.
    pub scale: Option<Scale>,
    pub levels: Option<Levels>,
}

fn is_zero(offset: &f64) -> bool {
    *offset == 0.0
}

impl Input {
    /// A number as it is kept; NaN is missing, as is what is beyond the range of 32 bits.
    pub fn number(&self, value: f64) -> f32 {
        let number = value - self.offset;
        if number.abs() <= f64::from(f32::MAX) { number as f32 } else { f32::NAN }
    }

    /// The level of a number; 0 without levels.
    pub fn level(&self, value: f64) -> u32 {
        let possible = !self.number(value).is_nan();
        match &self.levels {
            None => 0,
            Some(levels) if !possible => levels.missing(),
            Some(levels @ Levels::Cuts(_)) => levels.of_number(value - self.offset),
            Some(levels) => levels.of_number(value),
        }
    }
}

/// `(value - mean) / deviation`, held within ±4; a missing value is 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    pub mean: f32,
    pub deviation: f32,
}

impl Scale {
    pub fn apply(self, value: f32) -> f32 {
        if value.is_nan() { 0.0 } else { ((value - self.mean) / self.deviation).clamp(-4.0, 4.0) }
    }
}

/// What a tree may test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeInput {
    /// An input's number, NaN when missing.
    Number { input: u32 },
    /// The mean of the target where the input had this level (smoothed).
    Target { input: u32 },
    /// The mean of the target of the agent itself; the overall mean for an agent without a local model.
    Agent,
}

impl TreeInput {
    /// The input that it reads, none for the agent itself.
    pub fn input(self) -> Option<usize> {
        match self {
            TreeInput::Number { input } | TreeInput::Target { input } => Some(input as usize),
            TreeInput::Agent => None,
        }
    }

    pub fn is_target(self) -> bool {
        !matches!(self, TreeInput::Number { .. })
    }
}

/// Everything that turns raw values into what the model reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    pub fields: Vec<EncodedField>,
    pub inputs: Vec<Input>,
    pub tree_inputs: Vec<TreeInput>,
    /// Microseconds: the latest time of the training data, from which ages are counted.
    pub reference_time: Option<i64>,
}

/// One field's value after its type was checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw<'a> {
    Missing,
    Number(f64),
    Text(&'a str),
    /// Microseconds.
    Time(i64),
    List(&'a [Value]),
    Dict(&'a serde_json::Map<String, Value>),
}

/// Why a value could not be used; it is scored as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongType;

/// A JSON value as the field's type: `Missing` for null.
pub fn read_value(field_type: FieldType, value: &Value) -> Result<Raw<'_>, WrongType> {
    Ok(match (field_type, value) {
        (_, Value::Null) => Raw::Missing,
        (FieldType::Boolean, Value::Bool(flag)) => Raw::Number(f64::from(u8::from(*flag))),
        (FieldType::Boolean, Value::Number(number)) => match number.as_f64() {
            Some(v) if v == 0.0 || v == 1.0 => Raw::Number(v),
            _ => return Err(WrongType),
        },
        (FieldType::Integer, Value::Number(number)) => match number.as_f64() {
            Some(v) if v.fract() == 0.0 => Raw::Number(v),
            _ => return Err(WrongType),
        },
        (FieldType::Float, Value::Number(number)) => number.as_f64().map(Raw::Number).ok_or(WrongType)?,
        (FieldType::String, Value::String(text)) => Raw::Text(text),
        (FieldType::Timestamp, Value::String(text)) => match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => Raw::Time(time.timestamp_micros()),
            Err(_) => return Err(WrongType),
        },
        (FieldType::List, Value::Array(items)) if items.iter().all(Value::is_string) => Raw::List(items),
        (FieldType::Dict, Value::Object(map)) => Raw::Dict(map),
        _ => return Err(WrongType),
    })
}

/// The number that a time gives, as training and scoring both compute it.
pub fn derived_time(derive: &Derive, value_us: i64, interaction_us: i64) -> f32 {
    let Some(time) = Timestamp::from_timestamp_micros(value_us) else { return f32::NAN };
    match derive {
        Derive::Hour => time.hour() as f32,
        Derive::Weekday => time.weekday().num_days_from_monday() as f32,
        _ => ((interaction_us.saturating_sub(value_us)) as f64 / 86_400e6).max(0.0) as f32,
    }
}

/// An input's number and level for one interaction or agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Encoded {
    /// NaN when missing, or when the input has levels only.
    pub number: f32,
    /// 0 when the input has no levels.
    pub level: u32,
}

/// Texts to their levels. Who asks cannot add any, so that a quick hash will do.
pub type TextLevels = QuickMap<Arc<str>, u32>;

impl Encoding {
    /// One an input (empty for other levels). Built once per loaded model.
    pub fn text_index(&self) -> Vec<TextLevels> {
        self.inputs
            .iter()
            .map(|input| match &input.levels {
                Some(Levels::Texts(texts)) => {
                    texts.iter().enumerate().map(|(level, text)| (Arc::clone(text), level as u32)).collect()
                }
                _ => TextLevels::default(),
            })
            .collect()
    }

    /// True when the tree input belongs to the agent's side.
    pub fn is_agent_tree_input(&self, tree_input: TreeInput) -> bool {
        tree_input.input().is_none_or(|input| self.is_agent_input(input))
    }

    /// The agent-side inputs in order.
    pub fn agent_inputs(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.inputs.len()).filter(|input| self.is_agent_input(*input))
    }

    pub fn is_agent_input(&self, input: usize) -> bool {
        self.fields[self.inputs[input].field as usize].side == Side::Agent
    }

    /// One input of one value. `interaction_us` is the interaction's time (for ages).
    pub fn encode(&self, input: usize, texts: &TextLevels, raw: &Raw<'_>, interaction_us: i64) -> Encoded {
        let spec = &self.inputs[input];
        let missing = || Encoded { number: f32::NAN, level: spec.levels.as_ref().map_or(0, Levels::missing) };
        let number = match (&spec.derive, raw) {
            (_, Raw::Missing) => return missing(),
            (Derive::Value, Raw::Text(text)) => {
                let level = match &spec.levels {
                    Some(levels) => texts.get(*text).copied().unwrap_or_else(|| levels.other()),
                    None => 0,
                };
                return Encoded { number: f32::NAN, level };
            }
            (Derive::Value, Raw::Number(number)) => *number,
            (Derive::ListItem(item), Raw::List(items)) => {
                f64::from(u8::from(items.iter().any(|v| v.as_str() == Some(item.as_str()))))
            }
            (Derive::DictKey(key), Raw::Dict(map)) => match map.get(key) {
                Some(Value::Number(number)) => number.as_f64().unwrap_or(f64::NAN),
                Some(Value::Bool(flag)) => f64::from(u8::from(*flag)),
                _ => f64::NAN,
            },
            (Derive::Hour | Derive::Weekday, Raw::Time(at)) => {
                f64::from(derived_time(&spec.derive, *at, interaction_us))
            }
            (Derive::AgeDays, Raw::Time(at)) => {
                let own = self.fields[spec.field as usize].is_request_time;
                let until = if own { self.reference_time.unwrap_or(*at) } else { interaction_us };
                f64::from(derived_time(&spec.derive, *at, until))
            }
            _ => return missing(),
        };
        Encoded { number: spec.number(number), level: spec.level(number) }
    }
}
