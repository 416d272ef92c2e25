//! What stands at the side of every page: datasets, their predictors, and their models. Bounded, newest first; the lists
//! have the rest.

use std::collections::HashMap;

use serde::Serialize;

use super::visit::Visit;
use crate::domain::dataset::{Dataset, DatasetState};
use crate::domain::model::{Model, ModelState};
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::http::ApiError;
use crate::store::{Collection, Condition, Path, Query, Record, StoreExt as _};

const DATASETS: usize = 15;
const PREDICTORS: usize = 60;
const MODELS: usize = 150;

#[derive(Debug, Serialize)]
pub(super) struct Tree {
    datasets: Vec<DatasetNode>,
    /// Predictors that combine others.
    composites: Vec<PredictorNode>,
    /// There are more datasets.
    more: bool,
}

#[derive(Debug, Serialize)]
struct DatasetNode {
    id: String,
    name: String,
    tone: &'static str,
    /// The page is about it, or about something below.
    open: bool,
    here: bool,
    predictors: Vec<PredictorNode>,
}

#[derive(Debug, Serialize)]
struct PredictorNode {
    id: String,
    name: String,
    here: bool,
    models: Vec<ModelNode>,
}

#[derive(Debug, Serialize)]
struct ModelNode {
    id: String,
    name: String,
    tone: &'static str,
    here: bool,
}

pub(super) async fn read(visit: &Visit) -> Result<Tree, ApiError> {
    let alive = Condition::Not(Box::new(Condition::Exists { path: Path::key("deleted_at") }));
    let (mut datasets, more) = newest::<Dataset>(visit, Collection::Datasets, alive, DATASETS).await?;
    let (predictors, _) = newest::<Predictor>(visit, Collection::Predictors, Condition::True, PREDICTORS).await?;
    let (models, _) = newest::<Model>(visit, Collection::Models, Condition::True, MODELS).await?;
    let mut by_predictor: HashMap<String, Vec<ModelNode>> = HashMap::new();
    let here = |id: &str| visit.uri.path().split('/').any(|part| part == id);
    for model in models.into_iter().rev() {
        let tone = match model.state {
            ModelState::Draft => "",
            ModelState::Queued | ModelState::Training => "wait",
            ModelState::Trained if model.active => "good",
            ModelState::Trained => "",
            ModelState::Failed => "bad",
        };
        let node = ModelNode { here: here(model.id.as_str()), id: model.id.into(), name: model.name, tone };
        by_predictor.entry(model.predictor_id.into()).or_default().push(node);
    }
    let mut by_dataset: HashMap<String, Vec<PredictorNode>> = HashMap::new();
    let mut composites = Vec::new();
    for predictor in predictors.into_iter().rev() {
        let models = by_predictor.remove(predictor.id.as_str()).unwrap_or_default();
        let node =
            PredictorNode { here: here(predictor.id.as_str()), id: predictor.id.into(), name: predictor.name, models };
        match predictor.definition {
            PredictorDefinition::Simple { dataset_id, .. } => {
                by_dataset.entry(dataset_id.into()).or_default().push(node);
            }
            PredictorDefinition::Composite { .. } => composites.push(node),
        }
    }
    datasets.sort_by(|a, b| a.name.cmp(&b.name));
    let datasets = datasets.into_iter().map(|dataset| {
        let tone = match dataset.state {
            DatasetState::Discovering | DatasetState::AwaitingSchema => "wait",
            DatasetState::Ready => "",
            DatasetState::Failed => "bad",
        };
        let predictors = by_dataset.remove(dataset.id.as_str()).unwrap_or_default();
        let below = predictors.iter().any(|it| it.here || it.models.iter().any(|model| model.here));
        let this = here(dataset.id.as_str());
        DatasetNode { id: dataset.id.into(), name: dataset.name, tone, open: this || below, here: this, predictors }
    });
    Ok(Tree { datasets: datasets.collect(), composites, more })
}

async fn newest<T: Record>(
    visit: &Visit,
    collection: Collection,
    condition: Condition,
    limit: usize,
) -> Result<(Vec<T>, bool), ApiError> {
    let mut query = Query::new(collection, visit.session.account_id.as_str()).filter(condition).limit(limit);
    // Ids sort by creation time.
    query.sort.descending = true;
    let (found, next) = visit.app.ctx.store.list::<T>(&query).await?;
    Ok((found.into_iter().map(|stored| stored.value).collect(), next.is_some()))
}
