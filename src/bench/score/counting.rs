//! What counting adds to a score: on the way of the request, and behind its back.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::bench::{Folder, cpu_seconds};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Secret};
use crate::context::Context;
use crate::domain::id::{AccountId, DatasetId, ModelId, PredictorId, RequestId};
use crate::domain::model::ModelType;
use crate::domain::predictor::{
    AgentSource, CustomerSource, Features, Goal, Metric, MetricKind, Predictor, PredictorDefinition,
};
use crate::live::{ActiveModel, LivePredictor};
use crate::objects::{ObjectStore, ObjectStoreSettings, PublicUrls};
use crate::production::{Production, ScoredRequest, Tally};
use crate::score::{AgentSet, CompiledModel, ScoreOutput};
use crate::store::sqlite::SqliteStore;

const REQUESTS: usize = 20_000;
/// Requests between two waits for the counting task, well below what may wait for it.
const PORTION: usize = 1_000;

/// Counts the same scores again and again, each with a context of its own, and prints what one costs. `score_ms` is what
/// computing them took.
pub fn run(
    model: Arc<CompiledModel>,
    scored: &ScoreOutput<'_>,
    features: Features,
    context: fn(usize) -> Map<String, Value>,
    score_ms: f64,
    out: &mut dyn Write,
) -> Result<()> {
    let folder = Folder::new("counting")?;
    let ctx = store(&folder)?;
    let request = Requests::new(&ctx, model, features);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut on_the_way, mut contexts) = (0.0, 0.0);
    let cpu = cpu_seconds();
    runtime.block_on(async {
        let production = Production::start(&ctx, CancellationToken::new());
        for portion in 0..REQUESTS / PORTION {
            let before = cpu_seconds();
            let portion: Vec<Map<String, Value>> = (0..PORTION).map(|at| context(portion * PORTION + at)).collect();
            contexts += cpu_seconds() - before;
            let started = Instant::now();
            for context in portion {
                let tally = Tally::of(scored, Some(&request.model.compiled.artifact().outcome));
                production.record(request.scored(context, tally));
            }
            on_the_way += started.elapsed().as_secs_f64();
            production.flush().await?;
        }
        anyhow::Ok(())
    })?;
    let (way, all) = (on_the_way / REQUESTS as f64, (cpu_seconds() - cpu - contexts) / REQUESTS as f64);
    writeln!(
        out,
        "  counting adds {:.1} us to a score of {} agents ({:.1} %), and {:.1} us of CPU in the background ({REQUESTS} requests)",
        way * 1e6,
        scored.eligible,
        100.0 * way * 1e3 / score_ms,
        (all - way).max(0.0) * 1e6
    )?;
    Ok(())
}

fn store(folder: &Folder) -> Result<Context> {
    let nowhere = "http://127.0.0.1:1".to_owned();
    let objects = ObjectStore::new(&ObjectStoreSettings {
        endpoint_setting: "S3_ENDPOINT",
        endpoint: nowhere.clone(),
        bucket: "none".to_owned(),
        region: "none".to_owned(),
        access_key: "none".to_owned(),
        secret_key: Secret("none".to_owned()),
        ca_file: None,
        public_urls: PublicUrls::Fixed(nowhere),
        origins: Vec::new(),
        installation: None,
    })?;
    Ok(Context {
        store: Arc::new(SqliteStore::open(&folder.0)?),
        objects: Arc::new(objects),
        config: Arc::new(Config::default()),
        clock: Arc::new(SystemClock),
        backlog: Arc::default(),
    })
}

/// What all the requests have in common.
struct Requests {
    account: AccountId,
    predictor: Arc<LivePredictor>,
    model: Arc<ActiveModel>,
    clock: SystemClock,
}

impl Requests {
    fn new(ctx: &Context, compiled: Arc<CompiledModel>, features: Features) -> Self {
        let now = ctx.clock.now();
        let account = AccountId::generate(now);
        let definition = PredictorDefinition::Simple {
            dataset_id: DatasetId::generate(now),
            from: None,
            to: None,
            metric: Metric {
                field: "won".to_owned(),
                kind: MetricKind::Classification,
                goal: Goal::Maximize,
                positive: None,
            },
            agent_source: AgentSource::Dataset,
            customer_source: CustomerSource::None,
            features,
            score_expression: None,
        };
        let predictor = Predictor {
            id: PredictorId::generate(now),
            account_id: account.clone(),
            name: "won".to_owned(),
            definition,
            rotation: Default::default(),
            created_at: now,
            updated_at: now,
        };
        let model = Arc::new(ActiveModel {
            id: ModelId::generate(now),
            version: 1,
            model_type: ModelType::Hybrid,
            artifact: Default::default(),
            share: 1.0,
            agents: AgentSet::build(&compiled, []),
            compiled,
        });
        let predictor = LivePredictor { predictor, expression: None, models: vec![Arc::clone(&model)], unusable: None };
        Self { account, predictor: Arc::new(predictor), model, clock: SystemClock }
    }

    fn scored(&self, context: Map<String, Value>, tally: Tally) -> ScoredRequest {
        let at = self.clock.now();
        ScoredRequest {
            account: self.account.clone(),
            predictor: Arc::clone(&self.predictor),
            model: Some(Arc::clone(&self.model)),
            at,
            request_id: Some(RequestId::generate(at)),
            context: Some(context),
            customer: None,
            context_id: None,
            warned: false,
            tally,
        }
    }
}
