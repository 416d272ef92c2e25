//! `tango bench …`: figures that anyone can measure again, printed beside an alternative's.

mod append;
mod customers;
pub mod ingest;
mod lean_client;
pub mod learn;
pub mod lift;
mod pages;
mod public_data;
pub mod score;
pub mod variance;

use crate::config::{Config, Secret};

/// One benchmark.
pub struct Bench {
    pub name: &'static str,
    pub about: &'static str,
    /// Gets the arguments after the name.
    pub run: fn(&[String]) -> anyhow::Result<()>,
}

/// Every benchmark by name.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "append",
        about: "Profile records a second over HTTP, beside a bare SQLite loop: [seconds] [rounds] [folder]",
        run: append::run,
    },
    Bench {
        name: "customers",
        about: "Customers into a cluster, beside plain loops of the database's driver: [records] [rounds]",
        run: customers::run,
    },
    Bench {
        name: "ingest",
        about: "Files to counted segments, beside pandas: [--rows N] [--repeat N] [--lookup-rows N] [--only files|lookup|cardinality] [--skip-python]",
        run: ingest::command,
    },
    Bench {
        name: "learn",
        about: "Quality of the model types, and what a training costs, beside other tools: [insteval|flights-random|flights-time|centre|cost] [--python] [--repeat] [--progress] [--threads N]",
        run: learn::command,
    },
    Bench {
        name: "lift",
        about: "Coverage of the lift estimation's intervals on simulated centres: [runs] [--interactions N] [--agents N] [--trees N] [--handle-time] [--overfitted]",
        run: lift::command,
    },
    Bench {
        name: "pages",
        about: "Server time of every page of the web application with very many objects: [objects]",
        run: pages::run,
    },
    Bench {
        name: "score",
        about: "Scores alone and over HTTP, beside alternatives: [engine|http] [--agents N] [--trees N] [--requests N] [--seconds N]",
        run: score::command,
    },
    Bench {
        name: "variance",
        about: "Coverage of the agent variance report's intervals on simulated centres: [runs] [--interactions N] [--agents N] [--handle-time]",
        run: variance::command,
    },
];

/// The number after `--name`, if it is given.
fn number(arguments: &[String], name: &str) -> anyhow::Result<Option<usize>> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(None) };
    let value = arguments.get(at + 1).and_then(|value| value.parse().ok());
    value.map(Some).ok_or_else(|| anyhow::anyhow!("{name} needs a whole number after it"))
}

/// A folder of this process's own among the system's temporary ones, gone with the value.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tango-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The first user's password at the servers of benchmarks.
const PASSWORD: &str = "for a benchmark only";

/// Settings of a server in this process that uses a folder of its own, and any ports.
fn local_config(folder: &std::path::Path) -> Config {
    let any_port = ([127, 0, 0, 1], 0).into();
    Config {
        data_dir: folder.join("data"),
        listen: any_port,
        s3_listen: Some(any_port),
        super_user_password: Some(Secret(PASSWORD.to_owned())),
        drain_seconds: 0,
        ..Config::default()
    }
}

/// CPU time of this process so far, user and system.
fn cpu_seconds() -> f64 {
    seconds(rustix::time::ClockId::ProcessCPUTime)
}

/// CPU time of the calling thread so far.
fn cpu_seconds_of_thread() -> f64 {
    seconds(rustix::time::ClockId::ThreadCPUTime)
}

/// The largest resident memory since the last reset, in MB; NaN where the system does not tell.
fn peak_memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.map_or(f64::NAN, |kilobytes| kilobytes / 1_024.0)
}

fn reset_peak_memory() {
    // Where it cannot be reset the peak so far is printed, which is an upper bound.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn seconds(clock: rustix::time::ClockId) -> f64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
