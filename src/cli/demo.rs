//! `tango demo`: the product at work on a simulated contact centre.

use clap::Args;

use crate::config::Loaded;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Interactions to simulate
    #[arg(long, default_value_t = 200_000)]
    pub interactions: usize,
    /// Agents to simulate
    #[arg(long, default_value_t = 300)]
    pub agents: usize,
    /// Customers to simulate
    #[arg(long, default_value_t = 20_000)]
    pub customers: usize,
    /// Another seed is another contact centre
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End when everything was shown, instead of serving on
    #[arg(long)]
    pub exit: bool,
}

pub async fn run(_loaded: Loaded, _args: DemoArgs) -> anyhow::Result<()> {
    anyhow::bail!("the demonstration is not built yet")
}
