//! Passwords: Argon2id, a few at a time, off the threads that answer requests.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AuthError;
use super::seal::random;

pub const MIN_PASSWORD_CHARACTERS: usize = 8;
const MAX_PASSWORD_BYTES: usize = 1_024;
/// OWASP's second recommendation: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
/// Hashes computed at the same time, and sign-ins that may wait for their turn.
const AT_ONCE: usize = 2;
const MAY_WAIT: usize = 64;

/// Computes and checks hashes within a bounded share of the machine.
pub(super) struct Hasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Checked in place of an unknown user's, so that both take the same time.
    dummy: String,
}

impl Hasher {
    pub(super) fn new() -> anyhow::Result<Self> {
        let params = Params::new(MEMORY_KIB, PASSES, 1, None)
            .map_err(|error| anyhow::anyhow!("Argon2 refuses its parameters: {error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash_now(&argon2, &generate())?;
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(AT_ONCE + MAY_WAIT)),
            dummy,
        })
    }

    /// A place in the queue, or [`AuthError::TooBusy`] when it is full.
    async fn turn(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), AuthError> {
        let waiting = self.waiting.clone().try_acquire_owned().map_err(|_| AuthError::TooBusy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| AuthError::TooBusy)?;
        Ok((waiting, turn))
    }

    pub(super) async fn hash(&self, password: &str) -> Result<String, AuthError> {
        check_policy(password)?;
        let permits = self.turn().await?;
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        tokio::task::spawn_blocking(move || {
            let _permits = permits;
            hash_now(&argon2, &password)
        })
        .await
        .map_err(|error| AuthError::Internal(error.into()))?
        .map_err(AuthError::Internal)
    }

    /// Without a hash (an unknown user) it takes as long and is false.
    pub(super) async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, AuthError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        let permits = self.turn().await?;
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.dummy).to_owned();
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let matches = tokio::task::spawn_blocking(move || {
            let _permits = permits;
            let hash = PasswordHash::new(&hash).map_err(|error| {
                AuthError::Internal(anyhow::anyhow!("a stored password hash cannot be read: {error}"))
            })?;
            Ok::<_, AuthError>(argon2.verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
        .map_err(|error| AuthError::Internal(error.into()))??;
        Ok(matches && known)
    }
}

fn hash_now(argon2: &Argon2<'_>, password: &str) -> anyhow::Result<String> {
    let salt: [u8; 16] = random();
    let hash: argon2::password_hash::phc::PasswordHash = argon2
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| anyhow::anyhow!("the password could not be hashed: {error}"))?;
    Ok(hash.to_string())
}

fn check_policy(password: &str) -> Result<(), AuthError> {
    if password.chars().count() < MIN_PASSWORD_CHARACTERS {
        return Err(AuthError::BadPassword(format!("A password has at least {MIN_PASSWORD_CHARACTERS} characters.")));
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(AuthError::BadPassword(format!("A password has at most {MAX_PASSWORD_BYTES} bytes.")));
    }
    Ok(())
}

/// A password that can be read aloud: 20 characters without look-alikes, about 100 bits.
pub fn generate() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789_";
    let bytes: [u8; 20] = random();
    let letters: Vec<char> = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect();
    letters.chunks(5).map(|chunk| chunk.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches_and_an_unknown_user_never_does() {
        let hasher = Hasher::new().unwrap();
        let hash = hasher.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("wrong horse", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("correct horse", None).await.unwrap());
        assert!(matches!(hasher.hash("short").await, Err(AuthError::BadPassword(_))));
    }

    #[test]
    fn generated_passwords_differ() {
        assert_ne!(generate(), generate());
        assert_eq!(generate().len(), 23);
    }
}
