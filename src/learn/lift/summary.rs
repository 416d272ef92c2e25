//! The propensities, for people to look at.

use super::super::target::{Parts, Target};
use super::choice::Interactions;
use super::result::{PropensityBin, PropensitySummary};

const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];
const TENTHS: usize = 10;
/// Lower ends of the calibration's bins.
const BINS: [f64; 9] = [0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

pub(super) fn of(interactions: &Interactions<'_>, parts: &Parts, target: &Target) -> PropensitySummary {
    let propensities = interactions.propensities;
    let mut own = Vec::new();
    let mut by_rank = [0.0; TENTHS];
    let mut bins = [(0.0, 0u64, 0u64); BINS.len()];
    let mut agents = 0;
    for ranked in interactions.rows {
        let cell = &propensities.cells[propensities.of_row[ranked.row as usize] as usize];
        let actual = target.agents[parts.holdout[ranked.row as usize] as usize];
        agents += cell.agents.len();
        for (agent, probability) in cell.agents.iter().zip(&cell.probabilities) {
            let bin = &mut bins[BINS.partition_point(|low| low <= probability) - 1];
            bin.0 += probability;
            bin.1 += u64::from(*agent == actual);
            bin.2 += 1;
        }
        let Some(at) = ranked.actual.map(|at| at as usize) else { continue };
        let share = |rank: usize| cell.probabilities[ranked.places[rank] as usize] / cell.kept;
        own.push(share(at) * cell.kept);
        let below: f64 = (0..at).map(share).sum();
        spread(&mut by_rank, below, below + share(at));
    }
    let rows = interactions.rows.len() as f64;
    let inside = own.len() as f64;
    own.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| own.get((share * (own.len().saturating_sub(1)) as f64).round() as usize).copied();
    PropensitySummary {
        fields: propensities.fields.clone(),
        cells: propensities.cells.len() as u64,
        agents: propensities.agents as u64,
        agents_per_interaction: agents as f64 / rows,
        smallest: at(0.0).unwrap_or(0.0),
        quantiles: QUANTILES.iter().filter_map(|share| at(*share)).collect(),
        log_loss: propensities.log_loss,
        log_loss_without_context: propensities.log_loss_without_context,
        calibration: bins
            .iter()
            .filter(|(_, _, pairs)| *pairs > 0)
            .map(|(sum, hits, pairs)| PropensityBin {
                predicted: sum / *pairs as f64,
                observed: *hits as f64 / *pairs as f64,
                pairs: *pairs,
            })
            .collect(),
        actual_by_rank: by_rank.iter().map(|share| share / inside.max(1.0)).collect(),
        clipped_share: 1.0 - interactions.inside,
        trimmed: propensities.trimmed,
    }
}

/// Adds 1 over the tenths that `low` to `high` covers, in proportion.
fn spread(tenths: &mut [f64; TENTHS], low: f64, high: f64) {
    let width = (high - low).max(1e-12);
    for (at, tenth) in tenths.iter_mut().enumerate() {
        let (from, to) = (at as f64 / TENTHS as f64, (at + 1) as f64 / TENTHS as f64);
        *tenth += (to.min(high) - from.max(low)).max(0.0) / width;
    }
}
