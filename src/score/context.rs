//! A request's side of a score: the waiting interaction, encoded once for all agents.

use super::compiled::CompiledModel;
use super::encoding::{Encoded, Raw, Side, TreeInput, read_value};
use super::factorised::ContextTrees;
use super::request::ScoreInput;

/// Most names that one warning lists.
const NAMES_IN_WARNING: usize = 10;

/// The waiting interaction, encoded.
pub(super) struct ContextPart {
    /// Per input; what is there for agent inputs means nothing.
    pub values: Vec<Encoded>,
    /// Intercept and context-side terms.
    pub linear: f64,
    /// Per cross, the place of the coefficient that counts among an agent's.
    pub crosses: Vec<usize>,
    pub trees: ContextTrees,
    pub tree_inputs: Vec<f32>,
    /// Agent inputs that the context overrides, by slot.
    pub overrides: Vec<(usize, Encoded)>,
    pub warnings: Vec<String>,
}

impl CompiledModel {
    pub(super) fn encode_context(&self, request: &ScoreInput<'_, '_>) -> ContextPart {
        let artifact = self.artifact();
        let encoding = &artifact.encoding;
        let mut warnings = Warnings::default();
        let now = self.interaction_time(request);
        let mut values = vec![Encoded { number: f32::NAN, level: 0 }; encoding.inputs.len()];
        let mut overrides = Vec::new();
        let mut given = vec![None; encoding.fields.len()];
        for (name, value) in request.context {
            match self.fields.get(name) {
                Some(fields) => fields.iter().for_each(|field| given[*field] = Some(value)),
                None => warnings.unused(name),
            }
        }
        for ((index, field), given) in encoding.fields.iter().enumerate().zip(given) {
            let raw = match (field.side, given) {
                (Side::Agent, None) => continue,
                (_, Some(value)) => read_value(field.field_type, value).unwrap_or_else(|_| {
                    warnings.wrong_type(&field.name);
                    Raw::Missing
                }),
                (Side::Customer, None) => {
                    let known = request.customer.and_then(|fields| fields.get(&field.name));
                    known.and_then(|value| read_value(field.field_type, value).ok()).unwrap_or(Raw::Missing)
                }
                (Side::Context, None) if field.is_request_time => Raw::Time(now),
                (Side::Context, None) => Raw::Missing,
            };
            for input in &self.field_inputs[index] {
                let value = encoding.encode(*input, &self.texts[*input], &raw, now);
                if let (Raw::Text(text), Some(_)) = (&raw, given) {
                    let known = self.texts[*input].is_empty() || self.texts[*input].contains_key(*text);
                    if !known {
                        warnings.unknown_category(&field.name);
                    }
                }
                match self.agent_slots[*input] {
                    Some(slot) => overrides.push((slot, value)),
                    None => values[*input] = value,
                }
            }
        }
        self.context_part(values, overrides, warnings.into_texts())
    }

    pub(super) fn context_part(
        &self,
        values: Vec<Encoded>,
        overrides: Vec<(usize, Encoded)>,
        warnings: Vec<String>,
    ) -> ContextPart {
        let artifact = self.artifact();
        let encoding = &artifact.encoding;
        let linear = (0..encoding.inputs.len())
            .filter(|input| self.agent_slots[*input].is_none())
            .map(|input| artifact.linear.input(encoding, input, values[input].number, values[input].level))
            .sum::<f64>();
        let tree_inputs: Vec<f32> = encoding
            .tree_inputs
            .iter()
            .map(|tree_input| match tree_input {
                TreeInput::Agent => f32::NAN,
                TreeInput::Number { input } => values[*input as usize].number,
                TreeInput::Target { input } if self.agent_slots[*input as usize].is_some() => f32::NAN,
                TreeInput::Target { input } => {
                    artifact.target_means[*input as usize][values[*input as usize].level as usize]
                }
            })
            .collect();
        let trees = self.forest.context(&tree_inputs);
        let starts = artifact.linear.crosses.iter().zip(&self.cross_starts);
        let crosses = starts.map(|(cross, start)| start + values[cross.input as usize].level as usize).collect();
        ContextPart {
            values,
            linear: artifact.linear.intercept + linear,
            crosses,
            trees,
            tree_inputs,
            overrides,
            warnings,
        }
    }

    /// The request's time, unless the context gives the interaction's own.
    fn interaction_time(&self, request: &ScoreInput<'_, '_>) -> i64 {
        let own = self.artifact().encoding.fields.iter().find(|field| field.is_request_time);
        let given = own.and_then(|field| request.context.get(&field.name).map(|value| (field.field_type, value)));
        match given.map(|(field_type, value)| read_value(field_type, value)) {
            Some(Ok(Raw::Time(at))) => at,
            _ => request.now.timestamp_micros(),
        }
    }
}

/// Names by what is odd about them; bounded, and honest about what it leaves out.
#[derive(Default)]
struct Warnings {
    wrong_type: Vec<String>,
    unknown_category: Vec<String>,
    unused: (Vec<String>, usize),
}

impl Warnings {
    fn wrong_type(&mut self, name: &str) {
        self.wrong_type.push(name.to_owned());
    }

    fn unknown_category(&mut self, name: &str) {
        self.unknown_category.push(name.to_owned());
    }

    fn unused(&mut self, name: &str) {
        self.unused.1 += 1;
        if self.unused.0.len() < NAMES_IN_WARNING {
            self.unused.0.push(name.chars().take(100).collect());
        }
    }

    fn into_texts(self) -> Vec<String> {
        let mut texts = Vec::new();
        texts.extend(
            self.wrong_type
                .iter()
                .map(|name| format!("context field {name:?} has a value of the wrong type: it was scored as missing")),
        );
        texts.extend(self.unknown_category.iter().map(|name| {
            format!("context field {name:?} has a value that training did not see (or too seldom): it was scored as \"other\"")
        }));
        let (names, count) = self.unused;
        if count > 0 {
            let rest = count - names.len();
            let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            texts.push(format!("the model does not use these context fields: {}{more}", names.join(", ")));
        }
        texts
    }
}
