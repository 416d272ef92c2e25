//! The same work by another library: LightGBM from Python, run by the scripts of `benches/peer`.
//!
//! `TANGO_BENCH_PYTHON` names a Python that has `lightgbm` and `numpy` (and `flask`, `gunicorn` and `orjson` for the service); without it these
//! figures are left out.

use std::io::{BufRead as _, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::Options;
use crate::bench::Folder;

const PREDICT: &str = include_str!("../../../benches/peer/predict.py");
const SERVICE: &str = include_str!("../../../benches/peer/service.py");
/// As many as processors were fastest, with threads that keep connections open.
const WORKERS: &str = "2";
const THREADS: &str = "8";

/// Prints what LightGBM's own batch prediction of an ensemble of this size takes for all agents, on one thread.
pub fn lightgbm(options: &Options, tango_ms: f64, out: &mut dyn Write) -> Result<()> {
    let Some(python) = python() else {
        writeln!(out, "  LightGBM                   left out: TANGO_BENCH_PYTHON names no Python")?;
        return Ok(());
    };
    let arguments = [options.agents, options.trees as usize, options.requests];
    let run = Command::new(&python)
        .arg("-c")
        .arg(PREDICT)
        .args(arguments.map(|number| number.to_string()))
        .output()
        .with_context(|| format!("{python} does not start"))?;
    if !run.status.success() {
        bail!("{python} failed: {}", String::from_utf8_lossy(&run.stderr));
    }
    let median: f64 = String::from_utf8_lossy(&run.stdout).trim().parse().context("the script prints no figure")?;
    writeln!(
        out,
        "  LightGBM, one thread       median {median:>8.4} ms                    {:.0} × as long",
        median / tango_ms
    )?;
    Ok(())
}

/// The service of `benches/peer/service.py`, ended with the value.
pub struct Service {
    pub address: SocketAddr,
    process: Child,
    _folder: Folder,
}

impl Service {
    /// None without a Python.
    pub fn start(options: &Options) -> Result<Option<Self>> {
        let Some(python) = python() else { return Ok(None) };
        let folder = Folder::new("peer")?;
        std::fs::write(folder.0.join("service.py"), SERVICE)?;
        let mut process = Command::new(&python)
            .args(["-m", "gunicorn", "service:app", "--preload", "--bind", "127.0.0.1:0", "--keep-alive", "60"])
            .args(["--worker-class", "gthread", "--workers", WORKERS, "--threads", THREADS, "--chdir"])
            .arg(&folder.0)
            .env("AGENTS", (2 * options.agents).to_string())
            .env("TREES", options.trees.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{python} does not start"))?;
        let mut lines = BufReader::new(process.stderr.take().context("there is no log")?).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = lines.next().transpose()? else { bail!("gunicorn failed: {said}") };
            if let Some((_, rest)) = line.split_once("Listening at: http://") {
                break rest
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .parse()
                    .context("gunicorn tells no address")?;
            }
            said += &line;
            said.push('\n');
        };
        // Read to its end, so that nobody waits for room.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Some(Self { address, process, _folder: folder }))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        // Its workers end with it. What has ended already needs no end.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

pub fn python() -> Option<String> {
    std::env::var("TANGO_BENCH_PYTHON").ok().filter(|path| !path.is_empty())
}
