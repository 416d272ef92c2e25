//! Server-sent events for everything that changes while a person looks: `/api/v1/events`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::JobBody;
use super::{ApiResult, AppState, Session, cluster};
use crate::domain::dataset::Dataset;
use crate::domain::id::AccountId;
use crate::domain::job::Job;
use crate::domain::model::Model;
use crate::store::{Change, ChangeFeed, Collection, FeedEvent, StoreExt};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(events))
}

const FOLLOWED: [Collection; 3] = [Collection::Jobs, Collection::Datasets, Collection::Models];

/// A stream of `jobs`, `datasets`, `models` and `cluster` events, each with the changed thing as JSON;
/// `{"id", "deleted": true}` when it went. The event `reload` says that some were missed: read the lists again.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    responses((status = 200, content_type = "text/event-stream", body = String)))]
async fn events(
    State(app): State<AppState>,
    session: Session,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let feed = app.ctx.store.changes(&FOLLOWED).await?;
    let first = event("cluster", &cluster::read(&app).await?);
    // An open stream must not hold a stopping server up.
    let stop = app.lifecycle.stopped();
    let stream = futures::stream::iter([Ok(first)])
        .chain(changes(app, session.account_id, feed))
        .take_until(async move { stop.cancelled().await });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

fn changes(app: AppState, account: AccountId, feed: ChangeFeed) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold((app, account, feed), |(app, account, mut feed)| async move {
        loop {
            let next = match feed.next().await? {
                FeedEvent::Gap => Some(Event::default().event("reload").data("{}")),
                FeedEvent::Changed(change) if change.key.scope == account.as_str() => describe(&app, change).await,
                FeedEvent::Changed(_) => None,
            };
            if let Some(event) = next {
                return Some((Ok(event), (app, account, feed)));
            }
        }
    })
}

/// The changed thing as it is now. What cannot be read is left out: a later change tells it again.
async fn describe(app: &AppState, change: Change) -> Option<Event> {
    let store = &app.ctx.store;
    let gone = || json!({"id": change.key.id, "deleted": true});
    match change.collection {
        Collection::Jobs => Some(match store.load::<Job>(&change.key).await.ok()? {
            Some(stored) => event("jobs", &JobBody::from(stored.value)),
            None => event("jobs", &gone()),
        }),
        Collection::Datasets => Some(match store.load::<Dataset>(&change.key).await.ok()? {
            Some(stored) => {
                let it = stored.value;
                event(
                    "datasets",
                    &json!({"id": it.id, "name": it.name, "state": it.state, "rows": it.rows, "error": it.error}),
                )
            }
            None => event("datasets", &gone()),
        }),
        Collection::Models => Some(match store.load::<Model>(&change.key).await.ok()? {
            Some(stored) => {
                let it = stored.value;
                event(
                    "models",
                    &json!({
                        "id": it.id, "name": it.name, "predictor_id": it.predictor_id, "type": it.model_type,
                        "state": it.state, "active": it.active, "error": it.error,
                    }),
                )
            }
            None => event("models", &gone()),
        }),
        _ => None,
    }
}

fn event(name: &str, body: &impl Serialize) -> Event {
    // Our own structs with string keys: they always have a JSON form, on one line.
    let data = serde_json::to_string(body).expect("an event has a JSON form");
    Event::default().event(name).data(data)
}
