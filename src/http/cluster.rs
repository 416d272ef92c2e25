//! What runs where, and how much waits: `/api/v1/cluster`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::job::Topic;
use crate::domain::node::Node;
use crate::store::{Collection, Condition, NODES_SCOPE, Path, Query, StoreExt};

const SILENT_AFTER: Duration = Duration::from_secs(20);

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterBody {
    /// `single-node` or `cluster`.
    pub mode: &'static str,
    pub nodes: Vec<NodeBody>,
    /// False: the document store has no majority; reading and scoring go on, nothing can be changed.
    pub writable: bool,
    /// The document store's members.
    pub store: Vec<StoreMemberBody>,
    pub queues: Vec<QueueBody>,
}

/// A process, as it last said of itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeBody {
    pub name: String,
    pub version: String,
    /// `server`, `worker` or `server and worker`.
    pub role: &'static str,
    /// `starting`, `ready`, `draining`, `stopping`; `silent` when it has said nothing for 20 s.
    pub state: String,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
    /// What its workers take.
    pub topics: Vec<Topic>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StoreMemberBody {
    /// `host:port`, or `embedded`.
    pub name: String,
    /// `primary`, `secondary`, `arbiter`, `other` (starting or recovering) or `unreachable`.
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
#[utoipa::path(get, path = "/api/v1/cluster", tag = "cluster", responses((status = 200, body = ClusterBody)))]
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
    let status = app.ctx.store.status();
    let store = status.members.into_iter();
    Ok(ClusterBody {
        mode: if app.ctx.config.mongodb_url.is_some() { "cluster" } else { "single-node" },
        nodes: nodes(app).await?,
        writable: status.writable,
        store: store.map(|member| StoreMemberBody { name: member.address, state: member.state.as_str() }).collect(),
        queues,
    })
}

/// Processes that say that they are there, servers first, by name.
async fn nodes(app: &AppState) -> ApiResult<Vec<NodeBody>> {
    let stored = app.ctx.store.list_all::<Node>(Query::new(Collection::Meta, NODES_SCOPE)).await?;
    let mut nodes: Vec<Node> = stored.into_iter().map(|stored| stored.value).collect();
    nodes.sort_by(|a, b| (!a.role.server, &a.name, &a.id).cmp(&(!b.role.server, &b.name, &b.id)));
    let silences = app.sightings.silences(&nodes, app.ctx.clock.now());
    let body = nodes.into_iter().zip(silences).map(|(node, silence)| NodeBody {
        role: node.role.as_str(),
        state: if silence > SILENT_AFTER { "silent".to_owned() } else { node.state },
        name: node.name,
        version: node.version,
        started_at: node.started_at,
        seen_at: node.seen_at,
        topics: node.topics,
    });
    Ok(body.collect())
}
