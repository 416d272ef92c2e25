//! `tango config check`: the settings in effect.
#![expect(clippy::print_stdout, reason = "the table is the command's output")]

use crate::config::Loaded;

pub fn run(loaded: &Loaded) -> anyhow::Result<()> {
    match &loaded.file {
        Some(file) => println!("settings from {}", file.display()),
        None => println!("no tango.env in the working directory: defaults and the environment"),
    }
    let name_width = loaded.values.iter().map(|value| value.name.len()).max().unwrap_or(0);
    let shown_width = loaded.values.iter().map(|value| value.shown.len()).max().unwrap_or(0).min(40);
    for value in &loaded.values {
        let shown = if value.shown.is_empty() { "-" } else { &value.shown };
        println!("{:name_width$}  {shown:shown_width$}  {}", value.name, value.source);
    }
    match loaded.warnings.len() {
        0 => println!("no objections"),
        1 => println!("1 warning (above)"),
        count => println!("{count} warnings (above)"),
    }
    Ok(())
}
