//! `/changes`: tells an open page which kinds of things have changed, so that it reads its parts again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;

use super::visit::{Failure, Visit};
use crate::http::ApiError;
use crate::store::{Collection, FeedEvent};

/// Changes that come within this time are told together.
const TOGETHER: Duration = Duration::from_millis(250);

const FOLLOWED: [Collection; 7] = [
    Collection::Jobs,
    Collection::Datasets,
    Collection::Models,
    Collection::Predictors,
    Collection::Reports,
    Collection::Agents,
    Collection::Customers,
];

fn name(collection: Collection) -> &'static str {
    match collection {
        Collection::Jobs => "jobs",
        Collection::Datasets => "datasets",
        Collection::Models => "models",
        Collection::Predictors => "predictors",
        Collection::Reports => "reports",
        Collection::Agents => "agents",
        Collection::Customers => "customers",
        _ => "",
    }
}

/// Events named `changed`, whose data are kinds separated by blanks; `all` when some changes were missed.
pub(super) async fn changes(visit: Visit) -> Result<Response, Failure> {
    let feed = visit.app.ctx.store.changes(&FOLLOWED).await.map_err(ApiError::from)?;
    let account = visit.session.account_id.clone();
    let stop = visit.app.lifecycle.stopped();
    let stream = futures::stream::unfold((feed, account), |(mut feed, account)| async move {
        let mut kinds = BTreeSet::new();
        // Begins with the first change.
        let mut end = None;
        loop {
            let next = match end {
                None => feed.next().await,
                Some(end) => match tokio::time::timeout_at(end, feed.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            let told = match next? {
                FeedEvent::Gap => kinds.insert("all"),
                FeedEvent::Changed(change) if change.key.scope == account.as_str() => {
                    kinds.insert(name(change.collection))
                }
                FeedEvent::Changed(_) => false,
            };
            if told && end.is_none() {
                end = Some(tokio::time::Instant::now() + TOGETHER);
            }
        }
        let told = kinds.into_iter().collect::<Vec<_>>().join(" ");
        Some((Ok::<_, Infallible>(Event::default().event("changed").data(told)), (feed, account)))
    });
    // An open stream must not hold a stopping server up.
    let stream = stream.take_until(async move { stop.cancelled().await });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}
