//! The change feed: one change stream a process, handed on to every follower.
//!
//! It resumes where it broke off, after an election or a cut, without missing or doubling. When the server has forgotten that
//! place, followers are told of a gap and load everything again.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{RawDocumentBuf, Timestamp, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType, ResumeToken};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ReadPreference;
use tokio_util::sync::CancellationToken;

use crate::store::followers::Followers;
use crate::store::{Collection, Key};
use crate::telemetry;

/// The server answers at least so often, also when nothing happens.
const ANSWER_EVERY: Duration = Duration::from_millis(500);
/// A member that is silent for longer does not answer any more.
const SILENCE: Duration = Duration::from_secs(4);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);

/// When the stream was last known to be complete. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Freshness(Arc<Mutex<Option<Instant>>>);

impl Freshness {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn lag(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|last| last.elapsed())
    }
}

/// A moment of the replica set as one growing number.
pub(super) fn moment(time: Timestamp) -> u64 {
    u64::from(time.time) << 32 | u64::from(time.increment)
}

type Events = ChangeStream<ChangeStreamEvent<RawDocumentBuf>>;

/// Follows the database from `start` on until `stop` fires.
pub(super) async fn follow(
    db: Database,
    start: Timestamp,
    followers: Followers,
    freshness: Freshness,
    stop: CancellationToken,
) {
    let mut place = Place::At(start);
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            () = stop.cancelled() => break,
            ended = follow_once(&db, &mut place, &followers, &freshness) => ended,
        };
        if is_forgotten(&ended) {
            tracing::warn!(error = %ended, "the database has forgotten where the change feed was: everything is loaded again");
            place = Place::Now;
        } else {
            tracing::info!(error = %ended, "the change feed broke off and is taken up again");
        }
        metrics::counter!(telemetry::FEED_BREAKS).increment(1);
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    }
    followers.close();
}

/// Where the stream is to go on.
enum Place {
    At(Timestamp),
    After(ResumeToken),
    /// What happened before is lost.
    Now,
}

async fn follow_once(db: &Database, place: &mut Place, followers: &Followers, freshness: &Freshness) -> Error {
    let mut stream = match open(db, place).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    if matches!(place, Place::Now) {
        // Opened first, so that nothing falls between the reload and the stream.
        followers.publish_gap();
    }
    loop {
        let event = match tokio::time::timeout(SILENCE, stream.next_if_any()).await {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => return error,
            Err(_) => return Error::custom("no answer within 4 s".to_owned()),
        };
        freshness.now();
        if let Some(event) = event {
            hand_on(event, followers);
        } else if !stream.is_alive() {
            return Error::custom("the server closed the stream".to_owned());
        }
        if let Some(token) = stream.resume_token() {
            *place = Place::After(token);
        }
    }
}

async fn open(db: &Database, place: &Place) -> Result<Events, Error> {
    let watch = db
        .watch()
        // What nobody follows is left out here: the server would compare names with patterns, for each document of each batch.
        .pipeline([
            doc! { "$project": { "operationType": 1, "ns": 1, "documentKey": 1, "clusterTime": 1, "wallTime": 1 } },
        ])
        .max_await_time(ANSWER_EVERY)
        .batch_size(1_000)
        .selection_criteria(ReadPreference::PrimaryPreferred { options: None }.into());
    let watch = match place {
        Place::At(time) => watch.start_at_operation_time(*time),
        Place::After(token) => watch.resume_after(token.clone()),
        Place::Now => watch,
    };
    let stream = watch.await?;
    Ok(stream.with_type())
}

fn hand_on(event: ChangeStreamEvent<RawDocumentBuf>, followers: &Followers) {
    let known = matches!(event.operation_type, OperationType::Insert | OperationType::Replace | OperationType::Delete);
    let name = event.ns.as_ref().and_then(|ns| ns.coll.as_deref());
    let collection = Collection::ALL.into_iter().find(|each| Some(each.name()) == name);
    let id = event.document_key.as_ref().and_then(|key| key.get_document("_id").ok());
    let key = id.and_then(|id| Some(Key::new(id.get_str("s").ok()?, id.get_str("i").ok()?)));
    let (true, Some(collection), Some(key), Some(time)) = (known, collection, key, event.cluster_time) else { return };
    if let Some(wall) = event.wall_time {
        let seconds = (now_ms() - wall.timestamp_millis()).max(0) as f64 / 1_000.0;
        metrics::histogram!(telemetry::FEED_SECONDS).record(seconds);
    }
    followers.publish(std::iter::once((collection, key, None)), moment(time));
}

#[expect(clippy::disallowed_methods, reason = "compared with the database's clock, which no test moves")]
pub(super) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The place is gone from the server's log, or the stream cannot go on there.
fn is_forgotten(error: &Error) -> bool {
    const CHANGE_STREAM_FATAL: i32 = 280;
    const CHANGE_STREAM_HISTORY_LOST: i32 = 286;
    const CAPPED_POSITION_LOST: i32 = 136;
    const INVALID_RESUME_TOKEN: i32 = 260;
    match &*error.kind {
        ErrorKind::Command(command) => matches!(
            command.code,
            CHANGE_STREAM_FATAL | CHANGE_STREAM_HISTORY_LOST | CAPPED_POSITION_LOST | INVALID_RESUME_TOKEN
        ),
        ErrorKind::MissingResumeToken => true,
        _ => false,
    }
}
