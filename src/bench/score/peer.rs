//! The same work by another library: LightGBM from Python, run by the scripts of `benches/peer`.
//!
//! `TANGO_BENCH_PYTHON` names a Python that has `lightgbm` and `numpy` (and `flask` and `gunicorn` for the service); without it these figures are left out.

use std::io::Write;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Options;

const PREDICT: &str = include_str!("../../../benches/peer/predict.py");

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

pub fn python() -> Option<String> {
    std::env::var("TANGO_BENCH_PYTHON").ok().filter(|path| !path.is_empty())
}
