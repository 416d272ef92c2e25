//! Seals what must not be readable in a copy of the store: signing keys and API keys.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

const NONCE_BYTES: usize = 24;

/// XChaCha20-Poly1305 under the installation's secret.
#[derive(Clone)]
pub struct Seal(XChaCha20Poly1305);

impl Seal {
    /// From a secret of any length that the environment gives.
    pub fn from_secret(secret: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"tango seal v1\0");
        hash.update(secret.as_bytes());
        let key: [u8; 32] = hash.finalize().into();
        Self(XChaCha20Poly1305::new(&Key::from(key)))
    }

    /// From the secret kept in a file, generated once.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let secret = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secret = hex::encode(random::<32>());
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .with_context(|| format!("{} could not be created", path.display()))?;
                writeln!(file, "{secret}")
                    .and_then(|()| file.sync_all())
                    .with_context(|| path.display().to_string())?;
                secret
            }
            Err(error) => return Err(error).with_context(|| format!("{} could not be read", path.display())),
        };
        let secret = secret.trim();
        anyhow::ensure!(
            secret.len() >= 32,
            "{} is damaged: restore it from a backup of the data folder",
            path.display()
        );
        Ok(Self::from_secret(secret))
    }

    /// `purpose` is bound to the result: what was sealed for one is not opened for another.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        let nonce: [u8; NONCE_BYTES] = random();
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let sealed =
            self.0.encrypt(&XNonce::from(nonce), payload).expect("encryption in memory fails only beyond 256 GB");
        STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, purpose: &str, sealed: &str) -> anyhow::Result<Vec<u8>> {
        let bytes = STANDARD_NO_PAD.decode(sealed).context("a sealed value is not base64")?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).context("a sealed value is too short")?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().context("a sealed value is too short")?;
        self.0.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: purpose.as_bytes() }).map_err(|_| {
            anyhow::anyhow!("a value in the store was sealed with another secret than this installation's (TOKEN_SECRET, or the file secret.key of the data folder)")
        })
    }
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the operating system's random source answers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_secret_and_purpose() {
        let seal = Seal::from_secret("one");
        let sealed = seal.seal("key k1", b"plain");
        assert_eq!(seal.open("key k1", &sealed).unwrap(), b"plain");
        assert!(seal.open("key k2", &sealed).is_err());
        assert!(Seal::from_secret("two").open("key k1", &sealed).is_err());
    }

    #[test]
    fn the_file_is_made_once_and_readable_only_by_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let sealed = Seal::from_file(&path).unwrap().seal("p", b"x");
        assert_eq!(Seal::from_file(&path).unwrap().open("p", &sealed).unwrap(), b"x");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
