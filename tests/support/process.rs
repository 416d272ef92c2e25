//! A running `tango`: started, asked what it printed, sent signals, killed at the end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::patience::PATIENCE;

/// A running `tango`; killed when the test ends.
pub struct Process {
    child: Child,
    began: Instant,
    /// Lines of standard output as they come.
    lines: Receiver<String>,
    /// Gathers standard error all the time: a full pipe would stop the program at its next log line.
    errors: Option<JoinHandle<String>>,
    /// Everything printed until it was ready.
    pub welcome: String,
    /// From the start of the process to its readiness, seen from outside.
    pub started_in: Duration,
}

impl Process {
    /// Runs a command that becomes a `tango`.
    pub fn spawn(mut command: Command) -> Self {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut errors = String::new();
            let _ = BufReader::new(stderr).read_to_string(&mut errors);
            errors
        });
        Self { child, began, lines, errors: Some(errors), welcome: String::new(), started_in: Duration::ZERO }
    }

    /// Waits until it says that it is ready; fails the test, with what it printed, when it does not.
    pub fn wait_for_welcome(&mut self) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with("Stop with") => {
                    self.started_in = self.began.elapsed();
                    return;
                }
                Ok(line) => self.welcome += &format!("{line}\n"),
                Err(_) => {
                    let _ = self.child.kill();
                    let errors = self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default();
                    panic!("tango did not start: {errors}{}", self.welcome);
                }
            }
        }
    }

    /// The word after a label of the welcome text.
    pub fn told(&self, label: &str) -> &str {
        let line = self.welcome.lines().find_map(|line| line.trim().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label:?} in:\n{}", self.welcome)).trim()
    }

    /// Ends it at once, if it still runs; what it has written to standard error.
    pub fn end(&mut self) -> String {
        // It may have ended before.
        let _ = (self.child.kill(), self.child.wait());
        self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Its exit code; `None` when a signal killed it.
    pub fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "tango does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
