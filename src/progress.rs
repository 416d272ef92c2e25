//! Bars for a person who waits.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::domain::job::{Progress, Reporter};

/// The look of every bar.
pub fn style(template: &str) -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(template)?.progress_chars("━╸ "))
}

/// Shows one phase of work after the other. Nothing is shown where there is no terminal.
pub struct Bars {
    bar: ProgressBar,
    phase: Mutex<String>,
    bytes: ProgressStyle,
    counted: ProgressStyle,
    open_ended: ProgressStyle,
}

impl Bars {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            bar: ProgressBar::new(0),
            phase: Mutex::default(),
            bytes: style("{msg:24} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec}")?,
            counted: style("{msg:24} {bar:30} {human_pos}/{human_len} {prefix}")?,
            open_ended: style("{spinner} {msg}: {human_pos} {prefix}")?,
        })
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Reporter for Bars {
    fn report(&self, progress: Progress) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *phase != progress.phase {
            phase.clone_from(&progress.phase);
            self.bar.reset();
            self.bar.set_style(match (progress.total, progress.unit.as_str()) {
                (Some(_), "bytes") => self.bytes.clone(),
                (Some(_), _) => self.counted.clone(),
                (None, _) => self.open_ended.clone(),
            });
            self.bar.set_message(progress.phase);
            self.bar.set_prefix(progress.unit);
        }
        if let Some(total) = progress.total {
            self.bar.set_length(total.max(progress.done));
        }
        self.bar.set_position(progress.done);
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}
