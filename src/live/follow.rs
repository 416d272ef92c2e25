//! The one task that turns changes in the store into the next view.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agents::{Agent, AgentChange};
use super::view::{AccountView, ActiveModel, LivePredictor};
use super::{Live, artifacts};
use crate::background::{self, Pauses};
use crate::domain::id::{AccountId, ModelId, PredictorId};
use crate::domain::model::Model;
use crate::domain::predictor::Predictor;
use crate::domain::profile::{ProfileKind, ProfileSchema};
use crate::domain::schema::Schema;
use crate::score::CompiledModel;
use crate::store::{
    ChangeFeed, Collection, Condition, Document, FeedEvent, Key, Path, Query, SharedStore, StoreError, StoreExt, Stored,
};

const FOLLOWED: [Collection; 5] =
    [Collection::Agents, Collection::Customers, Collection::Schemas, Collection::Predictors, Collection::Models];
/// Changes that are applied together at most: enough to keep up with a flood, few enough to be seen soon.
const BATCH: usize = 10_000;
/// After its work the follower rests for so many times as long as that took, so that it never needs more than a tenth of a core and
/// a flood of changes is applied in few, large steps …
const REST: u32 = 9;
/// … but not longer than this: changes are to be seen within 250 ms.
const LONGEST_REST: Duration = Duration::from_millis(60);
/// Changed agents that are applied without a pause where somebody scores.
const AT_ONCE: usize = 8;
/// Agents read at once.
const PAGE: usize = 1_000;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The agent schema before anything was posted: the mandatory fields.
pub(super) fn first_agent_schema() -> Schema {
    Schema { version: 1, accepted: false, fields: ProfileKind::Agents.mandatory_fields() }
}

/// The account whose agent schema is stored under the key.
fn agent_schema_owner(key: &Key) -> Option<AccountId> {
    if key.id == ProfileKind::Agents.as_str() { AccountId::parse(&key.scope).ok() } else { None }
}

/// Follows the feed until `stop` fires; returns when everything is loaded.
pub(super) async fn start(live: Arc<Live>, store: SharedStore, stop: CancellationToken) -> anyhow::Result<()> {
    // Opened before the load, so that no change falls between the two.
    let feed = store.changes(&FOLLOWED).await?;
    let (built, builds) = mpsc::unbounded_channel();
    let mut follower = Follower::new(live, store, built);
    follower.reload(true).await?;
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follower.follow(feed, builds) => {}
        }
    });
    Ok(())
}

/// A compiled model, or why there is none.
struct Build {
    account: AccountId,
    predictor: PredictorId,
    model: ModelId,
    version: u32,
    result: anyhow::Result<Arc<CompiledModel>>,
}

struct Follower {
    live: Arc<Live>,
    store: SharedStore,
    /// Models that are active, by id and version.
    compiled: HashMap<(ModelId, u32), Arc<CompiledModel>>,
    building: BTreeSet<(ModelId, u32)>,
    /// Why a version could not be compiled when it was tried last.
    failed: HashMap<(ModelId, u32), String>,
    built: mpsc::UnboundedSender<Build>,
    /// Everything was loaded since the feed was looked at.
    loaded_anew: bool,
    /// The next so many changes waited in the feed when everything was loaded: their bodies may be older than that.
    older: usize,
}

/// What changed, without repetition.
#[derive(Default)]
struct Changes {
    gap: bool,
    /// With the last body that the feed has sent, unless it has to be read.
    agents: HashMap<Key, Option<Arc<str>>>,
    schemas: BTreeSet<Key>,
    predictors: BTreeSet<Key>,
    models: BTreeSet<Key>,
}

impl Follower {
    fn new(live: Arc<Live>, store: SharedStore, built: mpsc::UnboundedSender<Build>) -> Self {
        let (compiled, building, failed) = Default::default();
        Self { live, store, compiled, building, failed, built, loaded_anew: false, older: 0 }
    }

    async fn follow(mut self, mut feed: ChangeFeed, mut builds: mpsc::UnboundedReceiver<Build>) {
        loop {
            self.look_after_load(&feed);
            let started;
            let result = tokio::select! {
                event = feed.next() => {
                    let Some(event) = event else { return };
                    started = Instant::now();
                    let changes = self.collect(event, &mut feed);
                    self.apply(changes).await
                }
                Some(build) = builds.recv() => {
                    started = Instant::now();
                    self.finish(build).await
                }
            };
            if let Err(error) = result {
                tracing::warn!(error = format!("{error:#}"), "following the store failed; everything is loaded again");
                self.reload_until_it_works().await;
            }
            tokio::time::sleep((started.elapsed() * REST).min(LONGEST_REST)).await;
        }
    }

    fn look_after_load(&mut self, feed: &ChangeFeed) {
        if std::mem::take(&mut self.loaded_anew) {
            self.older = feed.0.len();
        }
    }

    async fn reload_until_it_works(&mut self) {
        while let Err(error) = self.reload(false).await {
            tracing::warn!(error = format!("{error:#}"), "loading failed; the node goes on with what it has");
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }

    /// This event and those that wait behind it. Customers are evicted at once.
    fn collect(&mut self, first: FeedEvent, feed: &mut ChangeFeed) -> Changes {
        let mut changes = Changes::default();
        let mut next = Some(first);
        let mut taken = 1;
        while let Some(event) = next {
            let is_older = self.older > 0;
            self.older = self.older.saturating_sub(1);
            match event {
                FeedEvent::Gap => changes.gap = true,
                FeedEvent::Changed(change) => match change.collection {
                    Collection::Customers => self.live.customers.evict(&change.key),
                    Collection::Agents => {
                        let body = change.body.filter(|_| !is_older);
                        changes.agents.insert(change.key, body);
                    }
                    Collection::Schemas => drop(changes.schemas.insert(change.key)),
                    Collection::Predictors => drop(changes.predictors.insert(change.key)),
                    Collection::Models => drop(changes.models.insert(change.key)),
                    _ => {}
                },
            }
            taken += 1;
            next = if taken <= BATCH { feed.0.try_recv().ok() } else { None };
        }
        changes
    }

    async fn apply(&mut self, changes: Changes) -> anyhow::Result<()> {
        if changes.gap {
            metrics::counter!(crate::telemetry::LIVE_RELOADS).increment(1);
            tracing::info!("changes may have been missed: everything is loaded again");
            self.live.customers.evict_all();
            return self.reload(false).await;
        }
        for account in changes.schemas.iter().filter_map(agent_schema_owner) {
            let schema = self.agent_schema(&account).await?;
            self.live.swap_account(&account, self.view(&account).with_schema(schema));
        }
        self.apply_agents(changes.agents).await?;
        let mut touched: BTreeSet<(AccountId, PredictorId)> = BTreeSet::new();
        for key in &changes.predictors {
            touched.extend(AccountId::parse(&key.scope).ok().zip(PredictorId::parse(&key.id).ok()));
        }
        for key in &changes.models {
            let Ok(account) = AccountId::parse(&key.scope) else { continue };
            // The predictor that has it in memory, and the one that the document names (of a new model).
            let owner = self.view(&account).owner_of(&key.id).cloned();
            let stored = self.store.load::<Model>(key).await?.map(|model| model.value.predictor_id);
            touched.extend(owner.into_iter().chain(stored).map(|predictor| (account.clone(), predictor)));
        }
        for (account, predictor) in touched {
            self.reload_predictor(&account, &predictor).await?;
        }
        Ok(())
    }

    async fn apply_agents(&self, agents: HashMap<Key, Option<Arc<str>>>) -> anyhow::Result<()> {
        let mut unknown = Vec::new();
        let mut by_account: HashMap<String, Vec<AgentChange>> = HashMap::new();
        for (key, body) in agents {
            match body {
                Some(body) => by_account.entry(key.scope).or_default().push((key.id, Some(Agent::new(body)))),
                None => unknown.push(key),
            }
        }
        let documents = self.store.get_many(Collection::Agents, &unknown).await?;
        for (key, document) in unknown.into_iter().zip(documents) {
            let agent = document.map(|document| Agent::new(document.body));
            by_account.entry(key.scope).or_default().push((key.id, agent));
        }
        for (account, changes) in by_account {
            let Ok(account) = AccountId::parse(&account) else { continue };
            let view = self.view(&account);
            let apply = move || {
                let (mut next, mut pauses) = (AccountView::clone(&view), Pauses::begin());
                let at_once = if next.predictors().next().is_some() { AT_ONCE } else { BATCH };
                for some in changes.chunks(at_once) {
                    next = next.with_agents(some);
                    pauses.now_and_then();
                }
                next
            };
            self.live.swap_account(&account, background::run(apply).await?);
        }
        Ok(())
    }

    /// Reads the predictor and its active models again. Models that are not in memory yet are compiled
    /// aside, and this runs once more when they are there; until then the others answer.
    async fn reload_predictor(&mut self, account: &AccountId, id: &PredictorId) -> anyhow::Result<()> {
        let view = self.view(account);
        let key = Key::new(account.as_str(), id.as_str());
        let Some(predictor) = self.store.load::<Predictor>(&key).await? else {
            self.live.swap_account(account, view.without_predictor(id));
            self.forget_unused();
            return Ok(());
        };
        let mut models = Vec::new();
        let (mut waiting, mut unusable) = (false, None);
        for stored in self.active_models(account, id).await? {
            let model = stored.value;
            unusable = unusable.or_else(|| self.why_not(&model));
            match self.compiled.get(&(model.id.clone(), model.version)) {
                Some(compiled) => models.push(activate(&view, id, &model, compiled, false).await?),
                None => waiting |= self.build(account, model),
            }
        }
        if waiting && models.is_empty() {
            // What answered until now goes on until its successor is ready.
            models = view.predictor_by_id(id).map(|live| live.models.clone()).unwrap_or_default();
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        self.live.swap_account(account, view.with_predictor(LivePredictor::new(predictor.value, models, unusable)));
        self.forget_unused();
        Ok(())
    }

    async fn active_models(&self, account: &AccountId, id: &PredictorId) -> Result<Vec<Stored<Model>>, StoreError> {
        let query = Query::new(Collection::Models, account.as_str())
            .filter(Condition::equal(Path::key("predictor_id"), id.as_str()))
            .filter(Condition::equal(Path::key("active"), true));
        self.store.list_all::<Model>(query).await
    }

    /// Why this version could not be compiled.
    fn why_not(&self, model: &Model) -> Option<String> {
        let why = self.failed.get(&(model.id.clone(), model.version))?;
        Some(format!("its active model {} (version {}) cannot be used: {why}", model.name, model.version))
    }

    /// Starts to compile; true when a result is to come.
    fn build(&mut self, account: &AccountId, model: Model) -> bool {
        if !self.building.insert((model.id.clone(), model.version)) {
            return true;
        }
        let (store, built, account) = (self.store.clone(), self.built.clone(), account.clone());
        tokio::spawn(async move {
            let result = artifacts::compile(&store, &model).await;
            let (predictor, version) = (model.predictor_id, model.version);
            // The follower is gone when the process stops: nobody needs the result then.
            let _ = built.send(Build { account, predictor, model: model.id, version, result });
        });
        true
    }

    async fn finish(&mut self, build: Build) -> anyhow::Result<()> {
        let key = (build.model, build.version);
        self.building.remove(&key);
        match build.result {
            Ok(compiled) => {
                self.failed.remove(&key);
                self.compiled.insert(key, compiled);
                self.reload_predictor(&build.account, &build.predictor).await
            }
            Err(error) => {
                tracing::error!(model = %key.0, error = format!("{error:#}"), "an active model cannot be used; the node goes on with what it has");
                self.failed.insert(key, format!("{error:#}"));
                let active = self.active_models(&build.account, &build.predictor).await?;
                let unusable = active.iter().find_map(|stored| self.why_not(&stored.value));
                let view = self.view(&build.account);
                if let Some(live) = view.predictor_by_id(&build.predictor) {
                    let live = LivePredictor { unusable, ..LivePredictor::clone(live) };
                    self.live.swap_account(&build.account, view.with_predictor(live));
                }
                Ok(())
            }
        }
    }

    /// Drops compiled models that answer nowhere any more.
    fn forget_unused(&mut self) {
        let views = self.live.views.load();
        let used: BTreeSet<(ModelId, u32)> = views
            .values()
            .flat_map(|view| view.predictors().flat_map(|p| p.models.iter().map(|m| (m.id.clone(), m.version))))
            .collect();
        self.compiled.retain(|key, _| used.contains(key) || self.building.contains(key));
    }

    async fn agent_schema(&self, account: &AccountId) -> Result<Schema, StoreError> {
        let key = Key::new(account.as_str(), ProfileKind::Agents.as_str());
        let stored = self.store.load::<ProfileSchema>(&key).await?;
        Ok(stored.map_or_else(first_agent_schema, |stored| stored.value.schema))
    }

    fn view(&self, account: &AccountId) -> Arc<AccountView> {
        self.live.account(account)
    }

    /// Loads all accounts anew. At start it waits for the models; later, models that are known already are
    /// used again and new ones follow when they are compiled.
    async fn reload(&mut self, wait_for_models: bool) -> anyhow::Result<()> {
        let mut views: HashMap<AccountId, AccountView> = HashMap::new();
        let mut query = Query::everywhere(Collection::Agents).limit(PAGE);
        loop {
            let page = self.store.find(&query).await?;
            let mut changes: HashMap<AccountId, Vec<AgentChange>> = HashMap::new();
            for Document { key, body, .. } in page.documents {
                let Ok(account) = AccountId::parse(&key.scope) else { continue };
                changes.entry(account).or_default().push((key.id, Some(Agent::new(body))));
            }
            for (account, changes) in changes {
                let view = views.entry(account).or_insert_with(|| AccountView::clone(&self.live.nothing));
                *view = view.with_agents(&changes);
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let mut predictors = self.store.list_all::<Predictor>(Query::everywhere(Collection::Predictors)).await?;
        for stored in &predictors {
            let account = stored.value.account_id.clone();
            views.entry(account).or_insert_with(|| AccountView::clone(&self.live.nothing));
        }
        for (account, view) in &mut views {
            view.agent_schema = Arc::new(self.agent_schema(account).await?);
        }
        let active = Query::everywhere(Collection::Models).filter(Condition::equal(Path::key("active"), true));
        let models = self.store.list_all::<Model>(active).await?;
        if wait_for_models {
            self.compile_all(&models).await;
        }
        for stored in predictors.drain(..) {
            let predictor = stored.value;
            let Some(view) = views.get_mut(&predictor.account_id) else { continue };
            let (mut ready, mut missing, mut unusable) = (Vec::new(), Vec::new(), None);
            for model in models.iter().map(|model| &model.value).filter(|model| model.predictor_id == predictor.id) {
                match self.compiled.get(&(model.id.clone(), model.version)) {
                    Some(compiled) => {
                        ready.push(activate(view, &predictor.id, model, compiled, wait_for_models).await?)
                    }
                    None if !wait_for_models => missing.push(model.clone()),
                    None => unusable = self.why_not(model),
                }
            }
            for model in missing {
                self.build(&predictor.account_id, model);
            }
            ready.sort_by(|a, b| a.id.cmp(&b.id));
            *view = view.with_predictor(LivePredictor::new(predictor, ready, unusable));
        }
        self.live.swap(views.into_iter().map(|(account, view)| (account, Arc::new(view))).collect());
        self.loaded_anew = true;
        self.forget_unused();
        Ok(())
    }

    /// A damaged artifact keeps its predictor from answering, not the node from starting.
    async fn compile_all(&mut self, models: &[Stored<Model>]) {
        for model in models.iter().map(|stored| &stored.value) {
            match artifacts::compile(&self.store, model).await {
                Ok(compiled) => {
                    self.compiled.insert((model.id.clone(), model.version), compiled);
                }
                Err(error) => {
                    tracing::error!(model = %model.id, error = format!("{error:#}"), "an active model cannot be used");
                    self.failed.insert((model.id.clone(), model.version), format!("{error:#}"));
                }
            }
        }
    }
}

/// Encodes the agents for a model, unless they are already: at once where `nobody_scores` yet, else so that scores are not held up.
async fn activate(
    view: &AccountView,
    id: &PredictorId,
    model: &Model,
    compiled: &Arc<CompiledModel>,
    nobody_scores: bool,
) -> anyhow::Result<Arc<ActiveModel>> {
    let share = model.share.filter(|share| *share > 0.0).unwrap_or(1.0);
    let before =
        view.predictor_by_id(id).and_then(|live| live.models.iter().find(|m| Arc::ptr_eq(&m.compiled, compiled)));
    let agents = match before {
        Some(before) => before.agents.clone(),
        None if nobody_scores => view.encode_agents(compiled, || ()),
        None => {
            let (view, compiled) = (view.clone(), Arc::clone(compiled));
            let mut pauses = Pauses::begin();
            background::run(move || view.encode_agents(&compiled, || pauses.now_and_then())).await?
        }
    };
    Ok(Arc::new(ActiveModel {
        id: model.id.clone(),
        version: model.version,
        model_type: model.model_type,
        // It was read by this, so it is there.
        artifact: model.artifact.clone().unwrap_or_default(),
        share,
        compiled: Arc::clone(compiled),
        agents,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Batch, Change, Op};

    #[tokio::test]
    async fn a_sent_body_is_used_unless_it_may_be_older_than_what_was_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore = Arc::new(SqliteStore::open(folder.path()).unwrap());
        let account = AccountId::parse("acc_1").unwrap();
        let body = |site: &str| json!({"fields": {"site": site}}).to_string();
        let key = Key::new(account.as_str(), "ann");
        let mut batch = Batch::new();
        batch.push(Op::Put { collection: Collection::Agents, key: key.clone(), body: body("stored") });
        store.commit(batch).await.unwrap();

        let live = Arc::new(Live::new(store.clone(), 50));
        let mut follower = Follower::new(live.clone(), store, mpsc::unbounded_channel().0);
        let (sender, receiver) = mpsc::channel(10);
        let mut feed = ChangeFeed(receiver);
        let send = |body: Option<String>| {
            let change = Change { collection: Collection::Agents, key: key.clone(), body: body.map(Arc::from) };
            sender.try_send(FeedEvent::Changed(change)).unwrap();
        };
        let site = || live.account(&account).agents.get("ann").unwrap().fields()["site"].clone();
        let mut next = async |follower: &mut Follower| {
            follower.look_after_load(&feed);
            let event = feed.next().await.unwrap();
            let changes = follower.collect(event, &mut feed);
            follower.apply(changes).await.unwrap();
        };
        follower.reload(true).await.unwrap();
        // Committed before the load and published after it.
        send(Some(body("before")));
        next(&mut follower).await;
        assert_eq!(site(), "stored");
        send(Some(body("sent")));
        next(&mut follower).await;
        assert_eq!(site(), "sent");
        // Of several the last counts; what is not sent is read.
        send(Some(body("sent again")));
        send(None);
        next(&mut follower).await;
        assert_eq!(site(), "stored");
        follower.reload(false).await.unwrap();
        send(Some(body("before")));
        sender.try_send(FeedEvent::Gap).unwrap();
        next(&mut follower).await;
        assert_eq!(site(), "stored");
    }
}
