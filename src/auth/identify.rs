//! Tokens that other nodes have made a moment ago.
//!
//! Nodes hear of new keys and users, and of changed ones, by the change feed, which takes some milliseconds, and longer while a node starts. A
//! token that was made with such a key, or for such a user, may be there first: what is stored is read again before it is refused.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{Auth, AuthError, Identity};
use crate::store::FeedEvent;

/// Between two readings. Anybody can send a token that looks new.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// When keys and users were last read for somebody's sake.
pub(super) type News = Mutex<Option<Instant>>;

impl Auth {
    /// Who a token belongs to.
    pub async fn identify(&self, token: &str) -> Result<Identity, AuthError> {
        match self.verify(token) {
            Err(AuthError::InvalidToken) if self.may_be_new(token) => {
                self.read_again().await;
                self.verify(token)
            }
            judged => judged,
        }
    }

    /// Reads keys and users, once for all who come meanwhile.
    async fn read_again(&self) {
        let asked = Instant::now();
        let mut last_began = self.news.lock().await;
        if let Some(began) = *last_began {
            if began > asked {
                return;
            }
            tokio::time::sleep(READ_AGAIN_AFTER.saturating_sub(began.elapsed())).await;
        }
        *last_began = Some(Instant::now());
        self.reload(&FeedEvent::Gap).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Seal;
    use crate::clock::SystemClock;
    use crate::config::Config;
    use crate::store::sqlite::SqliteStore;

    const PASSWORD: &str = "a long password of a test";

    /// Two nodes over one store that hear of nothing by the feed.
    async fn two_nodes(folder: &tempfile::TempDir) -> [Arc<Auth>; 2] {
        let store: crate::store::SharedStore = Arc::new(SqliteStore::open(folder.path()).unwrap());
        let config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
        let open = async || {
            let seal = Seal::from_secret("a secret for tests");
            Auth::open(store.clone(), &config, Arc::new(SystemClock), seal).await.unwrap().0
        };
        [open().await, open().await]
    }

    async fn token_by(auth: &Auth) -> String {
        auth.login("somebody@example.com", PASSWORD, None).await.unwrap().token
    }

    #[tokio::test]
    async fn a_token_with_a_key_or_for_a_user_that_another_node_has_just_made_counts() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = two_nodes(&folder).await;
        let account = one.default_account().await.unwrap().id;
        one.add_user(&account, "somebody@example.com", PASSWORD, false).await.unwrap();
        let of_new_user = token_by(&one).await;
        assert!(matches!(other.verify(&of_new_user), Err(AuthError::InvalidToken)));
        assert_eq!(other.identify(&of_new_user).await.unwrap().username, "somebody@example.com");
        one.set_password("somebody@example.com", PASSWORD).await.unwrap();
        let of_changed_user = token_by(&one).await;
        assert!(other.identify(&of_changed_user).await.is_ok());
        assert!(matches!(other.identify(&of_new_user).await, Err(AuthError::InvalidToken)), "an older one has ended");
        one.add_signing_key().await.unwrap();
        one.load_keys().await.unwrap();
        let with_new_key = token_by(&one).await;
        assert!(matches!(other.verify(&with_new_key), Err(AuthError::InvalidToken)));
        let many = futures::future::join_all((0..50).map(|_| other.identify(&with_new_key))).await;
        assert!(many.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn only_what_may_be_new_is_worth_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let [one, _] = two_nodes(&folder).await;
        for nonsense in ["", "nonsense", "a.b.c"] {
            assert!(!one.may_be_new(nonsense), "{nonsense}");
            assert!(matches!(one.identify(nonsense).await, Err(AuthError::InvalidToken)));
        }
        let account = one.default_account().await.unwrap().id;
        one.add_user(&account, "somebody@example.com", PASSWORD, false).await.unwrap();
        let token = token_by(&one).await;
        assert!(!one.may_be_new(&token));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
        assert!(!one.may_be_new(&forged), "its key is known");
        // Made up with a key that nobody has: it is looked for, and the token refused.
        one.add_signing_key().await.unwrap();
        one.load_keys().await.unwrap();
        let strange = token_by(&one).await;
        let folder = tempfile::tempdir().unwrap();
        let [stranger, _] = two_nodes(&folder).await;
        assert!(stranger.may_be_new(&strange));
        assert!(matches!(stranger.identify(&strange).await, Err(AuthError::InvalidToken)));
    }
}
