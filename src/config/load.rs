//! From files, environment and command line to one [`Config`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::settings::{self, SETTINGS, Setting};
use super::{Config, env_file};

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../../config/tango.env");

/// Where settings are looked for when no file is named.
const USUAL_FILES: [&str; 2] = ["tango.env", "config/tango.env"];

/// What settings are made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--env-file`; it must exist.
    pub env_file: Option<PathBuf>,
    /// Where the usual files are looked for; nowhere when absent.
    pub working_dir: Option<PathBuf>,
    /// The process's environment.
    pub environment: HashMap<String, String>,
    /// Options of the command line by the name of their setting.
    pub command_line: Vec<(&'static str, String)>,
}

/// The settings in effect and how they came to be.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub values: Vec<EffectiveValue>,
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// One setting for `tango config check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    pub name: &'static str,
    /// `(hidden)` for a secret that is set.
    pub shown: String,
    /// `default`, `tango.env line 3`, `environment`, `command line`.
    pub source: String,
}

/// A text for a setting, and where it stood.
struct Given {
    text: String,
    source: String,
}

impl Sources {
    /// What a real process starts with.
    pub fn of_process(env_file: Option<PathBuf>, command_line: Vec<(&'static str, String)>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { env_file, working_dir: Some(PathBuf::from(".")), environment, command_line }
    }
}

/// Reads everything. The error names setting, value, place and what is allowed.
pub fn load(sources: &Sources) -> Result<Loaded, String> {
    let (file, text) = read_file(sources)?;
    let file_name = file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
    let parsed = env_file::parse(&text, &file_name)?;
    let mut warnings = parsed.warnings;
    for entry in &parsed.entries {
        if !is_known(&entry.name) {
            warnings.push(format!(
                "{file_name}, line {}: {} is no setting of tango and has no effect{}",
                entry.line,
                entry.name,
                similar(&entry.name).map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
            ));
        }
    }
    let in_file: HashMap<&str, Given> = parsed
        .entries
        .iter()
        .map(|entry| {
            let source = format!("{file_name} line {}", entry.line);
            (entry.name.as_str(), Given { text: entry.value.clone(), source })
        })
        .collect();

    let mut config = Config::default();
    let mut values = Vec::new();
    for setting in SETTINGS {
        let given = match from_command_line(sources, setting) {
            Some(given) => Some(given),
            None => match pick(setting, |name| environment(sources, name))? {
                Some(given) => Some(given),
                None => pick(setting, |name| {
                    in_file.get(name).map(|given| Given { text: given.text.clone(), source: given.source.clone() })
                })?,
            },
        };
        let given = given.filter(|given| !given.text.is_empty());
        if let Some(given) = &given {
            (setting.set)(&mut config, &given.text).map_err(|allowed| {
                let shown = if setting.secret { "its value" } else { &format!("{:?}", given.text) };
                format!("{} ({}): {shown} is not possible; allowed: {allowed}", setting.name, given.source)
            })?;
        }
        values.push(effective(setting, given.as_ref()));
    }
    settle(&mut config, &mut values);
    check(&config)?;
    Ok(Loaded { config, values, warnings, file })
}

fn read_file(sources: &Sources) -> Result<(Option<PathBuf>, String), String> {
    let read = |file: &Path| {
        std::fs::read_to_string(file)
            .map_err(|error| format!("the settings in {} cannot be read: {error}", file.display()))
    };
    if let Some(file) = &sources.env_file {
        return Ok((Some(file.clone()), read(file)?));
    }
    for name in USUAL_FILES {
        if let Some(file) = sources.working_dir.as_ref().map(|folder| folder.join(name))
            && file.is_file()
        {
            let text = read(&file)?;
            let file = file.strip_prefix(".").map(Path::to_owned).unwrap_or(file);
            return Ok((Some(file), text));
        }
    }
    Ok((None, String::new()))
}

fn from_command_line(sources: &Sources, setting: &Setting) -> Option<Given> {
    let (_, text) = sources.command_line.iter().find(|(name, _)| *name == setting.name)?;
    Some(Given { text: text.clone(), source: "command line".to_owned() })
}

fn environment(sources: &Sources, name: &str) -> Option<Given> {
    let text = sources.environment.get(name)?;
    Some(Given { text: text.clone(), source: "environment".to_owned() })
}

/// `NAME`, or the contents of the file that `NAME_FILE` names.
fn pick(setting: &Setting, get: impl Fn(&str) -> Option<Given>) -> Result<Option<Given>, String> {
    let by_file = format!("{}_FILE", setting.name);
    let direct = get(setting.name).filter(|given| !given.text.is_empty());
    let file = if settings::find(&by_file).is_some() { None } else { get(&by_file) };
    match (direct, file.filter(|given| !given.text.is_empty())) {
        (Some(_), Some(given)) => {
            Err(format!("{} and {by_file} are both set ({}): keep one of them", setting.name, given.source))
        }
        (None, Some(given)) => {
            let text = std::fs::read_to_string(&given.text)
                .map_err(|error| format!("{by_file} ({}): {:?} cannot be read: {error}", given.source, given.text))?;
            let text = text.trim_end_matches(['\n', '\r']).to_owned();
            Ok(Some(Given { text, source: format!("{by_file}, {}", given.source) }))
        }
        (direct, None) => Ok(direct),
    }
}

fn is_known(name: &str) -> bool {
    settings::find(name).is_some() || name.strip_suffix("_FILE").is_some_and(|name| settings::find(name).is_some())
}

/// A setting whose name differs only in case or underscores.
fn similar(name: &str) -> Option<&'static str> {
    let plain = |name: &str| name.replace('_', "").to_ascii_uppercase();
    SETTINGS.iter().map(|setting| setting.name).find(|known| plain(known) == plain(name))
}

fn effective(setting: &Setting, given: Option<&Given>) -> EffectiveValue {
    let shown = match given {
        Some(_) if setting.secret => "(hidden)".to_owned(),
        Some(given) => given.text.clone(),
        None => default_text(setting.name),
    };
    let source = given.map_or_else(|| "default".to_owned(), |given| given.source.clone());
    EffectiveValue { name: setting.name, shown, source }
}

/// What the documented defaults say.
fn default_text(name: &str) -> String {
    let line = DEFAULTS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_default().to_owned()
}

/// Defaults that depend on other settings.
fn settle(config: &mut Config, values: &mut [EffectiveValue]) {
    let drain = values.iter_mut().find(|value| value.name == "DRAIN_SECONDS" && value.source == "default");
    if let Some(drain) = drain
        && config.listen.ip().is_loopback()
        && config.mongodb_url.is_none()
    {
        config.drain_seconds = 0;
        drain.shown = "0".to_owned();
        drain.source = "default on the loopback address".to_owned();
    }
}

/// What settings must be to each other.
fn check(config: &Config) -> Result<(), String> {
    if config.tls_cert_file.is_some() != config.tls_key_file.is_some() {
        return Err("TLS_CERT_FILE and TLS_KEY_FILE belong together: set both or none".to_owned());
    }
    if config.s3_access_key.is_some() != config.s3_secret_key.is_some() {
        return Err("S3_ACCESS_KEY and S3_SECRET_KEY belong together: set both or none".to_owned());
    }
    if config.mongodb_url.is_some() && config.s3_endpoint.is_none() {
        return Err(
            "S3_ENDPOINT is missing: with MONGODB_URL (cluster mode) every node needs the same object store; name \
                    the S3 service, such as S3_ENDPOINT=https://s3.example.com:9000"
                .to_owned(),
        );
    }
    if config.s3_internal_endpoint.is_some() && config.s3_endpoint.is_none() {
        return Err(
            "S3_INTERNAL_ENDPOINT is set without S3_ENDPOINT, the address that clients are sent to: set both, \
                    or S3_ENDPOINT alone"
                .to_owned(),
        );
    }
    if config.mongodb_url.is_some() && config.token_secret.is_none() {
        return Err(
            "TOKEN_SECRET is missing: with MONGODB_URL (cluster mode) every node needs the same one, at least 32 \
                    characters; `openssl rand -hex 32` makes one"
                .to_owned(),
        );
    }
    for (name, url) in [("S3_ENDPOINT", &config.s3_endpoint), ("S3_INTERNAL_ENDPOINT", &config.s3_internal_endpoint)] {
        if let Some(url) = url
            && !url.starts_with("https://")
            && !config.allow_http
        {
            return Err(format!(
                "{name}: {url:?} is not possible, since data and signatures could be read on the way; allowed: an \
                 address that starts with https:// (for tests alone: ALLOW_HTTP=True)"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tango.env"), text).unwrap();
        let sources = Sources { working_dir: Some(folder.path().to_owned()), ..Sources::default() };
        (folder, sources)
    }

    fn source(loaded: &Loaded, name: &str) -> String {
        loaded.values.iter().find(|value| value.name == name).unwrap().source.clone()
    }

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let (_folder, sources) = with_file(DEFAULTS);
        let documented = load(&sources).unwrap();
        assert_eq!(documented.config, Config::default());
        assert_eq!(documented.warnings, Vec::<String>::new());
        for setting in SETTINGS {
            assert!(DEFAULTS.lines().any(|line| line.starts_with(&format!("{}=", setting.name))), "{}", setting.name);
        }
    }

    #[test]
    fn command_line_beats_environment_beats_file_beats_default() {
        let (_folder, mut sources) = with_file("S3_BUCKET=from-file\nS3_REGION=from-file\nLOG_LEVEL=DEBUG\n");
        sources.environment.insert("S3_BUCKET".to_owned(), "from-environment".to_owned());
        sources.environment.insert("S3_REGION".to_owned(), "from-environment".to_owned());
        sources.command_line.push(("S3_REGION", "from-line".to_owned()));
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config.s3_bucket, "from-environment");
        assert_eq!(loaded.config.s3_region, "from-line");
        assert_eq!(loaded.config.log_level, "DEBUG");
        assert!(source(&loaded, "LOG_LEVEL").ends_with("tango.env line 3"));
        assert_eq!(source(&loaded, "S3_REGION"), "command line");
        assert_eq!(source(&loaded, "SUPER_USER"), "default");
    }

    #[test]
    fn unknown_names_are_kept_and_named() {
        let (_folder, sources) = with_file("COLOUR=blue\nLOGLEVEL=DEBUG\n");
        let loaded = load(&sources).unwrap();
        assert!(loaded.warnings[0].contains("line 1: COLOUR"), "{:?}", loaded.warnings);
        assert!(loaded.warnings[1].contains("did you mean LOG_LEVEL?"), "{:?}", loaded.warnings);
    }

    #[test]
    fn a_quoted_value_is_used_as_it_stands() {
        let (_folder, sources) = with_file("LOGIN_MESSAGES=\"Welcome\"\nLOG_LEVEL=\"INFO\"\n");
        let error = load(&sources).unwrap_err();
        assert!(
            error.contains("LOG_LEVEL") && error.contains(r#""\"INFO\"""#) && error.contains("ERROR, WARN"),
            "{error}"
        );
        let (_folder, sources) = with_file("LOGIN_MESSAGES=\"Welcome\"  \n");
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config.login_messages, "\"Welcome\"");
        assert_eq!(loaded.warnings.len(), 2);
    }

    #[test]
    fn errors_name_setting_value_and_what_is_allowed() {
        for (text, part) in [
            ("LISTEN=nowhere", "127.0.0.1:3031"),
            ("TOKEN_TTL_SECONDS=-1", "whole number from 1"),
            ("AUTOGENERATE_INDEXES=maybe", "True or False"),
            ("WORKER_TOPICS=cooking", "model_training"),
            ("HOST_DOMAIN=https://x:1", "no port"),
            ("S3_ENDPOINT=http://x:9000", "https://"),
            ("MAX_REJECTED_SHARE=7", "from 0 to 1"),
            ("MONGODB_URL=mongodb://x", "S3_ENDPOINT is missing"),
            ("S3_ENDPOINT=https://user@x:9000", "https://"),
            ("S3_ENDPOINT=https://x:9000/tango", "S3_BUCKET"),
            ("S3_INTERNAL_ENDPOINT=https://x:9000", "without S3_ENDPOINT"),
        ] {
            let (_folder, sources) = with_file(text);
            let error = load(&sources).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            let (_, value) = text.split_once('=').unwrap();
            let about_another = text.starts_with("MONGODB") || text.starts_with("S3_INTERNAL");
            assert!(about_another || error.contains(value), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        let (folder, _) = with_file("");
        let secret = folder.path().join("pw");
        std::fs::write(&secret, "correct horse\n").unwrap();
        let (_folder, sources) =
            with_file(&format!("SUPER_USER_PASSWORD_FILE={}\nS3_SECRET_KEY=abc\n", secret.display()));
        let error = load(&sources).unwrap_err();
        assert!(error.contains("S3_SECRET_KEY") && !error.contains("abc"), "{error}");
        let (_folder, sources) = with_file(&format!("SUPER_USER_PASSWORD_FILE={}\n", secret.display()));
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config.super_user_password.as_ref().unwrap().0, "correct horse");
        let shown = loaded.values.iter().find(|value| value.name == "SUPER_USER_PASSWORD").unwrap();
        assert_eq!(shown.shown, "(hidden)");
        assert!(!format!("{:?}", loaded.config).contains("horse"));
        let both = format!("SUPER_USER_PASSWORD=12345678\nSUPER_USER_PASSWORD_FILE={}\n", secret.display());
        assert!(load(&with_file(&both).1).unwrap_err().contains("keep one"));
    }

    #[test]
    fn a_named_file_must_exist_and_the_usual_ones_need_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = Sources { working_dir: Some(folder.path().to_owned()), ..Sources::default() };
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config, Config { drain_seconds: 0, ..Config::default() });
        sources.env_file = Some(folder.path().join("missing.env"));
        assert!(load(&sources).unwrap_err().contains("missing.env"));
    }
}
