//! `tango bench …`: hands over to the benchmark of that name.
#![expect(clippy::print_stdout, reason = "the list is the command's output")]

use anyhow::bail;
use clap::Args;

use crate::bench::BENCHES;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure
    name: Option<String>,
    /// Arguments of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let Some(name) = &args.name else {
        for bench in BENCHES {
            println!("{:12} {}", bench.name, bench.about);
        }
        return Ok(());
    };
    match BENCHES.iter().find(|bench| bench.name == name) {
        Some(bench) => (bench.run)(&args.arguments),
        None => {
            let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
            bail!("there is no benchmark {name:?}; there are: {}", known.join(", "))
        }
    }
}
