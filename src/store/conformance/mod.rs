//! What every document store must do. Each function here is a test; [`conformance_suite!`] makes
//! them tests of one backend. A method of [`Store`](super::Store) without a test here is not finished.

pub(crate) mod batches;
pub(crate) mod blobs;
pub(crate) mod conditions;
pub(crate) mod documents;
pub(crate) mod feed;
pub(crate) mod indexes;
pub(crate) mod paging;
pub(crate) mod random;
pub(crate) mod snapshot;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Batch, Collection, Condition, IndexState, Key, Op, Query, SharedStore, Store};

/// An empty store for one test, and what must live as long as it.
pub(crate) struct Fixture {
    pub store: SharedStore,
    pub _keep: Box<dyn std::any::Any + Send + Sync>,
}

impl Fixture {
    pub(crate) fn new(store: impl Store, keep: impl std::any::Any + Send + Sync) -> Self {
        Self { store: Arc::new(store), _keep: Box::new(keep) }
    }
}

/// Tests of one backend: `conformance_suite!(open)` with `async fn open() -> Option<Fixture>`, `None` where the backend
/// cannot be had.
macro_rules! conformance_suite {
    ($open:path) => {
        conformance_suite!(@tests $open,
            documents: absent_is_none, written_is_read, get_many_keeps_the_order, scopes_are_apart,
                collections_are_apart, any_text_is_a_key, numbers_come_back_as_they_were, ping_answers,
                revisions_change_and_never_repeat, bodies_must_be_objects;
            batches: insert_conflicts_with_existing, replace_needs_the_revision, delete_with_and_without_revision,
                guard_compares_a_field, a_shared_guard_is_held_by_several, a_conflict_undoes_the_whole_batch, a_batch_sees_its_own_writes,
                concurrent_replaces_let_one_win, many_writers_lose_nothing, an_empty_batch_is_fine;
            blobs: blobs_are_put_read_listed_deleted, blobs_commit_with_their_batch;
            conditions: equal_and_not_equal, ordered_comparisons, booleans_are_not_numbers, contains_elements,
                exists_means_not_null, has_text_ignores_ascii_case, boolean_operators, nested_paths,
                strange_keys_in_paths, counts_match, large_filters_work, too_large_filters_are_refused;
            paging: pages_cover_everything_once, pages_by_value_both_ways, pages_across_scopes,
                pages_are_stable_under_writes, limit_zero_and_exact_pages, foreign_cursors_are_refused;
            feed: changes_come_in_commit_order, only_followed_collections, failed_batches_are_silent,
                absent_deletes_are_silent, bodies_are_those_of_their_change;
            indexes: an_index_becomes_ready_and_is_listed, creating_again_changes_nothing, dropping_unknown_is_fine,
                bad_names_are_refused, answers_do_not_depend_on_indexes, element_indexes_follow_writes;
            random: random_conditions_agree_with_memory, random_orders_agree_with_memory;
            snapshot: sees_nothing_of_later_writes, is_whole_while_writers_go_on, pages_come_in_the_order_of_keys;
        );
    };
    (@tests $open:path, $($module:ident: $($name:ident),+;)+) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(fixture) = $open().await else { return };
                crate::store::conformance::$module::$name(&fixture.store).await;
            })+
        })+
    };
}
pub(crate) use conformance_suite;

// ---- the words of the tests ----

pub(crate) fn key(id: &str) -> Key {
    Key::new("acc", id)
}

pub(crate) fn put(collection: Collection, key: Key, body: &Value) -> Op {
    Op::Put { collection, key, body: body.to_string() }
}

pub(crate) fn batch(ops: impl IntoIterator<Item = Op>) -> Batch {
    Batch { ops: ops.into_iter().collect() }
}

/// Agents `a0`, `a1`, … of scope `acc` with these bodies.
pub(crate) async fn store_agents(store: &SharedStore, bodies: &[Value]) {
    let ops = bodies.iter().enumerate().map(|(n, body)| put(Collection::Agents, key(&format!("a{n}")), body));
    store.commit(batch(ops)).await.unwrap();
}

pub(crate) fn agents() -> Query {
    Query::new(Collection::Agents, "acc")
}

/// Ids of all documents that match, page by page.
pub(crate) async fn ids(store: &SharedStore, query: Query) -> Vec<String> {
    keys(store, query).await.into_iter().map(|key| key.id).collect()
}

pub(crate) async fn keys(store: &SharedStore, mut query: Query) -> Vec<Key> {
    let mut all = Vec::new();
    loop {
        let page = store.find(&query).await.unwrap();
        assert!(page.documents.len() <= query.limit);
        all.extend(page.documents.into_iter().map(|document| document.key));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return all,
        }
    }
}

pub(crate) async fn matching(store: &SharedStore, condition: Condition) -> Vec<String> {
    let count = store.count(&agents().filter(condition.clone())).await.unwrap();
    let found = ids(store, agents().filter(condition)).await;
    assert_eq!(count, found.len() as u64);
    found
}

/// Waits until every index of the collection is built.
pub(crate) async fn indexes_ready(store: &SharedStore, collection: Collection) {
    let started = Instant::now();
    while store.indexes(collection).await.unwrap().iter().any(|index| index.state != IndexState::Ready) {
        assert!(started.elapsed() < Duration::from_secs(30), "the index was not built within 30 s");
        tokio::task::yield_now().await;
    }
}
