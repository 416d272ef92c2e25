//! Who may come in: passwords, tokens, the users in memory.
//!
//! Invariant: checking a valid token touches no store and waits for nothing, because every score does it. (But for one that another node has
//! just made, see `identify`.)

mod error;
mod identify;
mod login;
mod password;
mod seal;
mod tokens;
mod users;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

pub use error::AuthError;
pub use login::IssuedToken;
pub use password::{MIN_PASSWORD_CHARACTERS, generate as generate_password};
pub use seal::Seal;
pub use tokens::{REVOKED_SCOPE, new_signing_key};
pub use users::{api_key_of, new_api_key, seal_api_key};

use crate::clock::SharedClock;
use crate::config::Config;
use crate::domain::account::{Account, User};
use crate::domain::id::{AccountId, UserId};
use crate::quick_map::QuickMap;
use crate::store::{Collection, FeedEvent, Query, SharedStore, StoreError, StoreExt};

const FOLLOWED: [Collection; 4] = [Collection::Users, Collection::Accounts, Collection::SigningKeys, Collection::Meta];

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub account_id: AccountId,
    pub user_id: UserId,
    pub username: String,
    pub super_user: bool,
}

/// Signs users in and checks their tokens.
pub struct Auth {
    store: SharedStore,
    clock: SharedClock,
    seal: Seal,
    token_ttl: chrono::Duration,
    keys: RwLock<tokens::KeyRing>,
    users: RwLock<QuickMap<UserId, Arc<User>>>,
    accounts: RwLock<Vec<Account>>,
    /// Names of tokens that ended before their time.
    revoked: RwLock<HashSet<String>>,
    news: identify::News,
    passwords: password::Hasher,
    failures: login::Failures,
    /// Keeps the generated password of the first user until it is changed.
    initial_password: PathBuf,
}

/// What was made when an installation started for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstStart {
    pub username: String,
    /// The password when it was generated here; `None` when the configuration gave it.
    pub generated_password: Option<String>,
}

impl Auth {
    /// Loads keys and users; makes the first account, its super user and a signing key where there are none.
    pub async fn open(
        store: SharedStore,
        config: &Config,
        clock: SharedClock,
        seal: Seal,
    ) -> anyhow::Result<(Arc<Self>, Option<FirstStart>)> {
        let token_ttl = chrono::Duration::seconds(i64::try_from(config.token_ttl_seconds).unwrap_or(i64::MAX / 1_000));
        let auth = Self {
            store,
            clock,
            seal,
            token_ttl,
            keys: RwLock::default(),
            users: RwLock::default(),
            accounts: RwLock::default(),
            revoked: RwLock::default(),
            news: identify::News::default(),
            passwords: password::Hasher::new()?,
            failures: login::Failures::default(),
            initial_password: config.data_dir.join("initial-password"),
        };
        let first = auth.create_first_user(config).await.context("the first user could not be created")?;
        auth.load_keys().await.context("the token signing keys could not be read")?;
        auth.load_users().await.context("the users could not be read")?;
        auth.load_revoked().await.context("the ended tokens could not be read")?;
        Ok((Arc::new(auth), first))
    }

    /// Follows changes of users and keys that others make, until the store closes or `stop` fires.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) -> Result<(), StoreError> {
        let mut feed = self.store.changes(&FOLLOWED).await?;
        // What changed between loading and now.
        self.reload(&FeedEvent::Gap).await;
        while let Some(Some(event)) = stop.run_until_cancelled(feed.next()).await {
            self.reload(&event).await;
        }
        Ok(())
    }

    /// Reads again what an event concerns. Failing that, the last known state stays in use.
    async fn reload(&self, event: &FeedEvent) {
        let outcome = match event {
            FeedEvent::Gap => match self.load_keys().await.and(self.load_users().await) {
                Ok(()) => self.load_revoked().await,
                failed => failed,
            },
            FeedEvent::Changed(change) => match change.collection {
                Collection::SigningKeys => self.load_keys().await,
                Collection::Meta if change.key.scope == REVOKED_SCOPE => self.load_revoked().await,
                Collection::Meta => Ok(()),
                _ => self.load_users().await,
            },
        };
        if let Err(error) = outcome {
            tracing::warn!(
                error = format!("{error:#}"),
                "users and keys could not be read again; the last known ones stay in use"
            );
        }
    }

    /// Users and accounts.
    async fn load_users(&self) -> anyhow::Result<()> {
        let users = self.store.list_all::<User>(Query::new(Collection::Users, "").limit(500)).await?;
        let known = users.into_iter().map(|stored| (stored.value.id.clone(), Arc::new(stored.value))).collect();
        *self.users.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = known;
        let accounts = self.store.list_all::<Account>(Query::new(Collection::Accounts, "").limit(500)).await?;
        let known = accounts.into_iter().map(|stored| stored.value).collect();
        *self.accounts.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = known;
        Ok(())
    }

    /// What this process knows of a user, at once after it changed the user itself.
    fn remember(&self, user: &User) {
        let mut users = self.users.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        users.insert(user.id.clone(), Arc::new(user.clone()));
    }

    fn known(&self, id: &UserId) -> Option<Arc<User>> {
        self.users.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(id).cloned()
    }
}
