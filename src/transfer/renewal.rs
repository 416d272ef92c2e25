//! What becomes of a document when it is restored: most stay as they are; what belongs to the moment of the copy, or to the installation
//! that made it, does not.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use super::dump::Item;
use super::references::References;
use super::{Result, TransferError};
use crate::auth::{self, Seal};
use crate::domain::Timestamp;
use crate::domain::account::{Account, User};
use crate::domain::id::AccountId;
use crate::domain::job::Job;
use crate::domain::upload::{Upload, UploadState};
use crate::store::{Collection, Document};

/// More claims than any job has seen. A worker that still runs a job of the replaced store holds a lower fence, and changes nothing.
const BEYOND_EVERY_FENCE: u64 = 1 << 32;

/// How API keys are taken over.
#[derive(Clone)]
pub struct ApiKeys {
    /// The secret of the installation that made the copy.
    pub from: Seal,
    pub to: Seal,
    /// Make new ones instead.
    pub make_new: bool,
}

impl ApiKeys {
    /// Refuses an account whose key cannot be read.
    pub fn check(&self, item: &Item, path: &Path) -> Result<()> {
        let Item::Document(document) = item else { return Ok(()) };
        let account: Account = serde_json::from_str(&document.body)
            .map_err(|error| TransferError::damaged(path, format!("an account cannot be read: {error}")))?;
        if !self.make_new && auth::api_key_of(&self.from, &account).is_err() {
            return Err(TransferError::OtherSecret);
        }
        Ok(())
    }

    fn sealed(&self, account: &Account) -> Result<String> {
        let api_key = if self.make_new {
            auth::new_api_key()
        } else {
            auth::api_key_of(&self.from, account).map_err(|_| TransferError::OtherSecret)?
        };
        Ok(auth::seal_api_key(&self.to, &account.id, &api_key))
    }
}

/// Changes documents on their way into a store.
pub struct Renewal {
    now: Timestamp,
    api_keys: ApiKeys,
    /// Keys of the objects that the copy has, or should have.
    objects: HashSet<String>,
}

impl Renewal {
    pub fn new(now: Timestamp, api_keys: ApiKeys, references: &References) -> Self {
        Self { now, api_keys, objects: references.objects().into_keys().collect() }
    }

    /// The document to store; `None` when it has no place in a restored store.
    pub fn item(&self, collection: Collection, item: Item) -> Result<Option<Item>> {
        let Item::Document(document) = item else { return Ok(Some(item)) };
        if !is_restored(collection, &document) {
            return Ok(None);
        }
        let changed = match collection {
            Collection::Accounts => change(document, |body, account: Account| {
                body["sealed_api_key"] = json!(self.api_keys.sealed(&account)?);
                Ok(())
            }),
            // Every token has ended with its signing key; this ends it once more, on a node that could not read the keys again.
            Collection::Users => change(document, |body, user: User| {
                body["epoch"] = json!(user.epoch + 1);
                Ok(())
            }),
            Collection::Uploads => change(document, |body, upload: Upload| {
                let end = match upload.state {
                    // Its parts are in another object store, or not any more.
                    UploadState::Receiving => "expired",
                    UploadState::Completed if !self.objects.contains(&upload.object_key) => "purged",
                    _ => return Ok(()),
                };
                body["state"] = json!(end);
                body["updated_at"] = json!(self.now);
                Ok(())
            }),
            Collection::Jobs => change(document, |body, job: Job| {
                body["fence"] = json!(job.fence + BEYOND_EVERY_FENCE);
                if !job.state.is_final() {
                    // Its effects commit with its success: none of them is in the copy, and it runs again.
                    body["state"] = json!("queued");
                    body["worker"] = Value::Null;
                }
                Ok(())
            }),
            _ => Ok(document),
        };
        changed.map(|document| Some(Item::Document(document)))
    }
}

/// Members that this program does not know stay as they are.
fn change<T: serde::de::DeserializeOwned>(
    document: Document,
    edit: impl FnOnce(&mut Value, T) -> Result<()>,
) -> Result<Document> {
    let unreadable = |error: serde_json::Error| TransferError::Internal(error.into());
    let typed = serde_json::from_str(&document.body).map_err(unreadable)?;
    let mut body: Value = serde_json::from_str(&document.body).map_err(unreadable)?;
    edit(&mut body, typed)?;
    Ok(Document { body: body.to_string(), ..document })
}

/// Signing keys, and what describes an installation itself (its schema, its nodes, tokens that ended), is never taken from a copy and never
/// replaced by one. What `meta` holds for an account is.
pub fn is_restored(collection: Collection, document: &Document) -> bool {
    match collection {
        Collection::SigningKeys => false,
        Collection::Meta => AccountId::parse(&document.key.scope).is_ok(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{JobId, UploadId, UserId};
    use crate::store::Key;

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_767_225_600, 0).unwrap()
    }

    fn renewal(make_new: bool) -> Renewal {
        let api_keys = ApiKeys { from: Seal::from_secret("theirs"), to: Seal::from_secret("ours"), make_new };
        Renewal { now: now(), api_keys, objects: HashSet::from(["raw/kept".to_owned()]) }
    }

    fn renewed(renewal: &Renewal, collection: Collection, body: &Value) -> Value {
        let document = Document { key: Key::new("", "id"), revision: 1, body: body.to_string() };
        match renewal.item(collection, Item::Document(document)).unwrap().unwrap() {
            Item::Document(document) => serde_json::from_str(&document.body).unwrap(),
            Item::Blob(..) => panic!("a document became a blob"),
        }
    }

    fn job(state: &str) -> Value {
        json!({
            "id": JobId::generate(now()), "account_id": AccountId::generate(now()), "topic": "analysis", "kind": "k", "payload": {},
            "state": state, "attempt": 2, "max_attempts": 5, "failures": 1, "fence": 2, "heartbeat": 9, "lease_ms": 10_000,
            "worker": "w", "cancel_requested": false, "not_before": null,
            "progress": {"done": 1, "total": null, "unit": "rows", "phase": "p"}, "error": null, "result": null,
            "created_at": now(), "updated_at": now(), "of_a_newer_program": {"a": 0.1},
        })
    }

    #[test]
    fn jobs_under_way_are_queued_and_no_old_worker_holds_their_fence() {
        let running = renewed(&renewal(false), Collection::Jobs, &job("running"));
        assert_eq!((&running["state"], &running["worker"]), (&json!("queued"), &Value::Null));
        assert_eq!(running["of_a_newer_program"], json!({"a": 0.1}), "what is not known stays");
        for state in ["queued", "succeeded", "failed", "cancelled", "dead"] {
            let after = renewed(&renewal(false), Collection::Jobs, &job(state));
            assert_eq!(after["state"], state);
            assert_eq!((&after["attempt"], &after["failures"]), (&json!(2), &json!(1)));
            assert!(after["fence"].as_u64().unwrap() > 1_000_000, "{after}");
        }
    }

    #[test]
    fn uploads_in_flight_expire_and_files_that_were_left_out_are_purged() {
        let upload = |state: &str, key: &str| {
            json!({
                "id": UploadId::generate(now()), "account_id": AccountId::generate(now()), "target": "dataset", "mode": "create",
                "dataset_id": null, "name": "n", "filename": "f", "size_bytes": 1, "format": {}, "id_field": null, "recount": "full",
                "accept_schema": true, "object_key": key, "multipart_id": "m", "part_size_bytes": 1, "part_sha256": [],
                "state": state, "job_id": null, "expires_at": now(), "created_at": "2020-01-01T00:00:00Z",
                "updated_at": "2020-01-01T00:00:00Z",
            })
        };
        for (state, key, expected, changed) in [
            ("receiving", "raw/new", "expired", true),
            ("completed", "raw/gone", "purged", true),
            ("completed", "raw/kept", "completed", false),
            ("aborted", "raw/gone", "aborted", false),
        ] {
            let before = upload(state, key);
            let after = renewed(&renewal(false), Collection::Uploads, &before);
            assert_eq!(after["state"], expected);
            assert_eq!(after["updated_at"] != before["updated_at"], changed, "{after}");
        }
    }

    #[test]
    fn api_keys_are_sealed_anew_and_a_foreign_secret_is_told() {
        let id = AccountId::generate(now());
        let sealed = auth::seal_api_key(&Seal::from_secret("theirs"), &id, "the key");
        let body = json!({"id": id, "name": "n", "sealed_api_key": sealed, "created_at": now()});
        let opened = |renewal: &Renewal| {
            let account = serde_json::from_value(renewed(renewal, Collection::Accounts, &body)).unwrap();
            auth::api_key_of(&Seal::from_secret("ours"), &account).unwrap()
        };
        assert_eq!(opened(&renewal(false)), "the key");
        assert_ne!(opened(&renewal(true)), "the key");
        let mut foreign = renewal(false);
        foreign.api_keys.from = Seal::from_secret("somebody's");
        let item = Item::Document(Document { key: Key::new("", id.as_str()), revision: 1, body: body.to_string() });
        assert!(matches!(foreign.api_keys.check(&item, Path::new("a.bson")), Err(TransferError::OtherSecret)));
        foreign.api_keys.make_new = true;
        foreign.api_keys.check(&item, Path::new("a.bson")).unwrap();
    }

    #[test]
    fn users_get_a_new_epoch_and_what_belongs_to_the_installation_stays_out() {
        let user = json!({
            "id": UserId::generate(now()), "account_id": AccountId::generate(now()), "username": "u", "password_hash": "h", "epoch": 3,
            "super_user": true, "created_at": now(), "updated_at": now(),
        });
        assert_eq!(renewed(&renewal(false), Collection::Users, &user)["epoch"], 4);
        let at = |scope: &str| Document { key: Key::new(scope, "id"), revision: 1, body: "{}".to_owned() };
        assert!(is_restored(Collection::Meta, &at(AccountId::generate(now()).as_str())));
        for scope in ["", "revoked_tokens", "nodes"] {
            assert!(!is_restored(Collection::Meta, &at(scope)), "{scope}");
        }
        assert!(!is_restored(Collection::SigningKeys, &at("")));
        assert!(is_restored(Collection::Idempotency, &at("")), "a saved answer and its effect are of one moment");
    }
}
