//! The engine alone, on one core: beside the time to stream the masks that agents would have, plain traversal of the same trees and another
//! library's prediction.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::{Options, counting, peer, percentile, simulated};
use crate::domain::Timestamp;
use crate::domain::job::Silent;
use crate::domain::model::{ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Goal, MetricKind};
use crate::learn::{TrainingSpec, train};
use crate::score::{AgentInput, AgentSet, CompiledModel, DefaultPolicy, Eligible, Roster, ScoreInput};

/// Agents of the table of costs.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 50_000];

pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let model = trained(ModelType::Hybrid, options)?;
    let forest = &model.artifact().forest;
    let leaves = forest.inputs.iter().filter(|input| **input == crate::score::LEAF).count();
    let counts = model.tree_counts();
    writeln!(
        out,
        "The engine alone, {} agents, {} trees of {:.1} leaves on average: {} with masks of 64 bits and {} of 32, {} of the context alone, {} of \
         the agent alone; agents go by their {}",
        options.agents,
        forest.trees(),
        leaves as f64 / forest.trees() as f64,
        counts.large,
        counts.small,
        counts.context_alone,
        counts.agent_alone,
        if counts.by_bytes { "bytes" } else { "masks" }
    )?;
    let (roster, agents) = profile(&model, options.agents);
    let mut fast = scores(&agents, options.requests, |input| drop(black_box(model.score(input, &agents))));
    // Plain traversal takes long: every tenth request is enough for a median.
    let mut plain =
        scores(&agents, options.requests.div_ceil(10), |input| drop(black_box(model.score_plainly(input, &agents))));
    let same = |request| {
        let context = simulated::context(request);
        let positions = agents.all_positions();
        with_input(&context, &positions, |input| model.score(input, &agents) == model.score_plainly(input, &agents))
    };
    anyhow::ensure!((0..20).all(same), "the engine and plain traversal differ");
    let bytes = options.agents * (8 * counts.large + 4 * counts.small);
    let mut stream = stream(bytes, options.requests);
    let (median, streamed) = (percentile(&mut fast, 0.5), percentile(&mut stream, 0.5));
    line(out, "tango, whole score, top 10", &mut fast)?;
    line(out, "reading the masks' bytes", &mut stream)?;
    line(out, "plain traversal", &mut plain)?;
    writeln!(
        out,
        "  {:.2} × the time to read {:.1} MB of masks at {:.1} GB/s; {:.0} × as fast as plain traversal",
        median / streamed,
        bytes as f64 / 1e6,
        bytes as f64 / streamed / 1e6,
        percentile(&mut plain, 0.5) / median
    )?;
    peer::lightgbm(options, median, out)?;

    let regression = trained(ModelType::Disjoint, options)?;
    let (_, regression_agents) = profile(&regression, options.agents);
    let mut times = scores(&regression_agents, options.requests, |input| {
        drop(black_box(regression.score(input, &regression_agents)));
    });
    line(out, "regression with crosses", &mut times)?;
    let mut times = updates(&model, &roster, &agents, options);
    line(out, "a changed agent, encoded", &mut times)?;

    let by_masks = CompiledModel::by_masks(Arc::new(model.artifact().clone()));
    let model = Arc::new(model);
    let (context, positions) = (simulated::context(0), agents.all_positions());
    let scored = with_input(&context, &positions, |input| model.score(input, &agents));
    counting::run(Arc::clone(&model), &scored, simulated::features(), simulated::context, median, out)?;

    writeln!(out, "  cost by agents:")?;
    for size in SIZES {
        let (_, agents) = profile(&model, size);
        let requests = (options.requests * 1_000 / size).clamp(options.requests.min(10), options.requests);
        let mut times = scores(&agents, requests, |input| drop(black_box(model.score(input, &agents))));
        let (_, agents) = profile(&by_masks, size);
        let mut masks = scores(&agents, requests, |input| drop(black_box(by_masks.score(input, &agents))));
        let (median, masks) = (percentile(&mut times, 0.5), percentile(&mut masks, 0.5));
        writeln!(
            out,
            "    {size:>6} agents  {median:>8.3} ms, {:>6.3} µs each; by masks {masks:>8.3} ms, {:.1} ×",
            median * 1e3 / size as f64,
            masks / median
        )?;
    }
    Ok(())
}

fn trained(model_type: ModelType, options: &Options) -> Result<CompiledModel> {
    let table = simulated::table(options.agents);
    let spec = TrainingSpec {
        model_type,
        settings: ModelSettings { trees: options.trees, max_leaves: 64, early_stop: false, ..ModelSettings::default() },
        kind: MetricKind::Classification,
        goal: Goal::Maximize,
        positive: None,
        agent_source: AgentSource::Profile,
        seed: 1,
    };
    Ok(CompiledModel::new(Arc::new(train(&table, &spec, &Silent, None)?.artifact)))
}

fn profile(model: &CompiledModel, agents: usize) -> (Roster, AgentSet) {
    let mut roster = Roster::default();
    let fields: Vec<_> = (0..agents).map(|agent| (agent.to_string(), simulated::agent(agent))).collect();
    for (id, _) in &fields {
        roster.add(id);
    }
    let set = AgentSet::of_roster(model, roster.clone(), fields.iter().map(|(id, fields)| AgentInput { id, fields }));
    (roster, set)
}

fn with_input<'a, T>(
    context: &serde_json::Map<String, serde_json::Value>,
    positions: &[u32],
    work: impl FnOnce(&ScoreInput<'_, 'a>) -> T,
) -> T {
    work(&ScoreInput {
        context,
        customer: None,
        now: Timestamp::UNIX_EPOCH,
        eligible: Eligible::Positions(positions),
        top: Some(10),
        default: DefaultPolicy::Global,
        expression: None,
    })
}

/// Milliseconds of each of so many requests for the profile's agents, each with a context of its own.
fn scores(agents: &AgentSet, requests: usize, mut score: impl FnMut(&ScoreInput<'_, '_>)) -> Vec<f64> {
    let positions: Vec<u32> = agents.all_positions().into_iter().filter(|position| *position < 1 << 31).collect();
    (0..requests)
        .map(|request| {
            let context = simulated::context(request);
            let started = Instant::now();
            with_input(&context, &positions, &mut score);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}

/// Milliseconds to read so many bytes once, in words.
fn stream(bytes: usize, requests: usize) -> Vec<f64> {
    let words: Vec<u64> = (0..bytes / 8).map(|word| word as u64).collect();
    (0..requests)
        .map(|_| {
            let started = Instant::now();
            let mut sums = [0u64; 8];
            for chunk in black_box(&words).chunks_exact(8) {
                for (sum, word) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(*word);
                }
            }
            black_box(sums);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}

/// Milliseconds until a set of agents knows a change of one.
fn updates(model: &CompiledModel, roster: &Roster, agents: &AgentSet, options: &Options) -> Vec<f64> {
    let mut set = agents.clone();
    (0..options.requests)
        .map(|request| {
            let id = (request * 7 % options.agents).to_string();
            let fields = simulated::agent(options.agents + request);
            let started = Instant::now();
            set = set.with_changes(model, roster, &[AgentInput { id: &id, fields: &fields }], &[]);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}

fn line(out: &mut dyn Write, name: &str, times: &mut [f64]) -> Result<()> {
    let (median, late) = (percentile(times, 0.5), percentile(times, 0.99));
    writeln!(out, "  {name:<26} median {median:>8.4} ms   p99 {late:>8.4} ms   ({} times)", times.len())?;
    Ok(())
}
