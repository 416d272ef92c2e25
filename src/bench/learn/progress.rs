//! Whether a training's estimate of the time left is honest: what it said on the way, beside what it then took.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;

use crate::domain::job::{Progress, Reporter};

/// Parts of the whole time at which it is looked at.
const LOOKS: [f64; 4] = [0.1, 0.25, 0.5, 0.75];

/// Writes down when how much was done, and in which phase.
pub struct Watch {
    since: Instant,
    heard: Mutex<Vec<(f64, f64, String)>>,
}

impl Watch {
    pub fn start() -> Self {
        Self { since: Instant::now(), heard: Mutex::default() }
    }

    /// Seconds by phase, and the time left as it was told and as it was.
    pub fn print(self, out: &mut dyn Write) -> Result<()> {
        let whole = self.since.elapsed().as_secs_f64();
        let heard = self.heard.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut phases: Vec<(&str, f64)> = Vec::new();
        for (at, (seconds, _, phase)) in heard.iter().enumerate() {
            let took = heard.get(at + 1).map_or(whole, |next| next.0) - seconds;
            match phases.last_mut().filter(|last| last.0 == phase) {
                Some(last) => last.1 += took,
                None => phases.push((phase, took)),
            }
        }
        let phases: Vec<String> = phases.iter().map(|(phase, took)| format!("{phase} {took:.1}")).collect();
        writeln!(out, "    seconds by phase: {}", phases.join(", "))?;
        for look in LOOKS {
            let at = look * whole;
            let Some((seconds, share, phase)) = heard.iter().rfind(|(seconds, ..)| *seconds <= at) else { continue };
            let told = if *share > 0.0 { seconds * (1.0 - share) / share } else { f64::NAN };
            writeln!(
                out,
                "    after {seconds:.1} s ({phase}): {:.0} % done, {told:.1} s left told, {:.1} s truly",
                100.0 * share,
                whole - seconds
            )?;
        }
        Ok(())
    }
}

impl Reporter for Watch {
    fn report(&self, progress: Progress) {
        let Some(share) = progress.share else { return };
        let seconds = self.since.elapsed().as_secs_f64();
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push((seconds, share, progress.phase));
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}
