//! The users themselves: the first one, more, their passwords.

use anyhow::Context as _;

use super::seal::random;
use super::{Auth, AuthError, FirstStart, Seal, password};
use crate::config::Config;
use crate::domain::account::{Account, User, username_key};
use crate::domain::id::{AccountId, UserId};
use crate::store::{Batch, Collection, Key, Query, StoreExt, Stored};

/// Longest username in characters.
const MAX_USERNAME_CHARACTERS: usize = 254;

impl Auth {
    /// Makes the first account with its super user when there is no account.
    pub(super) async fn create_first_user(&self, config: &Config) -> anyhow::Result<Option<FirstStart>> {
        if self.store.count(&Query::new(Collection::Accounts, "")).await? > 0 {
            return Ok(None);
        }
        let now = self.clock.now();
        let account_id = AccountId::generate(now);
        let generated = config.super_user_password.is_none().then(password::generate);
        let password = match (&config.super_user_password, &generated) {
            (Some(given), _) => given.0.clone(),
            (None, Some(generated)) => generated.clone(),
            (None, None) => anyhow::bail!("neither a given nor a generated password"),
        };
        let user = self.new_user(&account_id, &config.super_user, &password, true).await?;
        let account = Account {
            sealed_api_key: seal_api_key(&self.seal, &account_id, &new_api_key()),
            id: account_id,
            name: "default".to_owned(),
            created_at: now,
        };
        if let Some(generated) = &generated {
            self.keep_initial_password(generated)?;
        }
        let mut batch = Batch::new();
        batch.insert(&account).insert(&user);
        match self.store.commit(batch).await {
            Ok(()) => Ok(Some(FirstStart { username: user.username, generated_password: generated })),
            // Another node of the cluster, started at the same moment, was first: its password counts.
            Err(error) if error.is_conflict() => {
                if generated.is_some() {
                    let _ = std::fs::remove_file(&self.initial_password);
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn keep_initial_password(&self, password: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = &self.initial_password;
        // A start that failed halfway may have left one.
        let _ = std::fs::remove_file(path);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        writeln!(file, "{password}").with_context(|| path.display().to_string())
    }

    /// The generated password of the first user, as long as it is in use.
    pub fn initial_password(&self) -> Option<String> {
        std::fs::read_to_string(&self.initial_password).ok().map(|text| text.trim().to_owned())
    }

    /// Who was made first.
    pub async fn first_username(&self) -> Option<String> {
        let users = self.users().await.ok()?;
        users.into_iter().min_by_key(|user| user.created_at).map(|user| user.username)
    }

    async fn new_user(
        &self,
        account: &AccountId,
        username: &str,
        password: &str,
        super_user: bool,
    ) -> Result<User, AuthError> {
        let username = username.trim();
        let length = username.chars().count();
        if length == 0
            || length > MAX_USERNAME_CHARACTERS
            || username.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(AuthError::BadUsername(format!(
                "A username has 1 to {MAX_USERNAME_CHARACTERS} characters and no blanks, such as an e-mail address."
            )));
        }
        let password_hash = self.passwords.hash(password).await?;
        let now = self.clock.now();
        Ok(User {
            id: UserId::generate(now),
            account_id: account.clone(),
            username: username.to_owned(),
            password_hash,
            epoch: 1,
            super_user,
            created_at: now,
            updated_at: now,
        })
    }

    /// Every user by name.
    pub async fn users(&self) -> Result<Vec<User>, AuthError> {
        let stored = self.store.list_all::<User>(Query::new(Collection::Users, "").limit(500)).await?;
        Ok(stored.into_iter().map(|stored| stored.value).collect())
    }

    /// The first account: where users without another belong.
    pub async fn default_account(&self) -> Result<Account, AuthError> {
        let (accounts, _) = self.store.list::<Account>(&Query::new(Collection::Accounts, "").limit(1)).await?;
        let first = accounts.into_iter().next().map(|stored| stored.value);
        first.ok_or_else(|| AuthError::Internal(anyhow::anyhow!("there is no account")))
    }

    pub async fn account(&self, id: &AccountId) -> Result<Option<Account>, AuthError> {
        Ok(self.store.load::<Account>(&Key::new("", id.as_str())).await?.map(|stored| stored.value))
    }

    pub async fn add_user(
        &self,
        account: &AccountId,
        username: &str,
        password: &str,
        super_user: bool,
    ) -> Result<User, AuthError> {
        let user = self.new_user(account, username, password, super_user).await?;
        let mut batch = Batch::new();
        batch.insert(&user);
        match self.store.commit(batch).await {
            Ok(()) => self.remember(&user),
            Err(error) if error.is_conflict() => return Err(AuthError::UserExists(user.username)),
            Err(error) => return Err(error.into()),
        }
        Ok(user)
    }

    /// A new password; every older token of the user ends.
    pub async fn set_password(&self, username: &str, new: &str) -> Result<User, AuthError> {
        let password_hash = self.passwords.hash(new).await?;
        loop {
            let mut stored = self.stored_user(username).await?;
            stored.value.password_hash.clone_from(&password_hash);
            stored.value.epoch += 1;
            stored.value.updated_at = self.clock.now();
            let mut batch = Batch::new();
            batch.replace(&stored);
            match self.store.commit(batch).await {
                Ok(()) => {
                    self.remember(&stored.value);
                    self.forget_initial_password(&stored.value.username).await;
                    // Who may set passwords has decided; guesses at the old one do not matter any more.
                    self.failures.forget(&username_key(username));
                    return Ok(stored.value);
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes the kept password when it was this user's.
    async fn forget_initial_password(&self, username: &str) {
        if self.first_username().await.is_some_and(|first| first == username)
            && let Err(error) = std::fs::remove_file(&self.initial_password)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the file with the first password could not be removed; it is of no use any more");
        }
    }

    /// A new password for somebody who knows the current one.
    pub async fn change_password(&self, username: &str, current: &str, new: &str) -> Result<User, AuthError> {
        // Through the front door, so that guessing here is limited like guessing there.
        self.login(username, current, None).await?;
        self.set_password(username, new).await
    }

    pub async fn remove_user(&self, username: &str) -> Result<(), AuthError> {
        let stored = self.stored_user(username).await?;
        if stored.value.super_user && self.users().await?.iter().filter(|user| user.super_user).count() == 1 {
            return Err(AuthError::BadUsername(format!("{username} is the last super user and stays.")));
        }
        let mut batch = Batch::new();
        batch.delete(&stored);
        self.store.commit(batch).await?;
        self.users.write().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&stored.value.id);
        Ok(())
    }

    /// Ends every token that the user has.
    pub async fn end_sessions(&self, username: &str) -> Result<(), AuthError> {
        loop {
            let mut stored = self.stored_user(username).await?;
            stored.value.epoch += 1;
            let mut batch = Batch::new();
            batch.replace(&stored);
            match self.store.commit(batch).await {
                Ok(()) => {
                    self.remember(&stored.value);
                    return Ok(());
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn stored_user(&self, username: &str) -> Result<Stored<User>, AuthError> {
        let stored = self.store.load::<User>(&Key::new("", username_key(username))).await?;
        stored.ok_or_else(|| AuthError::NoSuchUser(username.to_owned()))
    }
}

pub fn new_api_key() -> String {
    hex::encode(random::<16>())
}

pub fn seal_api_key(seal: &Seal, account: &AccountId, api_key: &str) -> String {
    seal.seal(&api_key_purpose(account), api_key.as_bytes())
}

/// An account's API key in clear. An error when it was sealed with another secret.
pub fn api_key_of(seal: &Seal, account: &Account) -> anyhow::Result<String> {
    let bytes = seal.open(&api_key_purpose(&account.id), &account.sealed_api_key)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn api_key_purpose(account: &AccountId) -> String {
    format!("api key {account}")
}
