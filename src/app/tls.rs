//! HTTP or HTTPS, and with which certificate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use axum_server::tls_rustls::RustlsConfig;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::domain::Timestamp;

/// How often given certificate files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A generated certificate is good for so many years.
const YEARS: i32 = 10;

/// The files that a certificate came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Made by us for this installation: browsers will warn.
    pub generated: bool,
}

/// Plain HTTP on the loopback address or on request; otherwise HTTPS with the given certificate, or a generated one.
/// `None` is plain HTTP.
pub(super) fn certificate_files(
    config: &Config,
    address: SocketAddr,
    now: Timestamp,
) -> anyhow::Result<Option<CertificateFiles>> {
    match (&config.tls_cert_file, &config.tls_key_file) {
        _ if config.allow_http => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(CertificateFiles { certificate: certificate.clone(), key: key.clone(), generated: false }))
        }
        (None, None) if address.ip().is_loopback() => Ok(None),
        (None, None) => generated(config, address, now).map(Some),
        _ => bail!("TLS_CERT_FILE and TLS_KEY_FILE belong together: set both or none"),
    }
}

/// Whether the certificate and the key that the settings name can be used.
pub(super) async fn check_given(config: &Config) -> anyhow::Result<()> {
    if let (Some(certificate), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) {
        load(&CertificateFiles { certificate: certificate.clone(), key: key.clone(), generated: false }).await?;
    }
    Ok(())
}

/// Reads the files for the server.
pub(super) async fn load(files: &CertificateFiles) -> anyhow::Result<RustlsConfig> {
    RustlsConfig::from_pem_file(&files.certificate, &files.key).await.with_context(|| {
        format!(
            "the certificate {} and the key {} cannot be used (both must be PEM files and belong together)",
            files.certificate.display(),
            files.key.display()
        )
    })
}

/// Takes new contents of the files into use while the server runs. A broken pair changes nothing.
pub(super) async fn follow(files: CertificateFiles, config: RustlsConfig, stop: CancellationToken) {
    let mut seen = modified(&files);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let now = modified(&files);
        if now == seen {
            continue;
        }
        match config.reload_from_pem_file(&files.certificate, &files.key).await {
            Ok(()) => {
                tracing::info!(file = %files.certificate.display(), "the changed certificate is in use");
                seen = now;
            }
            // Perhaps only one of the two files has been replaced so far.
            Err(error) => tracing::warn!(
                file = %files.certificate.display(), %error,
                "the changed certificate cannot be used; the former one stays in use"
            ),
        }
    }
}

fn modified(files: &CertificateFiles) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|file| std::fs::metadata(file).and_then(|found| found.modified()).ok())
}

/// The certificate made for this installation, kept in the data folder; made anew when a name is missing in it.
fn generated(config: &Config, address: SocketAddr, now: Timestamp) -> anyhow::Result<CertificateFiles> {
    let folder = config.data_dir.join("tls");
    let files =
        CertificateFiles { certificate: folder.join("tango.crt"), key: folder.join("tango.key"), generated: true };
    let names_file = folder.join("names.txt");
    let wanted = names(config, address);
    let kept = std::fs::read_to_string(&names_file).unwrap_or_default();
    let complete = wanted.iter().all(|name| kept.lines().any(|line| line == name));
    if complete && files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let context = || format!("the certificate could not be written to {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(context)?;
    let key = rcgen::KeyPair::generate().context("no key could be generated")?;
    let mut parameters = rcgen::CertificateParams::new(wanted.clone()).context("HOST_DOMAIN is no host name")?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, wanted[0].clone());
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let (year, month, day) = date(now);
    parameters.not_before = rcgen::date_time_ymd(year - 1, month, day);
    parameters.not_after = rcgen::date_time_ymd(year + YEARS, month, day);
    let certificate = parameters.self_signed(&key).context("no certificate could be generated")?;
    write_private(&files.key, &key.serialize_pem()).with_context(context)?;
    std::fs::write(&files.certificate, certificate.pem()).with_context(context)?;
    std::fs::write(&names_file, wanted.join("\n")).with_context(context)?;
    Ok(files)
}

fn date(now: Timestamp) -> (i32, u8, u8) {
    use chrono::Datelike as _;
    let month = u8::try_from(now.month()).unwrap_or(1);
    // Every year has a 28th.
    let day = u8::try_from(now.day().min(28)).unwrap_or(1);
    (now.year(), month, day)
}

/// What clients may call this server: `HOST_DOMAIN`, its addresses, this machine. The first is the main one.
fn names(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut names: Vec<String> = config.host_domain.iter().cloned().collect();
    if address.ip().is_unspecified() {
        names.extend(outward_address().map(|address| address.to_string()));
    } else {
        names.push(address.ip().to_string());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    names.extend(is_name.then_some(host));
    names.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The address by which this machine would reach others. Connecting a datagram socket sends nothing.
pub(super) fn outward_address() -> Option<IpAddr> {
    const DOCUMENTATION_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((DOCUMENTATION_ADDRESS, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        Config { data_dir: folder.to_owned(), ..Config::default() }
    }

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn loopback_is_http_and_everything_else_https_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        let outside: SocketAddr = "0.0.0.0:0".parse().unwrap();
        assert_eq!(certificate_files(&config, "127.0.0.1:1".parse().unwrap(), now()).unwrap(), None);
        let files = certificate_files(&config, outside, now()).unwrap().unwrap();
        assert!(files.generated);
        let first = std::fs::read(&files.certificate).unwrap();
        certificate_files(&config, outside, now()).unwrap();
        assert_eq!(std::fs::read(&files.certificate).unwrap(), first, "kept over a restart");
        config.host_domain = Some("tango.example".to_owned());
        certificate_files(&config, outside, now()).unwrap();
        assert_ne!(std::fs::read(&files.certificate).unwrap(), first, "a new name needs a new certificate");
        config.allow_http = true;
        assert_eq!(certificate_files(&config, outside, now()).unwrap(), None);
    }
}
