//! `tango size`: how many processors, how much memory and disk an installation needs, from what was measured (README, Measured).
#![expect(clippy::print_stdout, reason = "the table is the command's output")]

use clap::Args;

/// A server that knows nothing.
const SERVER_MB: f64 = 110.0;
/// 10,000 agents and 20 models: 104 MB more.
const AGENT_MODEL_KB: f64 = 0.52;
/// One score of 1,000 agents by 500 trees: 0.24 ms with AVX-512.
const SCORE_MS_PER_AGENT_TREE: f64 = 0.24 / (1_000.0 * 500.0);
/// What a request costs beside its engine, 1,000 scores answered: 0.51 ms less 0.26 (`tango bench score http`).
const REQUEST_MS: f64 = 0.25;
/// HYBRID on 500,000 rows of 40 columns: 60.5 s of processor time, 641 MB.
const TRAINING_US_PER_VALUE: f64 = 60.5e6 / (500_000.0 * 40.0);
const TRAINING_BYTES_PER_VALUE: f64 = 641e6 / (500_000.0 * 40.0);
/// 336,776 rows of 19 columns: 6.2 MB; 30,000 of 5: 0.19 MB. Texts that are seldom repeated take more.
const STORED_BYTES_PER_VALUE: f64 = 1.3;
/// 600,000 rows of 40 columns as CSV: 1.5 s of processor time.
const INGEST_US_PER_VALUE: f64 = 1.5e6 / (600_000.0 * 40.0);
/// What is planned with is this many times what was measured: peaks, growth, other machines.
const RESERVE: f64 = 2.0;
/// Copies that the database and the object store keep.
const COPIES: f64 = 3.0;
/// Replaced versions stay for OBJECT_GRACE_DAYS, and compaction writes before it removes.
const VERSIONS: f64 = 2.0;
/// A customer's or agent's record in the database with its indexes; assumed.
const RECORD_KB: f64 = 2.0;
const MIN_DISK_GB: f64 = 50.0;

/// What is planned for.
#[derive(Debug, Clone, Args)]
pub struct SizeArgs {
    #[arg(long, default_value_t = 1_000)]
    agents: u64,
    #[arg(long, default_value_t = 100_000)]
    customers: u64,
    /// Active models
    #[arg(long, default_value_t = 2)]
    models: u64,
    /// Trees of a model
    #[arg(long, default_value_t = 300)]
    trees: u64,
    /// Interactions that are kept, in all datasets
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    #[arg(long, default_value_t = 40)]
    columns: u64,
    /// Scores a second at the busiest time
    #[arg(long, default_value_t = 20.0, value_parser = not_negative)]
    requests_per_second: f64,
    /// Agents that a score ranks
    #[arg(long, default_value_t = 200)]
    agents_per_request: u64,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    nodes: u64,
}

/// What is needed, the reserve included.
#[derive(Debug, Clone, PartialEq)]
struct Need {
    scoring_cores: f64,
    server_mb: f64,
    training_minutes: f64,
    training_mb: f64,
    ingest_minutes: f64,
    objects_gb: f64,
    database_gb: f64,
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("a number that is not negative".to_owned()),
    }
}

fn need(args: &SizeArgs) -> Need {
    let values = args.rows as f64 * args.columns as f64;
    let score_ms = REQUEST_MS + SCORE_MS_PER_AGENT_TREE * args.agents_per_request as f64 * args.trees as f64;
    Need {
        scoring_cores: RESERVE * args.requests_per_second * score_ms / 1e3,
        server_mb: RESERVE * (SERVER_MB + AGENT_MODEL_KB * args.agents as f64 * args.models as f64 / 1e3),
        training_minutes: TRAINING_US_PER_VALUE * values / 60e6,
        training_mb: TRAINING_BYTES_PER_VALUE * values / 1e6,
        ingest_minutes: INGEST_US_PER_VALUE * values / 60e6,
        objects_gb: RESERVE * VERSIONS * STORED_BYTES_PER_VALUE * values / 1e9,
        database_gb: RESERVE * RECORD_KB * (args.agents + args.customers) as f64 / 1e6,
    }
}

pub fn run(args: &SizeArgs) {
    let need = need(args);
    let nodes = args.nodes as f64;
    // The others have to do when one is away.
    let serving = (nodes - 1.0).max(1.0);
    println!(
        "{} agents, {} customers, {} models of {} trees, {} rows of {} columns, {} scores a second of {} agents each, {} node(s)",
        args.agents,
        args.customers,
        args.models,
        args.trees,
        args.rows,
        args.columns,
        args.requests_per_second,
        args.agents_per_request,
        args.nodes
    );
    println!();
    println!("each node, so that one may be away:");
    let cores = (need.scoring_cores / serving).max(0.1);
    println!(
        "  processors     {cores:.1} for scores, 2 for a worker that trains, 1 for the database and the object store"
    );
    println!(
        "  memory         {:.1} GB for tango, up to {:.1} GB for a training (TRAINING_MEMORY_MB bounds it: then it learns from a sample), \
         2 GB for the database and the object store",
        need.server_mb / 1e3,
        need.training_mb / 1e3
    );
    let objects = if args.nodes < 3 { need.objects_gb } else { need.objects_gb * COPIES / nodes };
    let disk = (objects + need.database_gb).max(MIN_DISK_GB);
    println!(
        "  /datadir       {disk:.0} GB ({objects:.1} GB of objects, {:.1} GB of documents; not less than {MIN_DISK_GB:.0})",
        need.database_gb
    );
    println!();
    println!("work in the background, of one processor:");
    println!("  training       {:.0} min for one HYBRID model of all rows", need.training_minutes.ceil());
    println!("  taking rows in {:.0} min for all of them", need.ingest_minutes.ceil());
    println!();
    println!(
        "Twice what was measured on 2 cores, where not said otherwise. Measure yours: tango bench score, tango bench learn, tango bench ingest."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> SizeArgs {
        SizeArgs {
            agents: 10_000,
            customers: 0,
            models: 20,
            trees: 500,
            rows: 500_000,
            columns: 40,
            requests_per_second: 100.0,
            agents_per_request: 1_000,
            nodes: 3,
        }
    }

    #[test]
    fn what_was_measured_comes_out_with_the_reserve() {
        let need = need(&asked());
        assert!((need.server_mb - 2.0 * 214.0).abs() < 1.0, "{need:?}");
        assert!((need.training_mb - 641.0).abs() < 1.0, "{need:?}");
        assert!((need.scoring_cores - 2.0 * 0.049).abs() < 0.001, "{need:?}");
    }

    #[test]
    fn more_of_anything_never_needs_less() {
        let more = SizeArgs { rows: 5_000_000, agents: 20_000, requests_per_second: 200.0, ..asked() };
        let (few, many) = (need(&asked()), need(&more));
        assert!(
            many.objects_gb > few.objects_gb
                && many.server_mb > few.server_mb
                && many.scoring_cores > few.scoring_cores
        );
    }
}
