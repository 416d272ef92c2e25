//! A handler that reads a score request and writes an answer that is ready: what any server of this contract has to do at least.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};

use crate::http::score::body::ScoreBody;

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
        let router = Router::new().route("/{*path}", post(echo)).with_state(answer);
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

async fn echo(State(answer): State<Arc<Answer>>, body: Bytes) -> Response {
    match serde_json::from_slice::<ScoreBody>(&body) {
        Ok(read) => {
            // Nothing of it may be left out for being unused.
            std::hint::black_box(&read);
            axum::Json(answer.as_ref()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}
