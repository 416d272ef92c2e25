//! URLs that let a client send one part, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;

use super::{ObjectError, ObjectStore, Result};

/// Which base URL clients can reach the object store at.
#[derive(Debug, Clone)]
pub enum PublicUrls {
    /// Always this one: `S3_ENDPOINT`, or `HOST_DOMAIN` with the S3 port.
    Fixed(String),
    /// The host of the request that asks, with this scheme and port.
    RequestHost { scheme: &'static str, port: u16 },
}

impl PublicUrls {
    /// The base URL for a client whose request named `host` (a `Host` header, port or not).
    /// A missing or odd host becomes the loopback address.
    pub fn base(&self, host: Option<&str>) -> String {
        match self {
            PublicUrls::Fixed(url) => url.clone(),
            PublicUrls::RequestHost { scheme, port } => {
                format!("{scheme}://{}:{port}", host.and_then(host_name).unwrap_or("127.0.0.1"))
            }
        }
    }
}

/// The name or address in a `Host` header, without port; IPv6 addresses keep their brackets.
fn host_name(header: &str) -> Option<&str> {
    let end = match header.rfind(']') {
        Some(bracket) => bracket + 1,
        None => header.find(':').unwrap_or(header.len()),
    };
    let name = &header[..end];
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    (!name.is_empty() && name.len() <= 253 && name.bytes().all(plain)).then_some(name)
}

/// One part's URL with the headers to send along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPart {
    pub url: String,
    /// Never `host` or `content-length`, which every client sends by itself.
    pub headers: BTreeMap<String, String>,
}

/// Signs many parts of one upload for one client.
pub struct PartSigner<'a> {
    store: &'a ObjectStore,
    client: Client,
    key: &'a str,
    upload: &'a str,
    lifetime: PresigningConfig,
}

impl ObjectStore {
    /// The base URL of presigned URLs for a client that named `host`.
    pub fn public_base(&self, host: Option<&str>) -> String {
        self.public_urls.base(host)
    }

    /// Prepares to sign parts of an upload with URLs under `base`, good for `lifetime` (at most 7 days).
    pub fn part_signer<'a>(
        &'a self,
        base: &str,
        key: &'a str,
        upload: &'a str,
        lifetime: Duration,
    ) -> Result<PartSigner<'a>> {
        let lifetime =
            PresigningConfig::expires_in(lifetime).map_err(|error| ObjectError::Failed(anyhow::Error::new(error)))?;
        let config = self.client.config().to_builder().endpoint_url(base).build();
        Ok(PartSigner { store: self, client: Client::from_conf(config), key, upload, lifetime })
    }
}

impl PartSigner<'_> {
    /// A URL for exactly `size_bytes` bytes, and with a checksum for exactly these bytes.
    pub async fn sign(&self, number: u32, size_bytes: u64, sha256_base64: Option<&str>) -> Result<SignedPart> {
        let part = self.client.upload_part().bucket(&*self.store.bucket).key(self.key).upload_id(self.upload);
        let signed = part
            .part_number(i32::try_from(number).unwrap_or(i32::MAX))
            .content_length(i64::try_from(size_bytes).unwrap_or(i64::MAX))
            .set_checksum_sha256(sha256_base64.map(str::to_owned))
            .presigned(self.lifetime.clone())
            .await
            .map_err(|error| self.store.failure(self.key, error))?;
        let headers = signed
            .headers()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("host"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(SignedPart { url: signed.uri().to_owned(), headers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_header_gives_its_name_and_nothing_strange() {
        let urls = PublicUrls::RequestHost { scheme: "http", port: 9_000 };
        assert_eq!(urls.base(Some("tango.example:3031")), "http://tango.example:9000");
        assert_eq!(urls.base(Some("[::1]:3031")), "http://[::1]:9000");
        assert_eq!(urls.base(Some("evil/..@x")), "http://127.0.0.1:9000");
        assert_eq!(urls.base(None), "http://127.0.0.1:9000");
    }
}
