//! Tokens: JWTs signed with HMAC-SHA-256 under a key from the store.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::seal::random;
use super::{Auth, AuthError, Identity, IssuedToken, Seal};
use crate::domain::Timestamp;
use crate::domain::account::SigningKey;
use crate::domain::id::{AccountId, UserId};
use crate::quick_map::QuickMap;
use crate::store::{Batch, Collection, Key, Query, Record, StoreExt};

/// Most tokens that are kept verified: with one more all are verified again.
const MOST_VERIFIED: usize = 10_000;

/// What a token carries.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    /// The user.
    sub: UserId,
    /// The account.
    acc: AccountId,
    /// The user's epoch when the token was made.
    epoch: u64,
    /// Names this token, so that it can be ended alone.
    jti: String,
    /// Seconds since 1970.
    iat: i64,
    exp: i64,
}

/// Every key that may verify, and the newest, which signs: a new key is added before the old one goes,
/// so tokens survive the change.
#[derive(Default)]
pub(super) struct KeyRing {
    verify: HashMap<String, DecodingKey>,
    sign: Option<(String, EncodingKey)>,
    /// Tokens that these keys have verified: clients send the same one with every request.
    verified: RwLock<QuickMap<String, Arc<Claims>>>,
}

impl Auth {
    pub(super) async fn load_keys(&self) -> anyhow::Result<()> {
        let mut stored = self.signing_keys().await?;
        if stored.is_empty() {
            self.add_signing_key().await?;
            stored = self.signing_keys().await?;
        }
        let mut ring = KeyRing::default();
        for key in stored {
            let secret = self.seal.open(&purpose(&key.id), &key.sealed_secret)?;
            ring.verify.insert(key.id.clone(), DecodingKey::from_secret(&secret));
            ring.sign = Some((key.id, EncodingKey::from_secret(&secret)));
        }
        *self.keys.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = ring;
        Ok(())
    }

    /// Oldest first: ids sort by time.
    async fn signing_keys(&self) -> anyhow::Result<Vec<SigningKey>> {
        let stored = self.store.list_all::<SigningKey>(Query::new(Collection::SigningKeys, "")).await?;
        Ok(stored.into_iter().map(|stored| stored.value).collect())
    }

    /// Adds a key that signs from now on; tokens of the older ones stay valid until they expire.
    pub async fn add_signing_key(&self) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        batch.insert(&new_signing_key(&self.seal, self.clock.now()));
        self.store.commit(batch).await?;
        Ok(())
    }

    pub(super) fn sign(&self, account_id: &AccountId, user_id: &UserId, epoch: u64) -> Result<String, AuthError> {
        let now = self.clock.now().timestamp();
        let jti = hex::encode(random::<12>());
        let claims = Claims {
            sub: user_id.clone(),
            acc: account_id.clone(),
            epoch,
            jti,
            iat: now,
            exp: now.saturating_add(self.token_ttl.num_seconds()),
        };
        let keys = self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (kid, key) = keys.sign.as_ref().ok_or_else(|| AuthError::Internal(anyhow::anyhow!("no signing key")))?;
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid.clone());
        jsonwebtoken::encode(&header, &claims, key).map_err(|error| AuthError::Internal(error.into()))
    }

    /// A new token for a user who is signed in already.
    pub fn reissue(&self, account_id: &AccountId, user_id: &UserId) -> Result<IssuedToken, AuthError> {
        let user = self.known(user_id).ok_or(AuthError::InvalidToken)?;
        self.issue(account_id, user_id, user.epoch)
    }

    pub(super) fn issue(&self, account_id: &AccountId, user_id: &UserId, epoch: u64) -> Result<IssuedToken, AuthError> {
        Ok(IssuedToken {
            token: self.sign(account_id, user_id, epoch)?,
            expires_in_seconds: self.token_ttl.num_seconds(),
        })
    }

    /// Who a token belongs to, as far as this node knows. Expiry is judged by the injected clock.
    pub fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let claims = self.claims(token)?;
        if claims.exp <= self.clock.now().timestamp() {
            return Err(AuthError::TokenExpired);
        }
        let user = self.known(&claims.sub).filter(|user| user.epoch == claims.epoch).ok_or(AuthError::InvalidToken)?;
        if self.revoked.read().unwrap_or_else(|poisoned| poisoned.into_inner()).contains(&claims.jti) {
            return Err(AuthError::InvalidToken);
        }
        Ok(Identity {
            account_id: claims.acc.clone(),
            user_id: claims.sub.clone(),
            username: user.username.clone(),
            super_user: user.super_user,
        })
    }

    /// Whether what this node lacks for a token may be stored by now: its key, its user, or the last change of the user.
    pub(super) fn may_be_new(&self, token: &str) -> bool {
        match self.claims(token) {
            Ok(claims) => self.known(&claims.sub).is_none_or(|user| user.epoch < claims.epoch),
            Err(_) => {
                let keys = self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner());
                let kid = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
                kid.is_some_and(|kid| !keys.verify.contains_key(&kid))
            }
        }
    }

    /// What a token says, whoever made it with one of our keys and whenever.
    fn claims(&self, token: &str) -> Result<Arc<Claims>, AuthError> {
        let keys = self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(claims) = keys.verified.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(token) {
            return Ok(Arc::clone(claims));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::InvalidToken)?;
        let kid = header.kid.ok_or(AuthError::InvalidToken)?;
        let key = keys.verify.get(&kid).ok_or(AuthError::InvalidToken)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| AuthError::InvalidToken)?;
        let claims = Arc::new(decoded.claims);
        let mut verified = keys.verified.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        // What goes is dropped when nobody has to wait for it.
        let _gone = (verified.len() >= MOST_VERIFIED).then(|| std::mem::take(&mut *verified));
        verified.insert(token.to_owned(), Arc::clone(&claims));
        drop(verified);
        Ok(claims)
    }

    /// Ends one token before its time.
    pub async fn revoke(&self, token: &str) -> Result<(), AuthError> {
        let claims = self.claims(token)?;
        let revoked = RevokedToken { id: claims.jti.clone(), expires_at_seconds: claims.exp };
        let mut batch = Batch::new();
        batch.put(&revoked);
        self.store.commit(batch).await?;
        self.revoked.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(revoked.id);
        Ok(())
    }

    /// Reads the ended tokens that would not have expired yet; forgets the others.
    pub(super) async fn load_revoked(&self) -> anyhow::Result<()> {
        let query = Query::new(Collection::Meta, REVOKED_SCOPE).limit(500);
        let now = self.clock.now().timestamp();
        let (mut current, mut old) = (HashSet::new(), Batch::new());
        for stored in self.store.list_all::<RevokedToken>(query).await? {
            if stored.value.expires_at_seconds > now {
                current.insert(stored.value.id);
            } else if old.len() < 500 {
                old.delete(&stored);
            }
        }
        *self.revoked.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = current;
        if !old.is_empty()
            && let Err(error) = self.store.commit(old).await
        {
            tracing::debug!(%error, "ended tokens are forgotten another time");
        }
        Ok(())
    }
}

/// A key of our own making.
pub fn new_signing_key(seal: &Seal, now: Timestamp) -> SigningKey {
    let id = format!("k{:013}{}", now.timestamp_millis(), hex::encode(random::<4>()));
    let sealed_secret = seal.seal(&purpose(&id), &random::<32>());
    SigningKey { id, sealed_secret, created_at: now }
}

/// A token that was signed out.
#[derive(Debug, Serialize, Deserialize)]
struct RevokedToken {
    id: String,
    expires_at_seconds: i64,
}

/// Where they are kept in [`Collection::Meta`].
pub const REVOKED_SCOPE: &str = "revoked_tokens";

impl Record for RevokedToken {
    const COLLECTION: Collection = Collection::Meta;
    fn key(&self) -> Key {
        Key::new(REVOKED_SCOPE, self.id.clone())
    }
}

fn purpose(id: &str) -> String {
    format!("signing key {id}")
}
