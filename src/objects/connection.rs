//! Connections to the object store: whom they trust, and what they tell of the store's clock.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, bail};
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::error::BoxError;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::clock::{Clock as _, SystemClock};

/// A client that trusts the authorities in `ca_file` alone; without a file those of the system.
pub(super) fn http_client(ca_file: Option<&Path>) -> anyhow::Result<SharedHttpClient> {
    let trust = match ca_file {
        Some(path) => TrustStore::empty().with_pem_certificate(authorities(path)?),
        None => TrustStore::default(),
    };
    let context = TlsContext::builder().with_trust_store(trust).build().context("TLS cannot be set up")?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// The file's bytes, once it is sure that they are certificates: a client would panic over others, or not say which file it was.
pub(super) fn authorities(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let pem = std::fs::read(path).with_context(|| format!("S3_CA_FILE: {shown} cannot be read"))?;
    let mut found = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| found.add(certificate).map_err(|error| error.to_string()));
        if let Err(reason) = added {
            bail!("S3_CA_FILE: a certificate in {shown} cannot be used ({reason}): it needs certificates as PEM");
        }
    }
    if found.is_empty() {
        bail!("S3_CA_FILE: {shown} holds no certificate: it needs certificates as PEM (-----BEGIN CERTIFICATE-----)");
    }
    Ok(pem)
}

/// How far this machine's clock is from the object store's, read from the `Date` of its answers.
#[derive(Debug)]
pub(super) struct StoreClock {
    /// Seconds that this machine is ahead; `UNKNOWN` before the first answer.
    ahead: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;

impl Default for StoreClock {
    fn default() -> Self {
        Self { ahead: AtomicI64::new(UNKNOWN) }
    }
}

impl StoreClock {
    /// Seconds that this machine is ahead of the store (negative: behind), right to about two.
    pub(super) fn ahead_seconds(&self) -> Option<i64> {
        Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN)
    }
}

/// Looks at every answer.
#[derive(Debug)]
pub(super) struct WatchClock(pub std::sync::Arc<StoreClock>);

impl Intercept for WatchClock {
    fn name(&self) -> &'static str {
        "WatchClock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok()) {
            let ahead = SystemClock.now().timestamp() - date.timestamp();
            self.0.ahead.store(ahead, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_must_hold_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let said = |path: &Path| format!("{:#}", http_client(Some(path)).unwrap_err());
        assert!(said(&path).contains("cannot be read"), "{}", said(&path));
        std::fs::write(&path, "nothing").unwrap();
        assert!(said(&path).contains("holds no certificate"), "{}", said(&path));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(said(&path).contains("cannot be used"), "{}", said(&path));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        http_client(Some(&path)).unwrap();
    }
}
