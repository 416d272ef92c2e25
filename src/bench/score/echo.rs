//! Handlers that read a score request and write an answer that is ready: what any server of this contract has to do at least. One is as lean
//! as tango (texts stay where they came), the other one is as `axum` has it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::score::body::{Format, ScoreBody};
use crate::score::DefaultPolicy;

/// What the paths of requests for them begin with.
pub const LEAN: &str = "/lean";
pub const PLAIN: &str = "/plain";

/// As [`ScoreBody`], with texts of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read")]
struct Body {
    context_id: Option<String>,
    context: Option<Map<String, Value>>,
    agents: Option<Vec<String>>,
    action_filters: Option<String>,
    top: Option<usize>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    default: DefaultPolicy,
    #[serde(default)]
    explain: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    request_id: String,
    context_id: Option<String>,
    customer_found: bool,
    mode: String,
    predictor: Name,
    model: ModelName,
    scores: Vec<Score>,
    median: f64,
    max: f64,
    min: f64,
    global: f64,
    eligible: usize,
    warnings: Vec<String>,
    took_us: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Name {
    id: String,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ModelName {
    id: String,
    version: u32,
    #[serde(rename = "type")]
    model_type: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Score {
    agent_id: String,
    score: f64,
    p_score: Option<f64>,
    source: String,
    rank: u32,
}

pub struct Echo {
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Echo {
    /// Answers every request with the same content as `answer`.
    pub async fn start(answer: &[u8]) -> anyhow::Result<Self> {
        let answer: Arc<Answer> = Arc::new(serde_json::from_slice(answer)?);
        let below = |path: &str| format!("{path}/{{*path}}");
        let router = Router::new().route(&below(LEAN), post(lean)).route(&below(PLAIN), post(plain)).with_state(answer);
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            let listener = axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true)));
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the bare handler ended");
            }
        });
        Ok(Self { address, serving })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn lean(State(answer): State<Arc<Answer>>, body: Bytes) -> Response {
    match serde_json::from_slice::<ScoreBody>(&body) {
        Ok(read) => {
            // Nothing of it may be left out for being unused.
            std::hint::black_box(&read);
            Json(answer.as_ref()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn plain(State(answer): State<Arc<Answer>>, Json(body): Json<Body>) -> Response {
    std::hint::black_box(&body);
    Json(answer.as_ref()).into_response()
}
