//! What runs where, and how much waits: `/api/v1/cluster`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::job::Topic;
use crate::store::{Collection, Condition, Path, Query};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterBody {
    pub mode: &'static str,
    pub nodes: Vec<NodeBody>,
    pub store: Vec<StoreMemberBody>,
    pub queues: Vec<QueueBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NodeBody {
    pub name: String,
    pub version: &'static str,
    /// `starting`, `ready`, `draining` or `stopping`.
    pub state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// What its workers take.
    pub topics: Vec<Topic>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StoreMemberBody {
    pub name: String,
    /// `ok` or `unavailable`.
    pub state: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct QueueBody {
    pub topic: Topic,
    pub queued: u64,
    pub running: u64,
    /// Failed as often as they may; see `/api/v1/jobs?state=dead`.
    pub dead: u64,
}

/// Nodes, the document store's members and the queues.
#[utoipa::path(get, path = "/cluster", tag = "cluster", responses((status = 200, body = ClusterBody)))]
async fn get(State(app): State<AppState>, _session: Session) -> ApiResult<Json<ClusterBody>> {
    Ok(Json(read(&app).await?))
}

pub(super) async fn read(app: &AppState) -> ApiResult<ClusterBody> {
    let mut queues = Vec::new();
    for topic in Topic::ALL {
        let count = async |state: &str| {
            let condition =
                Condition::equal(Path::key("topic"), topic.as_str()).and(Condition::equal(Path::key("state"), state));
            app.ctx.store.count(&Query::everywhere(Collection::Jobs).filter(condition)).await
        };
        queues.push(QueueBody {
            topic,
            queued: count("queued").await?,
            running: count("running").await?,
            dead: count("dead").await?,
        });
    }
    let store_state = if app.ctx.store.ping().await.is_ok() { "ok" } else { "unavailable" };
    Ok(ClusterBody {
        mode: "single-node",
        nodes: vec![NodeBody {
            name: "local".to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            state: app.lifecycle.phase().as_str(),
            started_at: app.started_at,
            topics: app.ctx.config.worker_topics.clone(),
        }],
        store: vec![StoreMemberBody { name: "embedded".to_owned(), state: store_state }],
        queues,
    })
}
