//! The certificate that is served: until when it is good, and for which names.

use std::net::IpAddr;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::Findings;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;

/// Less time than this is worth a warning.
const SOON: TimeDelta = TimeDelta::days(30);

/// What a client would object to.
#[derive(Debug, PartialEq, Eq)]
struct Certificate {
    ends: DateTime<Utc>,
    names: Vec<String>,
}

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let Some(file) = config.tls_cert_file.as_deref().filter(|_| !config.allow_http) else { return };
    match read(file) {
        Ok(certificate) => tell(&certificate, file, config.host_domain.as_deref(), SystemClock.now(), findings),
        Err(problem) => findings.fail(format!("the certificate {}: {problem}", file.display())),
    }
}

fn read(file: &Path) -> Result<Certificate, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    // The server's own comes first.
    let pem =
        Pem::iter_from_buffer(&text).next().ok_or("it holds none in PEM form")?.map_err(|error| error.to_string())?;
    let parsed = pem.parse_x509().map_err(|error| error.to_string())?;
    let ends = DateTime::from_timestamp(parsed.validity().not_after.timestamp(), 0).ok_or("its end is no date")?;
    let mut names = Vec::new();
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    Ok(Certificate { ends, names })
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}

fn tell(certificate: &Certificate, file: &Path, host: Option<&str>, now: DateTime<Utc>, findings: &mut Findings) {
    let (shown, end) = (file.display(), certificate.ends.format("%Y-%m-%d"));
    if certificate.ends < now {
        findings.fail(format!("the certificate {shown} has expired on {end}: put a new one there"));
    } else if certificate.ends - now < SOON {
        findings.warn(format!("the certificate {shown} expires on {end}: put a new one there in time"));
    } else {
        findings.fine(format!("the certificate {shown} is good until {end}"));
    }
    let name = host.unwrap_or("HOST");
    if certificate.names.is_empty() {
        let kind = if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
        findings.warn(format!(
            "the certificate {shown} has no subjectAltName: it is served, but clients will refuse it, whatever its CN says. This makes \
             one that is right: openssl req -new -x509 -newkey rsa:4096 -nodes -days 365 -subj \"/CN={name}\" -addext \
             \"subjectAltName={kind}:{name}\" -keyout tango.key -out tango.crt"
        ));
    } else if let Some(host) = host
        && !certificate.names.iter().any(|name| covers(name, host))
    {
        findings.warn(format!(
            "the certificate {shown} is for {}, not for {host} (HOST_DOMAIN): clients will refuse it",
            certificate.names.join(", ")
        ));
    }
}

/// A star stands for one label.
fn covers(name: &str, host: &str) -> bool {
    name.eq_ignore_ascii_case(host)
        || name
            .strip_prefix("*.")
            .is_some_and(|rest| host.split_once('.').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 4);
        let file = folder.path().join("tango.crt");
        std::fs::write(&file, parameters.self_signed(&key).unwrap().pem()).unwrap();
        (folder, file)
    }

    fn counted(certificate: &Certificate, host: &str, now: &str) -> (usize, usize) {
        let mut findings = Findings::default();
        tell(certificate, Path::new("tango.crt"), Some(host), now.parse().unwrap(), &mut findings);
        (findings.failures, findings.warnings)
    }

    #[test]
    fn names_and_end_are_read() {
        let (_folder, file) = made(&["tango.example.com", "10.1.2.3"]);
        let certificate = read(&file).unwrap();
        assert_eq!(certificate.names, ["tango.example.com", "10.1.2.3"]);
        assert_eq!(certificate.ends.format("%Y-%m-%d").to_string(), "2031-05-04");
        assert_eq!(counted(&certificate, "10.1.2.3", "2030-01-01T00:00:00Z"), (0, 0));
        assert_eq!(counted(&certificate, "other.example.com", "2030-01-01T00:00:00Z"), (0, 1));
        assert_eq!(counted(&certificate, "tango.example.com", "2031-04-20T00:00:00Z"), (0, 1));
        assert_eq!(counted(&certificate, "tango.example.com", "2031-05-20T00:00:00Z"), (1, 0));
    }

    #[test]
    fn one_without_names_is_warned_of() {
        let (_folder, file) = made(&[]);
        assert_eq!(counted(&read(&file).unwrap(), "tango.example.com", "2030-01-01T00:00:00Z"), (0, 1));
    }

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(covers("*.example.com", "tango.example.com"));
        assert!(!covers("*.example.com", "a.tango.example.com"));
        assert!(!covers("*.example.com", "example.com"));
    }
}
