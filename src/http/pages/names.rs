//! What things are called, by their ids: for lists that refer to them.

use std::collections::HashMap;

use serde_json::Value;

use super::visit::Visit;
use crate::domain::dataset::Dataset;
use crate::domain::model::Model;
use crate::domain::predictor::Predictor;
use crate::http::ApiError;
use crate::store::{Key, Record, StoreExt as _};

pub(super) type Names = HashMap<String, String>;

/// Adds the names, or what else `name` takes, of those of these ids that are (still) there.
pub(super) async fn look_up<T: Record, Name>(
    visit: &Visit,
    ids: impl Iterator<Item = &str>,
    names: &mut HashMap<String, Name>,
    name: fn(T) -> (String, Name),
) -> Result<(), ApiError> {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key> = ids.into_iter().map(|id| Key::new(visit.session.account_id.as_str(), id)).collect();
    let found = visit.app.ctx.store.load_many::<T>(&keys).await?;
    names.extend(found.into_iter().flatten().map(|stored| name(stored.value)));
    Ok(())
}

/// Of the datasets, predictors and models that the items of these lists name by `dataset_id`, `predictor_id`, `model_id`.
pub(super) async fn of_lists(visit: &Visit, lists: &[&Value]) -> Result<Names, ApiError> {
    let mut names = Names::new();
    let ids = |member: &'static str| {
        let items = lists.iter().flat_map(|list| list["items"].as_array().into_iter().flatten());
        items.filter_map(move |item| item[member].as_str())
    };
    look_up(visit, ids("dataset_id"), &mut names, |it: Dataset| (it.id.into(), it.name)).await?;
    look_up(visit, ids("predictor_id"), &mut names, |it: Predictor| (it.id.into(), it.name)).await?;
    look_up(visit, ids("model_id"), &mut names, |it: Model| (it.id.into(), it.name)).await?;
    Ok(names)
}
