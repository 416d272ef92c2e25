//! `Idempotency-Key`: the same request again has its effect once and gets the same answer.
//!
//! The answer commits in the batch that has the effect, under a precondition that nobody else's
//! did: that alone makes the effect happen once, over crashes and nodes. A mark in memory beside it
//! tells a second request early that the first is still under way.
//!
//! ```ignore
//! async fn create(State(app), session: Session, mut idem: Idempotency, HashedJson(body, hash): HashedJson<New>) -> ApiResult<Response> {
//!     if let Some(saved) = idem.replay(&app, &session, &hash).await? {
//!         return Ok(saved);
//!     }
//!     let mut batch = Batch::new();
//!     // … the effect …
//!     idem.record(&mut batch, StatusCode::CREATED, &answer);
//!     app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
//!     Ok((StatusCode::CREATED, Json(answer)).into_response())
//! }
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::json::BodyHash;
use super::{ApiError, ApiResult, AppState, Session};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::store::{Batch, Collection, Comparison, Condition, Key, Path, Query, Record, StoreError, StoreExt, Stored};

/// Longest key a client may send, in characters.
const MAX_KEY_CHARACTERS: usize = 255;
/// How long an answer is kept.
pub const KEPT_HOURS: i64 = 24;
/// A request that takes longer no longer blocks its repetition.
const MARK_EXPIRES: Duration = Duration::from_secs(30);

/// A saved answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedAnswer {
    /// The account.
    pub scope: String,
    /// Hash of the key, so that any character may be in it.
    pub id: String,
    /// Method, path and body that the answer belongs to.
    pub request_hash: String,
    pub status: u16,
    pub body: String,
    pub created_at: Timestamp,
}

impl Record for SavedAnswer {
    const COLLECTION: Collection = Collection::Idempotency;
    fn key(&self) -> Key {
        Key::new(self.scope.clone(), self.id.clone())
    }
}

/// Keys whose requests are under way in this process.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<Key, Instant>>>);

impl InFlight {
    fn enter(&self, key: &Key) -> Option<Mark> {
        let mut marks = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        if marks.get(key).is_some_and(|since| now.duration_since(*since) < MARK_EXPIRES) {
            return None;
        }
        marks.insert(key.clone(), now);
        Some(Mark { all: self.clone(), key: key.clone(), since: now })
    }
}

/// Takes its key out again when the request ends, however it ends.
struct Mark {
    all: InFlight,
    key: Key,
    since: Instant,
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut marks = self.all.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // After it expired, the mark may be another request's.
        if marks.get(&self.key) == Some(&self.since) {
            marks.remove(&self.key);
        }
    }
}

/// Extractor of the optional header. Without the header every method does nothing.
pub struct Idempotency {
    key: Option<String>,
    target: String,
    pending: Option<Pending>,
}

struct Pending {
    answer: SavedAnswer,
    /// An expired answer under the same key, to be replaced.
    expired: Option<Stored<SavedAnswer>>,
    position: Option<usize>,
    _mark: Mark,
}

impl FromRequestParts<AppState> for Idempotency {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> Result<Self, ApiError> {
        let target = format!("{} {}", parts.method, parts.uri);
        let key = match parts.headers.get("idempotency-key") {
            None => None,
            Some(value) => {
                let text = value.to_str().unwrap_or_default();
                if text.is_empty() || text.chars().count() > MAX_KEY_CHARACTERS {
                    return Err(ApiError::bad_request(
                        "bad_idempotency_key",
                        format!("Idempotency-Key holds 1 to {MAX_KEY_CHARACTERS} printable ASCII characters."),
                    ));
                }
                Some(text.to_owned())
            }
        };
        Ok(Self { key, target, pending: None })
    }
}

impl Idempotency {
    /// The saved answer if this request was carried out before. Another body under the same key is
    /// a 422, a request that is still under way a 409.
    pub async fn replay(
        &mut self,
        app: &AppState,
        session: &Session,
        body_hash: &BodyHash,
    ) -> ApiResult<Option<Response>> {
        let Some(key) = &self.key else { return Ok(None) };
        let id = hex::encode(Sha256::digest(key.as_bytes()));
        let key = Key::new(session.account_id.as_str(), id);
        let request_hash = {
            let mut hash = Sha256::new();
            hash.update(self.target.as_bytes());
            hash.update(body_hash.digest());
            hex::encode(hash.finalize())
        };
        let now = app.ctx.clock.now();
        let Some(mark) = app.in_flight.enter(&key) else { return Err(in_flight()) };
        let stored = app.ctx.store.load::<SavedAnswer>(&key).await?;
        let expired = match stored {
            Some(stored) if now - stored.value.created_at < chrono::Duration::hours(KEPT_HOURS) => {
                if stored.value.request_hash != request_hash {
                    return Err(ApiError::unprocessable(
                        "idempotency_key_reused",
                        "This Idempotency-Key was used for another request. Use a new key for each request.",
                    ));
                }
                return Ok(Some(saved_response(stored.value)));
            }
            other => other,
        };
        self.pending = Some(Pending {
            answer: SavedAnswer {
                scope: key.scope,
                id: key.id,
                request_hash,
                status: 0,
                body: String::new(),
                created_at: now,
            },
            expired,
            position: None,
            _mark: mark,
        });
        Ok(None)
    }

    /// Adds the answer to the batch that has the effect.
    pub fn record<T: Serialize>(&mut self, batch: &mut Batch, status: StatusCode, answer: &T) {
        let Some(pending) = &mut self.pending else { return };
        pending.answer.status = status.as_u16();
        // Answers are our own structs with string keys: they always have a JSON form.
        pending.answer.body = serde_json::to_string(answer).expect("an answer has a JSON form");
        pending.position = Some(batch.len());
        match &pending.expired {
            Some(expired) => batch.replace(&Stored { value: pending.answer.clone(), revision: expired.revision }),
            None => batch.insert(&pending.answer),
        };
    }

    /// True when a commit failed because the same request was carried out elsewhere meanwhile:
    /// deciding again cannot help, the client repeats and gets the saved answer.
    pub fn lost(&self, error: &StoreError) -> bool {
        let position = self.pending.as_ref().and_then(|pending| pending.position);
        matches!(error, StoreError::Conflict(conflict) if Some(conflict.op) == position)
    }

    /// A failed commit as a problem: 409 `in_flight` when [`Self::lost`], else as usual.
    pub fn explain(&self, error: StoreError) -> ApiError {
        if self.lost(&error) { in_flight() } else { error.into() }
    }
}

/// Removes answers that nobody can ask for any more.
pub async fn forget_old_answers(ctx: &Context) -> Result<(), StoreError> {
    let kept_since = ctx.clock.now() - chrono::Duration::hours(KEPT_HOURS);
    let old = Condition::Compare {
        path: Path::key("created_at"),
        comparison: Comparison::Less,
        value: serde_json::json!(kept_since),
    };
    let query = Query::everywhere(Collection::Idempotency).filter(old).limit(500);
    loop {
        let (answers, next) = ctx.store.list::<SavedAnswer>(&query).await?;
        let mut batch = Batch::new();
        for answer in &answers {
            batch.delete(answer);
        }
        if batch.is_empty() {
            return Ok(());
        }
        ctx.store.commit(batch).await?;
        if next.is_none() {
            return Ok(());
        }
    }
}

fn in_flight() -> ApiError {
    ApiError::conflict(
        "in_flight",
        "A request with this Idempotency-Key is being carried out right now. Send it again in a second to get its answer.",
    )
    .retry_after(1)
}

fn saved_response(answer: SavedAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}
