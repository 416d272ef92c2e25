//! `tango healthcheck`: what a container's health command asks.
#![expect(clippy::print_stdout, reason = "the answer is the command's output")]

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::app::control::{self, Request};
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(5);

/// Finds the process by its socket, then asks its own port as a load balancer would. A worker has no port: it says itself how it is.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    let status = control::ask(&config.data_dir, &Request::Status).await?;
    let Some(status) = status else { bail!("nothing runs on the data folder {}", config.data_dir.display()) };
    let phase = status["phase"].as_str().unwrap_or("?");
    let Some(url) = status["url"].as_str() else {
        // A worker: nobody is sent to it.
        if phase != "ready" {
            bail!("the worker is {phase}");
        }
        println!("the worker is ready");
        return Ok(());
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The address is this machine's own; the certificate is for its public name.
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).timeout(PATIENCE).build()?;
    let answer = client.get(format!("{url}/login")).send().await.with_context(|| format!("{url} does not answer"))?;
    if !answer.status().is_success() {
        bail!("{url}/login answers {}: the process is {phase}", answer.status());
    }
    println!("ready at {url}");
    Ok(())
}
