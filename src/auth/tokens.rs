//! Tokens: JWTs signed with HMAC-SHA-256 under a key from the store.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::seal::random;
use super::{Auth, AuthError, Identity};
use crate::domain::account::SigningKey;
use crate::domain::id::{AccountId, UserId};
use crate::store::{Batch, Collection, Query, StoreExt};

/// What a token carries.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    /// The user.
    sub: UserId,
    /// The account.
    acc: AccountId,
    /// The user's epoch when the token was made.
    epoch: u64,
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
        let now = self.clock.now();
        let id = format!("k{:013}{}", now.timestamp_millis(), hex::encode(random::<4>()));
        let sealed_secret = self.seal.seal(&purpose(&id), &random::<32>());
        let mut batch = Batch::new();
        batch.insert(&SigningKey { id, sealed_secret, created_at: now });
        self.store.commit(batch).await?;
        Ok(())
    }

    pub(super) fn sign(&self, account_id: &AccountId, user_id: &UserId, epoch: u64) -> Result<String, AuthError> {
        let now = self.clock.now().timestamp();
        let claims = Claims {
            sub: user_id.clone(),
            acc: account_id.clone(),
            epoch,
            iat: now,
            exp: now.saturating_add(self.token_ttl.num_seconds()),
        };
        let keys = self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (kid, key) = keys.sign.as_ref().ok_or_else(|| AuthError::Internal(anyhow::anyhow!("no signing key")))?;
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid.clone());
        jsonwebtoken::encode(&header, &claims, key).map_err(|error| AuthError::Internal(error.into()))
    }

    /// Who a token belongs to, from memory. Expiry is judged by the injected clock.
    pub fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::InvalidToken)?;
        let kid = header.kid.ok_or(AuthError::InvalidToken)?;
        let claims = {
            let keys = self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            let key = keys.verify.get(&kid).ok_or(AuthError::InvalidToken)?;
            let mut validation = Validation::new(Algorithm::HS256);
            validation.validate_exp = false;
            validation.required_spec_claims.clear();
            jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| AuthError::InvalidToken)?.claims
        };
        if claims.exp <= self.clock.now().timestamp() {
            return Err(AuthError::TokenExpired);
        }
        let user = self.known(&claims.sub).filter(|user| user.epoch == claims.epoch).ok_or(AuthError::InvalidToken)?;
        Ok(Identity {
            account_id: claims.acc,
            user_id: claims.sub,
            username: user.username,
            super_user: user.super_user,
        })
    }
}

fn purpose(id: &str) -> String {
    format!("signing key {id}")
}
