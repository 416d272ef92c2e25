//! `tango migrate`: bring the store to this version's schema. Starting the server does the same.
#![expect(clippy::print_stdout, reason = "the answer is the command's output")]

use anyhow::bail;

use crate::app::control::{self, Request};
use crate::app::{migration_status, open_store};
use crate::config::Config;

/// Applies the missing steps and names them; with `only_status` names them alone.
pub async fn run(config: &Config, only_status: bool) -> anyhow::Result<()> {
    let place = match config.mongodb_url {
        Some(_) => "MongoDB (MONGODB_URL)".to_owned(),
        None => config.data_dir.display().to_string(),
    };
    let before = migration_status(config).await?;
    if only_status {
        println!("document store in {place}");
        println!("  applied   {} of {} steps that this program knows", before.schema_version, before.known_version);
        println!(
            "  missing   {}",
            if before.pending.is_empty() { "none".to_owned() } else { before.pending.join(", ") }
        );
        if let Some(program) = &before.min_program {
            println!("  readable  by tango {program} and later");
        }
        return Ok(());
    }
    if config.mongodb_url.is_none() && control::ask(&config.data_dir, &Request::Status).await?.is_some() {
        bail!("tango is running on {place}: it brought the store up to date when it started");
    }
    let is_new = config.mongodb_url.is_none() && !config.data_dir.exists();
    let store = open_store(config).await?;
    store.ping().await?;
    if is_new {
        println!("there was no data folder {place}: a new one was made");
    }
    for step in &before.pending {
        println!("applied {step}");
    }
    println!("the document store in {place} is up to date");
    Ok(())
}
