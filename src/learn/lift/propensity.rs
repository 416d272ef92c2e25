//! Who usually takes which contacts: the probability that an interaction went to an agent, given its context.
//!
//! A log-linear model: each agent has a share of all contacts, and a factor for each value of the fields that decide (who speaks no
//! French has a factor near 0 for it, whatever the reason is); the products, divided by their sum over agents, are the
//! probabilities. Factors are fitted by iterative scaling (Darroch & Ratcliff, Annals of Mathematical Statistics 43, 1972),
//! one field at a time, so that every step gains. Each is shrunk towards 1 by a gamma prior, `(observed + s) / (expected + s)`, whose
//! strength `s` is the most likely one (empirical Bayes: the counts are then negative binomial). A field that tells nothing of
//! who takes what is not worth its factors. Whether a row lies in the holdout is such a field too, so that a change of staff
//! counts as much as it shows.

use std::collections::HashMap;

use rayon::prelude::*;

use super::super::error::TrainError;
use super::super::held_out::HeldOut;
use super::super::target::NO_AGENT;
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::Holdout;
use crate::score::encoding::{Derive, Side};

/// Fields that decide, at most, and those that are tried: the best by themselves.
const MOST_FIELDS: usize = 6;
const SHORTLIST: usize = 10;
/// Levels of a field, at most.
const MAX_LEVELS: usize = 256;
/// Strengths of shrinkage that are tried, in interactions: 2 to the power of these.
const STRENGTHS: std::ops::RangeInclusive<i32> = -5..=9;
/// A field is worth its factors when it raises the log likelihood by so much an interaction.
const LEAST_GAIN: f64 = 0.002;
/// Rounds over all fields once they are chosen.
const SWEEPS: usize = 8;
/// Rows that are summed up together; sums do not depend on the number of threads.
const CHUNKS: usize = 16;
/// The least likely agents for an interaction are left out: so many that at most this share of the interactions went to such. Shrinkage
/// leaves everybody a little probability for contacts that they never take; by this they do not become candidates.
pub(super) const CLIPPED: f64 = 0.01;
/// The estimated probability that is left out for it, at most.
const MOST_TRIMMED: f64 = 0.2;
/// Sums of the same probabilities in another order, and agents who differ by as little.
const TIE: f64 = 1e-6;

/// The agents who usually take a kind of contact.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    /// Of the target, ascending.
    pub agents: Vec<u32>,
    /// Each one's probability.
    pub probabilities: Vec<f64>,
    /// Their sum: 1 less what was trimmed.
    pub kept: f64,
}

/// The estimate.
pub(super) struct Propensities {
    /// Kinds of contacts in the holdout, as the fields tell them apart.
    pub cells: Vec<Cell>,
    /// Per row of the holdout, its kind.
    pub of_row: Vec<u32>,
    /// Names of the fields that decide, the strongest first.
    pub fields: Vec<String>,
    /// Agents who took anything in the holdout.
    pub agents: usize,
    /// Mean −ln p of the holdout's agents.
    pub log_loss: f64,
    /// Likewise by each agent's share of all contacts alone.
    pub log_loss_without_context: f64,
    /// The probability that is left out of each cell, at most.
    pub trimmed: f64,
}

/// A field with factors, or one that may get some.
struct Field {
    name: String,
    /// One a row of the training part, then of the holdout.
    levels: Vec<u32>,
    level_count: usize,
    /// How often each agent took each level: by level, then agent.
    observed: Vec<f64>,
    factors: Vec<f32>,
    strength: f64,
}

/// All rows and the agents who are still there.
struct Rows {
    /// Of the target, ascending.
    ids: Vec<u32>,
    /// Per row, a place among `ids`; [`NO_AGENT`] for one that does not count.
    agents: Vec<u32>,
    train: usize,
}

/// `agents` holds those of the training part's rows, then of the holdout's; [`NO_AGENT`] leaves a row out.
pub(super) fn estimate(
    held: &HeldOut<'_>,
    agents: &[u32],
    reporter: &dyn Reporter,
) -> Result<Propensities, TrainError> {
    let rows = Rows::new(agents, held.parts.train.len());
    let everything = Field::new("", vec![0; rows.agents.len()], 1, &rows);
    let mut model = vec![everything];
    model[0].factors = model[0].observed.iter().map(|n| (*n + 0.5) as f32).collect();
    let log_loss_without_context = rows.log_loss(&model);
    let mut candidates: Vec<(f64, Field)> = candidates(held, &rows)
        .into_iter()
        .map(|field| (field.strongest(&field.expected_by_shares(&rows)).1, field))
        .collect();
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    candidates.truncate(SHORTLIST);
    let mut candidates: Vec<Field> = candidates.into_iter().map(|(_, field)| field).collect();
    let mut done = 0;
    let mut step = || {
        let total = Some((MOST_FIELDS + SWEEPS) as u64);
        let phase = "estimating who takes what".to_owned();
        reporter.report(Progress { done, total, unit: "rounds".into(), phase, ..Progress::default() });
        done += 1;
        if reporter.is_cancelled() { Err(TrainError::Cancelled) } else { Ok(()) }
    };
    while model.len() <= MOST_FIELDS && !candidates.is_empty() {
        step()?;
        let expected = rows.expected(&model, &candidates.iter().collect::<Vec<_>>());
        let trials = candidates.iter().zip(&expected).map(|(field, expected)| field.strongest(expected));
        let best = trials.enumerate().max_by(|a, b| a.1.1.total_cmp(&b.1.1).then(b.0.cmp(&a.0)));
        let Some((at, (strength, gain))) = best else { break };
        if gain < LEAST_GAIN * rows.agents.len() as f64 {
            break;
        }
        let mut field = candidates.remove(at);
        field.strength = strength;
        field.scale(&expected[at]);
        model.push(field);
        rows.sweep(&mut model);
    }
    for _ in 0..SWEEPS {
        step()?;
        rows.sweep(&mut model);
    }
    let trimmed = rows.trimmed(&model);
    let (cells, of_row) = rows.cells(&model, trimmed);
    Ok(Propensities {
        trimmed,
        cells,
        of_row,
        log_loss: rows.log_loss(&model),
        log_loss_without_context,
        agents: rows.ids.len(),
        fields: model.into_iter().skip(1).map(|field| field.name).collect(),
    })
}

/// Context and customer fields with few levels, and whether a row lies in the holdout.
fn candidates(held: &HeldOut<'_>, rows: &Rows) -> Vec<Field> {
    let encoding = &held.fit.encoding;
    let mut found = Vec::new();
    for (index, input) in encoding.inputs.iter().enumerate() {
        let field = &encoding.fields[input.field as usize];
        let Some(count) = input.levels.as_ref().map(|levels| levels.len()).filter(|count| *count <= MAX_LEVELS) else {
            continue;
        };
        if field.side != Side::Agent && input.derive != Derive::AgeDays {
            let name = match &input.derive {
                Derive::Hour => format!("hour of {}", field.name),
                Derive::Weekday => format!("weekday of {}", field.name),
                Derive::ListItem(key) | Derive::DictKey(key) => format!("{} {key}", field.name),
                _ => field.name.clone(),
            };
            let mut levels = held.fit.part.columns[index].levels.clone();
            levels.extend(&held.holdout.columns[index].levels);
            found.push(Field::new(&name, levels, count, rows));
        }
    }
    if held.parts.kind == Holdout::Time {
        let levels = (0..rows.agents.len()).map(|row| u32::from(row >= rows.train)).collect();
        found.push(Field::new("period", levels, 2, rows));
    }
    found
}

impl Field {
    fn new(name: &str, levels: Vec<u32>, level_count: usize, rows: &Rows) -> Self {
        let width = rows.ids.len();
        let mut observed = vec![0.0; level_count * width];
        for (level, agent) in levels.iter().zip(&rows.agents).filter(|(_, agent)| **agent != NO_AGENT) {
            observed[*level as usize * width + *agent as usize] += 1.0;
        }
        let factors = vec![1.0; level_count * width];
        Self { name: name.to_owned(), levels, level_count, observed, factors, strength: 0.5 }
    }

    /// How often each agent would take each level by its share of all contacts.
    fn expected_by_shares(&self, rows: &Rows) -> Vec<f64> {
        let width = rows.ids.len();
        let mut agents = vec![0.0; width];
        self.observed.chunks(width).flat_map(|level| level.iter().enumerate()).for_each(|(at, n)| agents[at] += n);
        let all: f64 = agents.iter().sum();
        let expected = |level: &[f64]| -> Vec<f64> {
            let share = level.iter().sum::<f64>() / all;
            agents.iter().map(|n| n * share).collect()
        };
        self.observed.chunks(width).flat_map(expected).collect()
    }

    /// The most likely strength of shrinkage given expected counts, and what its factors add to the log likelihood.
    fn strongest(&self, expected: &[f64]) -> (f64, f64) {
        let counts = || self.observed.iter().zip(expected).filter(|(_, expected)| **expected > 1e-9);
        let gain = |strength: f64| -> f64 {
            counts()
                .map(|(observed, expected)| {
                    ln_gamma(observed + strength) - ln_gamma(strength) + strength * strength.ln()
                        - (observed + strength) * (strength + expected).ln()
                        + expected
                })
                .sum()
        };
        STRENGTHS
            .map(|power| f64::from(power).exp2())
            .map(|strength| (strength, gain(strength)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((1.0, 0.0))
    }

    /// One step of scaling: the mode of each factor given the counts that are expected with the present ones.
    fn scale(&mut self, expected: &[f64]) {
        for ((factor, observed), expected) in self.factors.iter_mut().zip(&self.observed).zip(expected) {
            let now = f64::from(*factor);
            *factor = (now * (observed + self.strength) / (expected + self.strength * now)).max(1e-12) as f32;
        }
    }
}

impl Rows {
    fn new(agents: &[u32], train: usize) -> Self {
        let mut ids: Vec<u32> = agents[train..].iter().copied().filter(|agent| *agent != NO_AGENT).collect();
        ids.sort_unstable();
        ids.dedup();
        // Whoever took nothing in the holdout has left, or was never one of these.
        let agents = agents.iter().map(|agent| ids.binary_search(agent).map_or(NO_AGENT, |at| at as u32)).collect();
        Self { ids, agents, train }
    }

    /// Each agent's probability for a row.
    fn probabilities(&self, model: &[Field], row: usize, out: &mut [f32]) {
        let width = self.ids.len();
        out.copy_from_slice(&model[0].factors);
        for field in &model[1..] {
            let level = field.levels[row] as usize * width;
            out.iter_mut().zip(&field.factors[level..level + width]).for_each(|(p, factor)| *p *= factor);
        }
        let sum: f32 = out.iter().sum();
        let scale = 1.0 / sum.max(f32::MIN_POSITIVE);
        out.iter_mut().for_each(|p| *p *= scale);
    }

    /// How often each agent would take each level of these fields by the model.
    fn expected(&self, model: &[Field], of: &[&Field]) -> Vec<Vec<f64>> {
        let width = self.ids.len();
        let empty = || of.iter().map(|field| vec![0.0; field.level_count * width]).collect::<Vec<_>>();
        let size = self.agents.len().div_ceil(CHUNKS).max(1);
        let parts: Vec<Vec<Vec<f64>>> = (0..self.agents.len().div_ceil(size))
            .into_par_iter()
            .map(|chunk| {
                let mut sums = empty();
                let mut probabilities = vec![0.0; width];
                let rows = chunk * size..((chunk + 1) * size).min(self.agents.len());
                for row in rows.filter(|row| self.agents[*row] != NO_AGENT) {
                    self.probabilities(model, row, &mut probabilities);
                    for (sums, field) in sums.iter_mut().zip(of) {
                        let level = field.levels[row] as usize * width;
                        let own = &mut sums[level..level + width];
                        own.iter_mut().zip(&probabilities).for_each(|(sum, p)| *sum += f64::from(*p));
                    }
                }
                sums
            })
            .collect();
        parts.into_iter().fold(empty(), |mut all, part| {
            for (all, part) in all.iter_mut().flatten().zip(part.iter().flatten()) {
                *all += part;
            }
            all
        })
    }

    /// Scales each field once.
    fn sweep(&self, model: &mut [Field]) {
        for at in 0..model.len() {
            let expected = self.expected(model, &[&model[at]]).remove(0);
            model[at].scale(&expected);
        }
    }

    /// Of the holdout.
    fn log_loss(&self, model: &[Field]) -> f64 {
        let mut probabilities = vec![0.0; self.ids.len()];
        let (mut sum, mut rows) = (0.0, 0.0);
        for row in (self.train..self.agents.len()).filter(|row| self.agents[*row] != NO_AGENT) {
            self.probabilities(model, row, &mut probabilities);
            sum -= f64::from(probabilities[self.agents[row] as usize]).max(1e-12).ln();
            rows += 1.0;
        }
        sum / f64::max(rows, 1.0)
    }

    /// How much probability to leave out at most, so that of the holdout's actual agents only a few are left out: an agent stays who has no
    /// more than the rest above it.
    fn trimmed(&self, model: &[Field]) -> f64 {
        let rows: Vec<usize> = (self.train..self.agents.len()).filter(|row| self.agents[*row] != NO_AGENT).collect();
        let likelier = |row: &usize| -> f64 {
            let mut probabilities = vec![0.0; self.ids.len()];
            self.probabilities(model, *row, &mut probabilities);
            let own = probabilities[self.agents[*row] as usize];
            probabilities.iter().filter(|p| is_likelier(**p, own)).map(|p| f64::from(*p)).sum()
        };
        let mut above: Vec<f64> = rows.par_iter().map(likelier).collect();
        above.sort_unstable_by(f64::total_cmp);
        let most = above.get(((1.0 - CLIPPED) * above.len() as f64) as usize).copied().unwrap_or(1.0);
        (1.0 - most).clamp(0.0, MOST_TRIMMED)
    }

    /// The holdout's kinds of contacts in the order of their first row, and the kind of each row.
    fn cells(&self, model: &[Field], trimmed: f64) -> (Vec<Cell>, Vec<u32>) {
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let (mut leading, mut of_row) = (Vec::new(), Vec::new());
        for row in self.train..self.agents.len() {
            let levels = model[1..].iter().map(|field| field.levels[row]).collect();
            of_row.push(*known.entry(levels).or_insert_with(|| {
                leading.push(row);
                leading.len() as u32 - 1
            }));
        }
        let cells = leading
            .par_iter()
            .map(|row| {
                let mut probabilities = vec![0.0; self.ids.len()];
                self.probabilities(model, *row, &mut probabilities);
                self.cell(&probabilities, trimmed)
            })
            .collect();
        (cells, of_row)
    }

    /// Without the least likely agents. Those who are as likely as each other stay or go together.
    fn cell(&self, probabilities: &[f32], trimmed: f64) -> Cell {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        let (mut kept, mut above) = (0.0, 0.0);
        let mut count = 0;
        while count < order.len() {
            let own = probabilities[order[count]];
            if count == 0 || is_likelier(probabilities[order[count - 1]], own) {
                above = kept;
            }
            if above > 1.0 - trimmed + TIE {
                break;
            }
            kept += f64::from(own);
            count += 1;
        }
        order.truncate(count);
        order.sort_unstable();
        Cell {
            agents: order.iter().map(|at| self.ids[*at]).collect(),
            probabilities: order.iter().map(|at| f64::from(probabilities[*at])).collect(),
            kept,
        }
    }
}

fn is_likelier(one: f32, other: f32) -> bool {
    f64::from(one) > f64::from(other) + TIE
}

/// The logarithm of the gamma function above 0, to about 1e-10 (Stirling's series beyond 8).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 8.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1_260.0 - square / 1_680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gamma_function_is_known_at_whole_and_half_numbers() {
        assert!((ln_gamma(5.0) - 24f64.ln()).abs() < 1e-9);
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-9);
        assert!((ln_gamma(30.0) - (1..30).map(|n| f64::from(n).ln()).sum::<f64>()).abs() < 1e-9);
    }

    #[test]
    fn nobody_of_a_small_team_who_shares_the_work_is_left_out() {
        for team in [2u32, 5, 8, 17] {
            // Evenly in turn, and with shares that differ.
            for agents in [
                (0..3_000u32).map(|row| row % team).collect::<Vec<u32>>(),
                (0..3_000u32).map(|row| (row * row + row / 7) % (team * team) / team).collect(),
            ] {
                let rows = Rows::new(&agents, 2_400);
                let mut model = vec![Field::new("", vec![0; agents.len()], 1, &rows)];
                model[0].factors = model[0].observed.iter().map(|n| (*n + 0.5) as f32).collect();
                let (cells, _) = rows.cells(&model, rows.trimmed(&model));
                let of_few = |agent: &u32| agents[2_400..].iter().filter(|one| *one == agent).count() < 6;
                let rest: Vec<u32> = rows.ids.iter().copied().filter(|id| !cells[0].agents.contains(id)).collect();
                assert!(rest.iter().all(of_few), "{team}: {rest:?} of {cells:?}");
            }
        }
    }

    #[test]
    fn an_agent_who_never_takes_a_language_is_left_out_whatever_the_reason() {
        // Four agents; the first two speak only language 0, agent 3 is on duty in the second half alone.
        let train = 3_000;
        let (mut agents, mut languages, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..4_000u32 {
            let (language, reason) = (u32::from(row % 3 == 0), row % 5);
            let able: &[u32] = if language == 0 { &[0, 1, 2, 3] } else { &[2, 3] };
            languages.push(language);
            reasons.push(reason);
            agents.push(able[(row / 15) as usize % able.len()]);
        }
        let rows = Rows::new(&agents, train);
        let everything = Field::new("", vec![0; agents.len()], 1, &rows);
        let mut model = vec![everything];
        for (name, levels, count) in [("language", languages, 2), ("reason", reasons, 5)] {
            let mut field = Field::new(name, levels, count, &rows);
            let (strength, gain) = field.strongest(&field.expected_by_shares(&rows));
            assert_eq!(gain > LEAST_GAIN * 4_000.0, name == "language", "{name} {strength} {gain}");
            field.strength = strength;
            model.push(field);
        }
        (0..SWEEPS).for_each(|_| rows.sweep(&mut model));
        let (cells, of_row) = rows.cells(&model, rows.trimmed(&model));
        assert_eq!(cells.len(), 10);
        for row in 0..1_000 {
            let cell = &cells[of_row[row] as usize];
            let expected: &[u32] = if (row + train).is_multiple_of(3) { &[2, 3] } else { &[0, 1, 2, 3] };
            assert_eq!(cell.agents, expected);
            assert!(cell.probabilities.iter().all(|p| (p * expected.len() as f64 - 1.0).abs() < 0.1), "{cell:?}");
        }
    }
}
