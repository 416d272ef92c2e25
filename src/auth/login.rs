//! Signing in: right password → token; wrong ones in a row → a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::{Auth, AuthError};
use crate::domain::account::{Account, User, username_key};
use crate::domain::id::AccountId;
use crate::store::{Collection, Key, Query, StoreError, StoreExt};

/// Wrong passwords in a row before a name is locked.
const MAX_FAILURES: u32 = 10;
const LOCKED_FOR: Duration = Duration::from_secs(15 * 60);
/// A store that takes longer than this is not waited for when this node knows the user from following it.
const STORE_PATIENCE: Duration = Duration::from_millis(500);

/// What a successful sign-in answers.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    pub token: String,
    pub expires_in_seconds: i64,
}

/// Failures in a row by name, known or not, so that an answer does not tell which names exist.
/// In memory: a restart forgives, and at most so many names are remembered.
pub(super) struct Failures(Cache<String, (u32, Instant)>);

impl Default for Failures {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(100_000).time_to_live(LOCKED_FOR).build())
    }
}

impl Failures {
    fn check(&self, name: &str) -> Result<(), AuthError> {
        match self.0.get(name) {
            Some((count, last)) if count >= MAX_FAILURES => {
                let left = LOCKED_FOR.saturating_sub(last.elapsed());
                Err(AuthError::Locked { retry_after_seconds: left.as_secs().max(1) })
            }
            _ => Ok(()),
        }
    }

    fn add(&self, name: &str) {
        let one = (1, Instant::now());
        self.0
            .entry(name.to_owned())
            .and_upsert_with(|old| old.map_or(one, |entry| (entry.into_value().0.saturating_add(1), Instant::now())));
    }

    pub(super) fn forget(&self, name: &str) {
        self.0.invalidate(name);
    }
}

impl Auth {
    /// `api_key` names the account to work in; without one it is the user's own. While the store does not answer, what this
    /// node has followed until then decides.
    pub async fn login(&self, username: &str, password: &str, api_key: Option<&str>) -> Result<IssuedToken, AuthError> {
        let name = username_key(username);
        self.failures.check(&name)?;
        let user = self.user_by_name(&name).await?;
        let right = self.passwords.verify(password, user.as_ref().map(|user| user.password_hash.as_str())).await?;
        let account = match (&user, right) {
            (Some(user), true) => self.account_for(user, api_key).await?,
            _ => None,
        };
        let (Some(user), Some(account_id)) = (user, account) else {
            self.failures.add(&name);
            tracing::info!(username = name, "a sign-in failed");
            return Err(AuthError::InvalidCredentials);
        };
        self.failures.forget(&name);
        self.remember(&user);
        self.issue(&account_id, &user.id, user.epoch)
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<Arc<User>>, StoreError> {
        let stored = async {
            let stored = self.store.load::<User>(&Key::new("", name)).await?;
            Ok(stored.map(|stored| Arc::new(stored.value)))
        };
        stored_or_known(stored, || self.known_by_name(name).map(Some)).await.map(Option::flatten)
    }

    fn known_by_name(&self, name: &str) -> Option<Arc<User>> {
        let users = self.users.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        users.values().find(|user| username_key(&user.username) == name).cloned()
    }

    /// The account that the key belongs to, if the user may work in it.
    async fn account_for(&self, user: &User, api_key: Option<&str>) -> Result<Option<AccountId>, AuthError> {
        let Some(api_key) = api_key.filter(|key| !key.is_empty()) else { return Ok(Some(user.account_id.clone())) };
        let stored = async {
            let stored = self.store.list_all::<Account>(Query::new(Collection::Accounts, "")).await?;
            Ok(stored.into_iter().map(|stored| stored.value).collect::<Vec<_>>())
        };
        let known = || Some(self.accounts.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone());
        for account in stored_or_known(stored, known).await?.unwrap_or_default() {
            if self.api_key(&account)? == api_key && (account.id == user.account_id || user.super_user) {
                return Ok(Some(account.id));
            }
        }
        Ok(None)
    }

    /// An account's API key in clear, for those who may see it.
    pub fn api_key(&self, account: &Account) -> Result<String, AuthError> {
        super::api_key_of(&self.seal, account).map_err(AuthError::Internal)
    }
}

/// What the store says; what is known here when the store is unavailable, or takes its time and something is known.
/// None: the store is unavailable, and nothing is known.
async fn stored_or_known<T>(
    stored: impl Future<Output = Result<T, StoreError>>,
    known: impl Fn() -> Option<T>,
) -> Result<Option<T>, StoreError> {
    tokio::pin!(stored);
    let answer = match tokio::time::timeout(STORE_PATIENCE, &mut stored).await {
        Ok(answer) => answer,
        Err(_) => match known() {
            Some(known) => return Ok(Some(known)),
            None => stored.await,
        },
    };
    match answer {
        Ok(stored) => Ok(Some(stored)),
        Err(StoreError::Unavailable(_)) => Ok(known()),
        Err(error) => Err(error),
    }
}
