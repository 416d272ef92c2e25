//! Why somebody does not come in.

use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the username, the password or the API key is wrong")]
    InvalidCredentials,
    #[error("too many wrong passwords in a row; try again in {}", wait(*retry_after_seconds))]
    Locked { retry_after_seconds: u64 },
    #[error("too many people sign in at this moment; try again in a second")]
    TooBusy,
    #[error("the token has expired; sign in again")]
    TokenExpired,
    #[error("the token is not valid (any more); sign in again")]
    InvalidToken,
    #[error("{0}")]
    BadPassword(String),
    #[error("{0}")]
    BadUsername(String),
    #[error("there is a user {0:?} already")]
    UserExists(String),
    #[error("there is no user {0:?}")]
    NoSuchUser(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Internal(anyhow::Error),
}

/// A wait in the words of a person: seconds up to a minute, then whole minutes, never too few.
fn wait(seconds: u64) -> String {
    let (number, unit) = if seconds <= 60 { (seconds, "second") } else { (seconds.div_ceil(60), "minute") };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_words() {
        assert_eq!(
            [1, 60, 61, 898, 900].map(wait),
            ["1 second", "60 seconds", "2 minutes", "15 minutes", "15 minutes"]
        );
    }
}
