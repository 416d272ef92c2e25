//! Accounts (tenants) and the users who sign in to them.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{AccountId, UserId};

/// A tenant: everything else belongs to one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    /// Sealed; sent by programs that sign in to a particular account.
    pub sealed_api_key: String,
    pub created_at: Timestamp,
}

/// A person or program that signs in. Usernames are unique in the installation, whatever their case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub account_id: AccountId,
    pub username: String,
    /// An Argon2id hash in PHC form.
    pub password_hash: String,
    /// Grows with every change of the password; a token of an earlier epoch has ended.
    pub epoch: u64,
    /// May do everything in every account.
    pub super_user: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A key that signs tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SigningKey {
    /// The `kid` of tokens signed with it.
    pub id: String,
    /// Sealed 32 bytes.
    pub sealed_secret: String,
    pub created_at: Timestamp,
}

/// The form under which a username is unique.
pub fn username_key(username: &str) -> String {
    username.trim().to_lowercase()
}
