//! Why the bucket cannot be used, in one line that says what is wrong and what to change.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use rustls::CertificateError;

use super::failure::{CallError, causes, code, status};

/// What stands between this program and its bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be reached, or fails: likely to pass without anybody touching tango.
    Away(String),
    /// Somebody has to change something: a start is refused.
    Wrong(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trouble::Away(text) | Trouble::Wrong(text)) = self;
        f.write_str(text)
    }
}

/// The names of what can be wrong, as an operator knows them.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Base URL.
    pub endpoint: String,
    /// The setting that it comes from.
    pub setting: &'static str,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub ca_file: Option<PathBuf>,
}

/// A store further off than this refuses what is signed; the protocol's own limit.
const MOST_SKEW_MINUTES: i64 = 15;

impl Place {
    /// Why a call about the bucket failed. `ahead_seconds` is how far this machine's clock is ahead, if that is known.
    pub fn trouble<E>(&self, error: &CallError<E>, ahead_seconds: Option<i64>) -> Trouble
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => self.away("does not answer in time: is it running, and can it be reached?"),
            SdkError::ConstructionFailure(_) => {
                self.wrong(&format!("cannot be addressed ({}): correct {}", last_cause(error), self.setting))
            }
            SdkError::DispatchFailure(_) => self.connection(error),
            SdkError::ResponseError(_) if broke_off(error) => self.away("breaks its answers off"),
            _ => self.answer(error, ahead_seconds),
        }
    }

    /// No answer came.
    fn connection(&self, error: &(dyn Error + 'static)) -> Trouble {
        for cause in causes(error) {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return self.tls(tls);
            }
            if let Some(http) = cause.downcast_ref::<hyper::Error>()
                && http.is_parse()
            {
                return self.wrong(&format!(
                    "does not answer in HTTP: {} must name the S3 port of the service, with https:// if it uses TLS",
                    self.setting
                ));
            }
            match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(ErrorKind::ConnectionRefused) => {
                    return self.away("refuses connections: is it running, and is the port right?");
                }
                Some(ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe) => {
                    return self.away("closes connections before it answers");
                }
                Some(ErrorKind::TimedOut) => {
                    return self.away("does not answer in time: is it running, and can it be reached?");
                }
                _ => {}
            }
            if cause.to_string().starts_with("failed to lookup address") {
                return self.away(&format!("has a name that cannot be resolved: is {} right?", self.setting));
            }
        }
        self.away(&format!("cannot be reached ({})", last_cause(error)))
    }

    fn tls(&self, error: &rustls::Error) -> Trouble {
        use CertificateError as Bad;
        let setting = self.setting;
        let certificate = match error {
            rustls::Error::InvalidCertificate(certificate) => certificate,
            rustls::Error::InvalidMessage(_) => {
                return self.wrong(&format!(
                    "does not speak TLS on this port: {setting} must name its HTTPS port (http:// needs ALLOW_HTTP, for tests)"
                ));
            }
            rustls::Error::AlertReceived(alert) => {
                return self.wrong(&format!("refuses the TLS connection ({alert:?}): look at its TLS settings"));
            }
            other => return self.away(&format!("fails in TLS ({})", one_line(&other.to_string()))),
        };
        match certificate {
            Bad::UnknownIssuer | Bad::BadSignature => match &self.ca_file {
                Some(file) => self.wrong(&format!(
                    "has a certificate that the authorities in {} (S3_CA_FILE) have not issued: put its authority's certificate (PEM) there",
                    file.display()
                )),
                None => self.wrong(
                    "has a certificate of an authority that this machine does not know: name a file with that authority's certificate (PEM) in S3_CA_FILE",
                ),
            },
            Bad::Expired | Bad::ExpiredContext { .. } => {
                let since = match certificate {
                    Bad::ExpiredContext { not_after, .. } => format!(" since {}", moment(not_after.as_secs())),
                    _ => String::new(),
                };
                self.wrong(&format!(
                    "has a certificate that has expired{since}: renew it there (or set this machine's clock right)"
                ))
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                self.wrong("has a certificate that is not valid yet: set this machine's clock right, or renew it there")
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                let names = match certificate {
                    Bad::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                        // They come as `DnsName("s3.example.com")`.
                        let inside = |name: &'_ String| name.split_once('(').map_or_else(
                            || name.clone(),
                            |(_, inside)| inside.trim_end_matches(')').trim_matches('"').to_owned(),
                        );
                        let names: Vec<String> = presented.iter().map(inside).collect();
                        format!(" (it is for {})", names.join(", "))
                    }
                    _ => String::new(),
                };
                self.wrong(&format!(
                    "has a certificate for another host name{names}: use that name in {setting}, or give the service a certificate for this one"
                ))
            }
            other => self.wrong(&format!(
                "has a certificate that cannot be accepted ({}): renew it there",
                one_line(&other.to_string())
            )),
        }
    }

    /// An answer came, and it is no success.
    fn answer<E>(&self, error: &CallError<E>, ahead_seconds: Option<i64>) -> Trouble
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let status = status(error).unwrap_or_default();
        let said = error.as_service_error().and_then(ProvideErrorMetadata::message).map(one_line).unwrap_or_default();
        let Place { bucket, access_key, region, setting, .. } = self;
        match code(error) {
            Some("RequestTimeTooSkewed") => {
                let skew = match ahead_seconds.map(|seconds| seconds / 60) {
                    Some(minutes) if minutes.abs() > 0 => {
                        let direction = if minutes > 0 { "ahead of" } else { "behind" };
                        format!("is {} minutes {direction}", minutes.abs())
                    }
                    _ => format!("is more than {MOST_SKEW_MINUTES} minutes off"),
                };
                self.wrong(&format!(
                    "refuses what this machine signs, whose clock {skew} its own: set the wrong one of both right (NTP)"
                ))
            }
            Some("InvalidAccessKeyId" | "NotSignedUp") => {
                self.wrong(&format!("does not know the access key {access_key}: correct S3_ACCESS_KEY"))
            }
            Some("SignatureDoesNotMatch") => self.wrong(&format!(
                "knows the access key {access_key} by another secret: correct S3_SECRET_KEY (or a proxy in between changes the Host header)"
            )),
            Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException") => {
                let right = error.raw_response().and_then(|response| response.headers().get("x-amz-bucket-region"));
                let advice = match right {
                    Some(right) => format!("it is in {right}"),
                    None => said,
                };
                self.wrong(&format!(
                    "does not keep the bucket {bucket} in the region {region}: correct S3_REGION ({advice})"
                ))
            }
            Some("InvalidBucketName") => self.wrong(&format!("takes no bucket named {bucket}: change S3_BUCKET")),
            Some(code) if matches!(status, 401 | 403) => self.wrong(&format!(
                "refuses the access key {access_key} for the bucket {bucket} ({}): correct S3_ACCESS_KEY and S3_SECRET_KEY, or allow the key to list, read, write and delete there",
                if said.is_empty() { code } else { &said }
            )),
            Some(code) if status >= 500 || status == 429 => {
                self.away(&format!("fails ({status} {code})"))
            }
            Some("NoSuchBucket") => self.wrong(&format!("has no bucket {bucket}")),
            Some(code) => self.wrong(&format!(
                "refuses to be asked about the bucket {bucket} ({status} {code}{}{said})",
                if said.is_empty() { "" } else { ": " }
            )),
            None if status >= 500 || status == 429 => self.away(&format!("fails ({status})")),
            None => self.wrong(&format!(
                "is no S3 service (it answered {status} without an S3 document): {setting} must name the S3 port of the service"
            )),
        }
    }

    /// The bucket is missing, and this is why it could not be made.
    pub fn not_creatable<E>(&self, error: &CallError<E>, ahead_seconds: Option<i64>) -> Trouble
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match status(error) {
            Some(401 | 403) => self.wrong(&format!(
                "has no bucket {}, and the access key {} may not make one: make it there, or correct S3_BUCKET",
                self.bucket, self.access_key
            )),
            _ => self.trouble(error, ahead_seconds),
        }
    }

    pub fn away(&self, what: &str) -> Trouble {
        Trouble::Away(self.sentence(what))
    }

    pub fn wrong(&self, what: &str) -> Trouble {
        Trouble::Wrong(self.sentence(what))
    }

    fn sentence(&self, what: &str) -> String {
        format!("the object store at {} ({}) {what}", self.endpoint, self.setting)
    }
}

/// Whether the connection ended in the middle of an answer.
fn broke_off(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        cause.is::<std::io::Error>() || cause.downcast_ref::<hyper::Error>().is_some_and(|error| !error.is_parse())
    })
}

fn last_cause(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(|cause| one_line(&cause.to_string())).unwrap_or_default()
}

/// What others said, fit for one line of ours.
fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').chars().take(MOST).collect()
}

fn moment(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    moment.map(|moment| moment.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}
