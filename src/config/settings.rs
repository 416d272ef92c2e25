//! Each setting's name and how its text becomes a value.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::{Config, Secret};
use crate::domain::job::Topic;

/// One setting. An empty text leaves the default.
pub struct Setting {
    pub name: &'static str,
    /// Never printed.
    pub secret: bool,
    /// Puts the value in; the error says what is allowed.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
}

const fn open(name: &'static str, set: fn(&mut Config, &str) -> Result<(), String>) -> Setting {
    Setting { name, secret: false, set }
}

const fn secret(name: &'static str, set: fn(&mut Config, &str) -> Result<(), String>) -> Setting {
    Setting { name, secret: true, set }
}

/// In the order of `config/tango.env`.
pub const SETTINGS: &[Setting] = &[
    open("DATA_DIR", |c, t| put(&mut c.data_dir, Ok(PathBuf::from(t)))),
    open("LISTEN", |c, t| put(&mut c.listen, address(t))),
    open("HOST_DOMAIN", |c, t| put(&mut c.host_domain, host(t).map(Some))),
    open("TLS_CERT_FILE", |c, t| put(&mut c.tls_cert_file, path(t))),
    open("TLS_KEY_FILE", |c, t| put(&mut c.tls_key_file, path(t))),
    open("ALLOW_HTTP", |c, t| put(&mut c.allow_http, boolean(t))),
    open("DRAIN_SECONDS", |c, t| put(&mut c.drain_seconds, whole(t, 0, 3_600))),
    open("GUNICORN_TIMEOUT", |c, t| put(&mut c.gunicorn_timeout_seconds, whole(t, 1, 86_400))),
    open("SUPER_USER", |c, t| put(&mut c.super_user, word(t))),
    secret("SUPER_USER_PASSWORD", |c, t| put(&mut c.super_user_password, long_enough(t, 8))),
    open("LOGIN_MESSAGES", |c, t| put(&mut c.login_messages, Ok(t.to_owned()))),
    open("TOKEN_TTL_SECONDS", |c, t| put(&mut c.token_ttl_seconds, whole(t, 1, 31_536_000))),
    secret("TOKEN_SECRET", |c, t| put(&mut c.token_secret, long_enough(t, 32))),
    open("LOG_LEVEL", |c, t| put(&mut c.log_level, log_level(t))),
    open("LOG_FORMAT", |c, t| put(&mut c.log_format, t.parse())),
    open("ADD_CARDINALITIES_EVERY_N_RECORDS", |c, t| {
        put(&mut c.add_cardinalities_every_n_records, whole(t, 1, 1_000_000_000))
    }),
    open("AUTOGENERATE_INDEXES", |c, t| put(&mut c.autogenerate_indexes, boolean(t))),
    open("OBJECT_GRACE_DAYS", |c, t| put(&mut c.object_grace_days, whole(t, 0, 3_650).map(narrow))),
    open("WORKER_TOPICS", |c, t| put(&mut c.worker_topics, topics(t))),
    open("JOB_RETENTION_DAYS", |c, t| put(&mut c.job_retention_days, whole(t, 1, 3_650).map(narrow))),
    open("SCORED_CONTEXT_DAYS", |c, t| put(&mut c.scored_context_days, whole(t, 0, 365).map(narrow))),
    open("SCORE_STATISTICS_DAYS", |c, t| put(&mut c.score_statistics_days, whole(t, 1, 3_650).map(narrow))),
    open("SCORE_LOG_DAYS", |c, t| put(&mut c.score_log_days, whole(t, 1, 3_650).map(|days| Some(narrow(days))))),
    open("SCORE_SAMPLE_SECONDS", |c, t| put(&mut c.score_sample_seconds, whole(t, 0, 86_400).map(narrow))),
    open("OMP_NUM_THREADS", |c, t| put(&mut c.omp_num_threads, whole(t, 1, 1_024).map(|n| Some(size(n))))),
    open("TRAINING_MEMORY_MB", |c, t| put(&mut c.training_memory_mb, whole(t, 64, 16_777_216))),
    open("SCORE_QUEUE_MS", |c, t| put(&mut c.score_queue_ms, whole(t, 0, 60_000))),
    open("S3_LISTEN", |c, t| put(&mut c.s3_listen, address(t).map(Some))),
    open("S3_ENDPOINT", |c, t| put(&mut c.s3_endpoint, endpoint(t).map(Some))),
    open("S3_INTERNAL_ENDPOINT", |c, t| put(&mut c.s3_internal_endpoint, endpoint(t).map(Some))),
    open("S3_ACCESS_KEY", |c, t| put(&mut c.s3_access_key, word(t).map(Some))),
    secret("S3_SECRET_KEY", |c, t| put(&mut c.s3_secret_key, long_enough(t, 8))),
    open("S3_BUCKET", |c, t| put(&mut c.s3_bucket, bucket(t))),
    open("S3_REGION", |c, t| put(&mut c.s3_region, word(t))),
    open("S3_CA_FILE", |c, t| put(&mut c.s3_ca_file, path(t))),
    open("OBJECT_COPIES", |c, t| put(&mut c.object_copies, whole(t, 1, 100).map(|count| Some(narrow(count))))),
    secret("MONGODB_URL", |c, t| put(&mut c.mongodb_url, Ok(Some(Secret(t.trim().to_owned()))))),
    open("MONGODB_CA_FILE", |c, t| put(&mut c.mongodb_ca_file, path(t))),
    open("MAX_UPLOAD_BYTES", |c, t| put(&mut c.limits.max_upload_bytes, whole(t, 1, 1 << 50))),
    open("MAX_UNCOMPRESSED_BYTES", |c, t| put(&mut c.limits.max_uncompressed_bytes, whole(t, 1, 1 << 50))),
    open("MAX_COLUMNS", |c, t| put(&mut c.limits.max_columns, whole(t, 1, 100_000).map(size))),
    open("MAX_ROW_BYTES", |c, t| put(&mut c.limits.max_row_bytes, whole(t, 1_024, 1 << 30).map(size))),
    open("MAX_VALUE_BYTES", |c, t| put(&mut c.limits.max_value_bytes, whole(t, 64, 1 << 28).map(size))),
    open("MAX_ID_BYTES", |c, t| put(&mut c.limits.max_id_bytes, whole(t, 1, 4_096).map(size))),
    open("MAX_DICT_KEYS", |c, t| put(&mut c.limits.max_dict_keys, whole(t, 1, 10_000).map(size))),
    open("MAX_REJECTED_SHARE", |c, t| put(&mut c.limits.max_rejected_share, share(t))),
    open("MAX_BODY_BYTES", |c, t| put(&mut c.limits.max_body_bytes, whole(t, 1_024, 1 << 30).map(size))),
    open("MAX_RECORDS_PER_CALL", |c, t| put(&mut c.limits.max_records_per_call, whole(t, 1, 100_000).map(size))),
    open("MAX_CONTEXT_FIELDS", |c, t| put(&mut c.limits.max_context_fields, whole(t, 1, 100_000).map(size))),
];

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn put<T>(slot: &mut T, value: Result<T, String>) -> Result<(), String> {
    *slot = value?;
    Ok(())
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("True or False".to_owned()),
    }
}

fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("a whole number from {least} to {most}"))
}

/// Within the range that [`whole`] checked.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Within the range that [`whole`] checked.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "a number from 0 to 1".to_owned())
}

/// `host:port`, where the host is an address, `localhost` or nothing (every address).
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let usual = || "an address and a port, such as 127.0.0.1:3031, [::1]:3031, 0.0.0.0:3031 or localhost:0".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(usual)?;
    let port: u16 = port.parse().map_err(|_| usual())?;
    match host {
        "localhost" => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        "" | "*" => Ok(SocketAddr::from(([0, 0, 0, 0], port))),
        _ => Err(usual()),
    }
}

fn host(text: &str) -> Result<String, String> {
    let is_name = text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("a host name or an address alone, such as tango.example.com or 192.0.2.10 (no https://, no port)".to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || "@?#".contains(c)) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("an address that starts with https://, such as https://tango.example.com:9000".to_owned()),
    }
}

/// An address whose paths are buckets.
fn endpoint(text: &str) -> Result<String, String> {
    let address = url(text)?;
    match address.split_once("://").and_then(|(_, host)| host.split_once('/')) {
        None => Ok(address),
        Some((_, path)) => Err(format!("an address without the path /{path}: the bucket is named in S3_BUCKET")),
    }
}

fn path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok(Some(PathBuf::from(text)))
}

fn word(text: &str) -> Result<String, String> {
    if text.contains(char::is_whitespace) { Err("a text without blanks".to_owned()) } else { Ok(text.to_owned()) }
}

fn long_enough(text: &str, least: usize) -> Result<Option<Secret>, String> {
    if text.chars().count() < least {
        return Err(format!("at least {least} characters"));
    }
    Ok(Some(Secret(text.to_owned())))
}

fn bucket(text: &str) -> Result<String, String> {
    let fits = (3..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err("3 to 63 lower-case letters, digits, dots and hyphens".to_owned()) }
}

fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    let known = LEVELS.iter().find(|level| level.eq_ignore_ascii_case(text));
    known.map(|level| (*level).to_owned()).ok_or_else(|| format!("one of {}", LEVELS.join(", ")))
}

fn topics(text: &str) -> Result<Vec<Topic>, String> {
    let mut topics = Vec::new();
    for name in text.split(',').map(str::trim) {
        let topic = Topic::ALL.into_iter().find(|topic| topic.as_str() == name).ok_or_else(|| {
            format!("topics separated by commas, each one of {}", Topic::ALL.map(Topic::as_str).join(", "))
        })?;
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    Ok(topics)
}
