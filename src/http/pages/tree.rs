//! What stands at the side of every page: datasets, their predictors, and their models. Bounded: the newest, and always what the
//! page is about; the lists have the rest.

use std::collections::{HashMap, HashSet};

use axum::http::Uri;
use serde::Serialize;

use crate::domain::dataset::{Dataset, DatasetState};
use crate::domain::id::{DatasetId, ModelId, PredictorId};
use crate::domain::model::{Model, ModelState};
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::http::{ApiError, AppState, Session};
use crate::store::{Collection, Condition, Key, Path, Query, Record, StoreExt as _};

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

pub(super) async fn read(app: &AppState, session: &Session, uri: &Uri) -> Result<Tree, ApiError> {
    let account = session.account_id.as_str();
    let alive = Condition::Not(Box::new(Condition::Exists { path: Path::key("deleted_at") }));
    let (mut datasets, more) = newest::<Dataset>(app, account, Collection::Datasets, alive, DATASETS).await?;
    let (mut predictors, _) =
        newest::<Predictor>(app, account, Collection::Predictors, Condition::True, PREDICTORS).await?;
    let (mut models, _) = newest::<Model>(app, account, Collection::Models, Condition::True, MODELS).await?;
    let about = About::read(app, account, uri).await?;
    // Oldest last, as in the lists.
    models.extend(about.models);
    unique(&mut models, |model| model.id.as_str());
    predictors.extend(about.predictor);
    unique(&mut predictors, |predictor| predictor.id.as_str());
    datasets.extend(about.dataset);
    unique(&mut datasets, |dataset| dataset.id.as_str());
    let mut by_predictor: HashMap<String, Vec<ModelNode>> = HashMap::new();
    let here = |id: &str| uri.path().split('/').any(|part| part == id);
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

/// What the page is about, from its address, and what that belongs to.
#[derive(Default)]
struct About {
    dataset: Option<Dataset>,
    predictor: Option<Predictor>,
    /// Of the predictor.
    models: Vec<Model>,
}

impl About {
    async fn read(app: &AppState, account: &str, uri: &Uri) -> Result<Self, ApiError> {
        let mut about = Self::default();
        let parts = || uri.path().split('/');
        let mut predictor = parts().find_map(|part| PredictorId::parse(part).ok());
        if let Some(id) = parts().find_map(|part| ModelId::parse(part).ok()) {
            predictor = load::<Model>(app, account, id.as_str()).await?.map(|model| model.predictor_id);
        }
        let mut dataset = parts().find_map(|part| DatasetId::parse(part).ok());
        if let Some(id) = predictor {
            about.predictor = load::<Predictor>(app, account, id.as_str()).await?;
            let of_it = Condition::equal(Path::key("predictor_id"), id.as_str());
            about.models = newest::<Model>(app, account, Collection::Models, of_it, MODELS).await?.0;
            if let Some(PredictorDefinition::Simple { dataset_id, .. }) =
                about.predictor.as_ref().map(|it| &it.definition)
            {
                dataset = Some(dataset_id.clone());
            }
        }
        if let Some(id) = dataset {
            let alive = |dataset: &Dataset| dataset.deleted_at.is_none();
            about.dataset = load::<Dataset>(app, account, id.as_str()).await?.filter(alive);
        }
        Ok(about)
    }
}

async fn load<T: Record>(app: &AppState, account: &str, id: &str) -> Result<Option<T>, ApiError> {
    let key = Key::new(account, id);
    Ok(app.ctx.store.load::<T>(&key).await?.map(|stored| stored.value))
}

/// The first of each.
fn unique<T>(list: &mut Vec<T>, id: impl Fn(&T) -> &str) {
    let mut seen = HashSet::new();
    list.retain(|it| seen.insert(id(it).to_owned()));
}

async fn newest<T: Record>(
    app: &AppState,
    account: &str,
    collection: Collection,
    condition: Condition,
    limit: usize,
) -> Result<(Vec<T>, bool), ApiError> {
    let mut query = Query::new(collection, account).filter(condition).limit(limit);
    // Ids sort by creation time.
    query.sort.descending = true;
    let (found, next) = app.ctx.store.list::<T>(&query).await?;
    Ok((found.into_iter().map(|stored| stored.value).collect(), next.is_some()))
}
