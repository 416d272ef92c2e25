//! The table that a model learns from: the dataset's columns at one version, and profile fields joined to them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::dataset_reader::{Budget, PinnedDataset, SampledTable};
use super::segment_cache::SegmentCache;
use super::{JobError, JobRun};
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::id::AccountId;
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::{Model, ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, CustomerSource, Features, Predictor, PredictorDefinition};
use crate::domain::profile::{ProfileKind, parse_timestamp};
use crate::domain::schema::{FieldType, Role, Schema};
use crate::learn::{TrainingSpec, TrainingTable, memory};
use crate::profiles::record::StoredProfile;
use crate::profiles::{self, Profile};
use crate::store::{Collection, Key};

/// Records looked up at once.
const LOOKUP: usize = 500;

/// Entries of a profile's list or dictionary, and different ones in all of them, as memory is estimated.
const USUAL_ENTRIES: u64 = 10;
const USUAL_KEYS: usize = 30;

/// What is learned, from which predictor's data.
pub struct Subject {
    pub predictor: Predictor,
    pub features: Features,
    pub spec: TrainingSpec,
}

impl Subject {
    pub fn of_model(predictor: Predictor, model: &Model) -> Result<Self, JobError> {
        let settings = model.settings.clone();
        Self::new(predictor, model.features.as_ref(), model.model_type, settings, model.seed)
    }

    /// All the predictor's features, with default settings.
    pub fn of_predictor(predictor: Predictor, model_type: ModelType) -> Result<Self, JobError> {
        Self::new(predictor, None, model_type, ModelSettings::default(), 1)
    }

    fn new(
        predictor: Predictor,
        chosen: Option<&Features>,
        model_type: ModelType,
        settings: ModelSettings,
        seed: u64,
    ) -> Result<Self, JobError> {
        let PredictorDefinition::Simple { metric, agent_source, features, .. } = &predictor.definition else {
            return Err(JobError::Failed(
                "The predictor is a composite now, which has no models and no data of its own.".to_owned(),
            ));
        };
        let spec = TrainingSpec {
            model_type,
            settings,
            kind: metric.kind,
            goal: metric.goal,
            positive: metric.positive.clone(),
            agent_source: *agent_source,
            seed,
        };
        Ok(Self { features: chosen.unwrap_or(features).clone(), spec, predictor })
    }
}

/// What was read.
pub struct Read {
    pub table: TrainingTable,
    /// Dataset, version, rows and period, for the model's document.
    pub trained_on: Value,
    pub warnings: Vec<String>,
}

/// Reads everything that the features need.
pub async fn read(run: &JobRun, subject: &Subject) -> Result<Read, JobError> {
    let Subject { predictor, features, spec } = subject;
    let PredictorDefinition::Simple { dataset_id, from, to, metric, agent_source, customer_source, .. } =
        &predictor.definition
    else {
        return Err(JobError::Failed("A composite predictor has no data of its own.".to_owned()));
    };
    run.report(Progress { phase: "reading the dataset".to_owned(), unit: "rows".to_owned(), ..Progress::default() });
    let pinned =
        PinnedDataset::pin(&run.ctx, &SegmentCache::default(), &predictor.account_id, dataset_id, None).await?;
    let name_of = |role: Role| pinned.schema.with_role(role).map(|field| field.name.clone());
    let (agent_id, customer_id, timestamp) =
        (name_of(Role::AgentId), name_of(Role::CustomerId), name_of(Role::Timestamp));
    if pinned.schema.field(&metric.field).is_none() {
        let text = format!(
            "The metric {} is not a field of the dataset any more: change the predictor or the schema.",
            metric.field
        );
        return Err(JobError::Failed(text));
    }
    let joined = Joined::plan(features, *agent_source, *customer_source, &pinned.schema);
    let mut columns = vec![metric.field.clone()];
    columns.extend([agent_id.clone(), timestamp.clone()].into_iter().flatten());
    if !joined.customer.is_empty() {
        columns.extend(customer_id.clone());
    }
    let in_dataset = |name: &&String| pinned.schema.field(name).is_some();
    for side in [&features.context, &features.customer, &features.agent] {
        columns.extend(side.iter().filter(in_dataset).cloned());
    }
    columns.sort_unstable();
    columns.dedup();
    let limit_mb = run.ctx.config.training_memory_mb;
    let account = &predictor.account_id;
    let joined_bytes = row_bytes(run, account, ProfileKind::Agents, &joined.agent).await?
        + row_bytes(run, account, ProfileKind::Customers, &joined.customer).await?;
    let budget = Budget {
        max_bytes: limit_mb.saturating_mul(1 << 20),
        row_bytes: memory::BYTES_PER_ROW + joined_bytes,
        seed: spec.seed,
    };
    let SampledTable { mut table, rows_seen } = pinned.table(run, &columns, *from, *to, budget).await?;
    if rows_seen == 0 {
        let text = "The dataset has no rows in the predictor's period (from, to): choose another, or add rows first.";
        return Err(JobError::Failed(text.to_owned()));
    }
    let mut warnings = other_outcomes(&pinned.schema, features);
    if (table.rows as u64) < rows_seen {
        warnings.push(format!(
            "{} of {rows_seen} rows are learned from, chosen at random: all of them need more memory than \
             {limit_mb} MB (TRAINING_MEMORY_MB). Raise it, or choose a shorter period or fewer features",
            table.rows
        ));
    }
    for (kind, names, id_column, what) in [
        (ProfileKind::Agents, &joined.agent, &agent_id, "agent"),
        (ProfileKind::Customers, &joined.customer, &customer_id, "customer"),
    ] {
        if names.is_empty() {
            continue;
        }
        let Some(id_column) = id_column else {
            let text = format!(
                "{} come from the {what} profile, but no field of the dataset has the role {what}_id. Give the field with \
                 the {what}'s id that role, or leave these features out.",
                names.join(", ")
            );
            return Err(JobError::Failed(text));
        };
        run.report(Progress {
            phase: format!("joining the {what} profile"),
            unit: "rows".to_owned(),
            ..Progress::default()
        });
        let known = join(run, &Profile::new(predictor.account_id.clone(), kind), &mut table, id_column, names).await?;
        warnings.push(format!(
            "{} come from today's {what} profile, which may hold knowledge of later times (leakage)",
            names.join(", ")
        ));
        if known.found < known.ids {
            warnings.push(format!(
                "{} of {} {what}s of the dataset are not in the {what} profile: their profile features are missing",
                known.ids - known.found,
                known.ids
            ));
        }
    }
    let trained_on = json!({
        "dataset_id": dataset_id,
        "dataset_version": pinned.version.version,
        "schema_version": pinned.schema.version,
        "rows": table.rows,
        "rows_in_period": rows_seen,
        "from": from.or(pinned.version.from),
        "to": to.or(pinned.version.to),
    });
    let features = TrainingTable::feature_columns(features);
    let table = TrainingTable { table, metric: metric.field.clone(), agent_id, timestamp, features };
    Ok(Read { table, trained_on, warnings })
}

/// Features that are outcomes of the interaction themselves.
fn other_outcomes(schema: &Schema, features: &Features) -> Vec<String> {
    let names = features.context.iter().chain(&features.customer);
    let is_metric = |name: &&String| schema.field(name).is_some_and(|field| field.role == Some(Role::Metric));
    let warning = |name: &String| {
        format!(
            "{name:?} has the role metric in the dataset: it is an outcome of the interaction itself, which nobody knows while that \
             waits (leakage). Leave it out of the features, or give the field another role"
        )
    };
    names.filter(is_metric).map(warning).collect()
}

/// Features that the dataset does not have, by the profile that has them.
struct Joined {
    agent: Vec<String>,
    customer: Vec<String>,
}

impl Joined {
    fn plan(features: &Features, agent_source: AgentSource, customer_source: CustomerSource, schema: &Schema) -> Self {
        let missing = |names: &[String], wanted: bool| -> Vec<String> {
            names.iter().filter(|name| wanted && schema.field(name).is_none()).cloned().collect()
        };
        Self {
            agent: missing(&features.agent, agent_source == AgentSource::Profile),
            customer: missing(&features.customer, customer_source == CustomerSource::Profile),
        }
    }
}

/// About what columns from a profile take a row, themselves and encoded.
async fn row_bytes(run: &JobRun, account: &AccountId, kind: ProfileKind, names: &[String]) -> Result<u64, JobError> {
    if names.is_empty() {
        return Ok(0);
    }
    let schema = profiles::schema::load(&run.ctx.store, &Profile::new(account.clone(), kind)).await?.value.schema;
    let fields = names.iter().filter_map(|name| schema.field(name));
    Ok(fields
        .map(|field| {
            let own = match field.field_type {
                FieldType::Boolean | FieldType::String | FieldType::Float => 8,
                FieldType::Integer | FieldType::Timestamp => 16,
                FieldType::List | FieldType::Dict => 24 + USUAL_ENTRIES * 24,
            };
            own + memory::bytes_per_row(field.field_type, USUAL_KEYS)
        })
        .sum())
}

struct Known {
    ids: usize,
    found: usize,
}

/// Adds one column a name to the table: each row's value is its agent's or customer's.
async fn join(
    run: &JobRun,
    profile: &Profile,
    table: &mut Table,
    id_column: &str,
    names: &[String],
) -> Result<Known, JobError> {
    let schema = profiles::schema::load(&run.ctx.store, profile).await?.value.schema;
    let lost = || JobError::Failed(format!("The column {id_column} is not in the dataset any more."));
    let (ids, rows) = distinct_ids(table.column(id_column).ok_or_else(lost)?);
    let mut records: Vec<Option<Map<String, Value>>> = Vec::with_capacity(ids.len());
    for part in ids.chunks(LOOKUP) {
        if run.is_cancelled() {
            return Err(JobError::Cancelled);
        }
        let keys: Vec<Key> = part.iter().map(|id| profile.record_key(id)).collect();
        for document in run.ctx.store.get_many(Collection::of_profile(profile.kind), &keys).await? {
            // Only what is needed is kept: a profile may have many more fields.
            let fields = document.as_ref().map(StoredProfile::decode).transpose()?.map(|record| record.fields);
            records.push(fields.map(|fields| fields.into_iter().filter(|(name, _)| names.contains(name)).collect()));
        }
    }
    for name in names {
        let Some(field) = schema.field(name) else {
            let text = format!("{name} is neither in the dataset nor in the {} profile any more.", profile.noun());
            return Err(JobError::Failed(text));
        };
        let values: Vec<Option<&Value>> =
            records.iter().map(|record| record.as_ref().and_then(|fields| fields.get(name))).collect();
        table.columns.push((name.clone(), expand(field.field_type, &values, &rows)));
    }
    Ok(Known { ids: ids.len(), found: records.iter().flatten().count() })
}

/// Each id once, and for each row the position of its id (none where it is missing).
fn distinct_ids(column: &Column) -> (Vec<String>, Vec<Option<u32>>) {
    match column {
        Column::Text { codes, dictionary } => {
            let ids = dictionary.iter().map(ToString::to_string).collect();
            (ids, codes.iter().map(|code| (*code != MISSING_CODE).then_some(*code)).collect())
        }
        Column::Integer(values) => {
            let mut ids = Vec::new();
            let mut positions: HashMap<i64, u32> = HashMap::new();
            let mut position = |value: &i64| {
                *positions.entry(*value).or_insert_with(|| {
                    ids.push(value.to_string());
                    ids.len() as u32 - 1
                })
            };
            let rows = values.iter().map(|value| value.as_ref().map(&mut position)).collect();
            (ids, rows)
        }
        // Ids are texts or whole numbers: no other type is accepted for them.
        other => (Vec::new(), vec![None; other.len()]),
    }
}

/// A typed column with each row's value. A value that is not of the type is missing.
fn expand(field_type: FieldType, values: &[Option<&Value>], rows: &[Option<u32>]) -> Column {
    fn per_row<T: Clone>(rows: &[Option<u32>], typed: &[Option<T>]) -> Vec<Option<T>> {
        rows.iter().map(|row| typed[row.as_ref().copied()? as usize].clone()).collect()
    }
    fn typed<'a, T>(values: &[Option<&'a Value>], read: impl Fn(&'a Value) -> Option<T>) -> Vec<Option<T>> {
        values.iter().map(|value| value.and_then(&read)).collect()
    }
    match field_type {
        FieldType::Boolean => Column::Boolean(per_row(rows, &typed(values, Value::as_bool))),
        FieldType::Integer => Column::Integer(per_row(rows, &typed(values, Value::as_i64))),
        FieldType::Float => {
            let numbers = per_row(rows, &typed(values, Value::as_f64));
            Column::Float(numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect())
        }
        FieldType::Timestamp => {
            let read = |value: &Value| Some(parse_timestamp(value.as_str()?)?.timestamp_micros());
            Column::Timestamp(per_row(rows, &typed(values, read)))
        }
        FieldType::String => {
            let mut dictionary: Vec<Arc<str>> = Vec::new();
            let mut positions: HashMap<&str, u32> = HashMap::new();
            let mut code = |text| {
                *positions.entry(text).or_insert_with(|| {
                    dictionary.push(Arc::from(text));
                    dictionary.len() as u32 - 1
                })
            };
            let by_id: Vec<Option<u32>> =
                values.iter().map(|value| value.and_then(Value::as_str).map(&mut code)).collect();
            let codes = per_row(rows, &by_id).into_iter().map(|code| code.unwrap_or(MISSING_CODE)).collect();
            Column::Text { codes, dictionary }
        }
        FieldType::List => {
            let read = |value: &Value| -> Option<Vec<Arc<str>>> {
                Some(value.as_array()?.iter().filter_map(Value::as_str).map(Arc::from).collect())
            };
            Column::List(per_row(rows, &typed(values, read)))
        }
        FieldType::Dict => {
            let number =
                |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|flag| f64::from(u8::from(flag))));
            let read = |value: &Value| -> Option<Vec<(Arc<str>, f64)>> {
                let entries = value.as_object()?.iter();
                Some(entries.filter_map(|(key, value)| Some((Arc::from(key.as_str()), number(value)?))).collect())
            };
            Column::Dict(per_row(rows, &typed(values, read)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_gets_its_owners_value() {
        let column = Column::Integer(vec![Some(7), None, Some(3), Some(7)]);
        let (ids, rows) = distinct_ids(&column);
        assert_eq!(ids, ["7", "3"]);
        assert_eq!(rows, [Some(0), None, Some(1), Some(0)]);
        let (tier, level, skills) = (json!("gold"), json!(4), json!({"english": 5, "vip": true}));
        let Column::Text { codes, dictionary } = expand(FieldType::String, &[None, Some(&tier)], &rows) else {
            panic!()
        };
        assert_eq!((codes, dictionary.len()), (vec![MISSING_CODE, MISSING_CODE, 0, MISSING_CODE], 1));
        let Column::Integer(levels) = expand(FieldType::Integer, &[Some(&level), Some(&tier)], &rows) else { panic!() };
        assert_eq!(levels, [Some(4), None, None, Some(4)]);
        let Column::Dict(dicts) = expand(FieldType::Dict, &[Some(&skills), None], &rows) else { panic!() };
        let first = dicts[0].as_ref().unwrap();
        assert!(first.contains(&(Arc::from("english"), 5.0)) && first.contains(&(Arc::from("vip"), 1.0)));
        assert!(dicts[1].is_none() && dicts[2].is_none());
    }
}
