//! Why somebody does not come in.

use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the username, the password or the API key is wrong")]
    InvalidCredentials,
    #[error("too many wrong passwords in a row; try again in {retry_after_seconds} seconds")]
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
