//! Everything that whoever helps asks for first, in one file of text. No secret is in it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::clock::{Clock as _, SystemClock};
use crate::config::Loaded;

pub(super) fn write(file: &Path, loaded: &Loaded, findings: &[String]) -> anyhow::Result<()> {
    let text = text(loaded, findings).context("the text could not be put together")?;
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

pub(super) fn text(loaded: &Loaded, findings: &[String]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let system = rustix::system::uname();
    writeln!(text, "tango {}, {}", env!("CARGO_PKG_VERSION"), SystemClock.now().format("%Y-%m-%d %H:%M:%S UTC"))?;
    writeln!(
        text,
        "{} {} {} {}",
        system.nodename().to_string_lossy(),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy()
    )?;
    writeln!(text, "processors: {}", std::thread::available_parallelism().map_or(0, usize::from))?;
    for (name, file) in [("memory", "/proc/meminfo"), ("load", "/proc/loadavg"), ("pressure", "/proc/pressure/memory")]
    {
        let Ok(contents) = std::fs::read_to_string(file) else { continue };
        writeln!(text, "{name}: {}", contents.lines().take(3).collect::<Vec<_>>().join("; "))?;
    }
    writeln!(text, "\nFindings")?;
    for line in findings {
        writeln!(text, "  {line}")?;
    }
    writeln!(text, "\nSettings (fingerprint {})", loaded.config.fingerprint())?;
    for value in &loaded.values {
        writeln!(text, "  {}={}  ({})", value.name, value.shown, value.source)?;
    }
    for warning in &loaded.warnings {
        writeln!(text, "  warning: {warning}")?;
    }
    Ok(text)
}
