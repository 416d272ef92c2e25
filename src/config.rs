//! Settings from `tango.env`, the process environment and the command line.

pub mod env_file;
mod load;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

pub use load::{DEFAULTS, EffectiveValue, Loaded, Sources, load};

use crate::domain::job::Topic;

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object, with the event's values as members of `fields`.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not a format of logs: use text or json")),
        }
    }
}

/// Every setting with its effective value. `config/tango.env` documents each one.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub s3_listen: Option<SocketAddr>,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub allow_http: bool,
    pub host_domain: Option<String>,
    pub super_user: String,
    pub super_user_password: Option<Secret>,
    pub log_level: String,
    pub log_format: LogFormat,
    pub login_messages: String,
    pub add_cardinalities_every_n_records: u64,
    pub autogenerate_indexes: bool,
    pub omp_num_threads: Option<usize>,
    pub gunicorn_timeout_seconds: u64,
    /// Its presence means cluster mode.
    pub mongodb_url: Option<Secret>,
    pub mongodb_ca_file: Option<PathBuf>,
    pub s3_endpoint: Option<String>,
    pub s3_internal_endpoint: Option<String>,
    pub s3_access_key: Option<String>,
    pub s3_secret_key: Option<Secret>,
    pub s3_bucket: String,
    pub s3_region: String,
    pub s3_ca_file: Option<PathBuf>,
    /// Of each object, kept by the service in `s3_endpoint`; for the doctor.
    pub object_copies: Option<u32>,
    pub object_grace_days: u32,
    pub job_retention_days: u32,
    /// 0 keeps nothing of what was scored.
    pub scored_context_days: u32,
    pub score_statistics_days: u32,
    /// Without it the score log is kept for ever.
    pub score_log_days: Option<u32>,
    /// 0 keeps no request whole.
    pub score_sample_seconds: u32,
    pub worker_topics: Vec<Topic>,
    pub score_queue_ms: u64,
    pub training_memory_mb: u64,
    pub drain_seconds: u64,
    pub token_ttl_seconds: u64,
    /// Seals signing keys and API keys; generated once in the data folder when absent.
    pub token_secret: Option<Secret>,
    pub limits: Limits,
}

/// Configurable limits; exceeding one is an error that names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub max_upload_bytes: u64,
    /// Bytes after decompression; a zip bomb ends here.
    pub max_uncompressed_bytes: u64,
    pub max_columns: usize,
    pub max_row_bytes: usize,
    pub max_value_bytes: usize,
    pub max_id_bytes: usize,
    pub max_dict_keys: usize,
    /// Share of rows that may be rejected before an upload fails, 0 to 1.
    pub max_rejected_share: f64,
    pub max_body_bytes: usize,
    pub max_records_per_call: usize,
    pub max_context_fields: usize,
}

impl Config {
    /// Eight characters that are the same for processes with the same settings, those aside that belong to one process alone. Secrets
    /// do not enter it.
    pub fn fingerprint(&self) -> String {
        let own = Self::default();
        let shared = Self {
            data_dir: own.data_dir,
            listen: own.listen,
            s3_listen: None,
            tls_cert_file: None,
            tls_key_file: None,
            mongodb_ca_file: None,
            s3_ca_file: None,
            object_copies: None,
            super_user_password: None,
            log_level: own.log_level,
            log_format: own.log_format,
            worker_topics: own.worker_topics,
            ..self.clone()
        };
        let digest = Sha256::digest(format!("{shared:?}"));
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_upload_bytes: 64 << 30,
            max_uncompressed_bytes: 256 << 30,
            max_columns: 2_000,
            max_row_bytes: 4 << 20,
            max_value_bytes: 64 << 10,
            max_id_bytes: 512,
            max_dict_keys: 200,
            max_rejected_share: 0.1,
            max_body_bytes: 16 << 20,
            max_records_per_call: 5_000,
            max_context_fields: 1_000,
        }
    }
}

impl Default for Config {
    /// The settings of an installation without any configuration; `config/tango.env` says the same.
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./tango-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 3031)),
            s3_listen: None,
            tls_cert_file: None,
            tls_key_file: None,
            allow_http: false,
            host_domain: None,
            super_user: "super_user@genesys.com".to_owned(),
            super_user_password: None,
            log_level: "INFO".to_owned(),
            log_format: LogFormat::Text,
            login_messages: String::new(),
            add_cardinalities_every_n_records: 1_000,
            autogenerate_indexes: true,
            omp_num_threads: None,
            gunicorn_timeout_seconds: 600,
            mongodb_url: None,
            mongodb_ca_file: None,
            s3_endpoint: None,
            s3_internal_endpoint: None,
            s3_access_key: None,
            s3_secret_key: None,
            s3_bucket: "tango".to_owned(),
            s3_region: "us-east-1".to_owned(),
            s3_ca_file: None,
            object_copies: None,
            object_grace_days: 7,
            job_retention_days: 30,
            scored_context_days: 7,
            score_statistics_days: 400,
            score_log_days: None,
            score_sample_seconds: 10,
            worker_topics: Topic::ALL.to_vec(),
            score_queue_ms: 50,
            training_memory_mb: 4_096,
            drain_seconds: 10,
            token_ttl_seconds: 43_200,
            token_secret: None,
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_settings_apart_but_no_processes() {
        let config = Config::default();
        let listens = Config { listen: SocketAddr::from(([0, 0, 0, 0], 1)), ..config.clone() };
        let other = Config { score_queue_ms: 51, ..config.clone() };
        assert_eq!(config.fingerprint(), listens.fingerprint());
        assert_ne!(config.fingerprint(), other.fingerprint());
        assert_eq!(config.fingerprint().len(), 8);
    }
}
