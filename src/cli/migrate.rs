//! `tango migrate`: bring the store to this version's schema. Starting the server does the same.
#![expect(clippy::print_stdout, reason = "the answer is the command's output")]

use anyhow::bail;

use crate::app::control::{self, Request};
use crate::app::open_store;
use crate::config::Config;

pub async fn run(config: &Config) -> anyhow::Result<()> {
    if control::ask(&config.data_dir, &Request::Status).await?.is_some() {
        bail!("tango is running on {}: it brought the store up to date when it started", config.data_dir.display());
    }
    let store = open_store(config)?;
    store.ping().await?;
    println!("the document store in {} is up to date", config.data_dir.display());
    Ok(())
}
