//! The regression's columns: each block has one coefficient a level (or a single one for a number), and each row hits
//! at most one of a block's coefficients. Sparse by construction, and cheap to multiply with.

use rayon::prelude::*;

use super::inputs::InputColumn;
use super::target::NO_AGENT;
use crate::score::encoding::{Encoding, Levels};

/// In a block's codes: the row hits none of its coefficients.
const NONE: u32 = u32::MAX;
/// Rows a task; results do not depend on it, since each row's sum is its own.
const CHUNK: usize = 8_192;

/// What a block's coefficients stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Term {
    Number {
        input: usize,
    },
    Levels {
        input: usize,
    },
    Agents,
    /// One coefficient for each pair that occurs: (agent, level), ascending.
    Cross {
        input: usize,
        pairs: Vec<(u32, u32)>,
    },
}

enum Values<'a> {
    Numbers(Vec<f32>),
    Codes(std::borrow::Cow<'a, [u32]>),
}

pub(super) struct Block<'a> {
    pub term: Term,
    /// Place and number of its coefficients.
    pub start: usize,
    pub count: usize,
    /// Blocks of equal group share a ridge strength.
    pub group: usize,
    values: Values<'a>,
}

/// All blocks over the same rows. Coefficient 0 is the intercept.
pub(super) struct Design<'a> {
    pub rows: usize,
    pub blocks: Vec<Block<'a>>,
    pub coefficients: usize,
    pub groups: usize,
}

impl<'a> Design<'a> {
    /// The blocks of an encoding's inputs; all numbers share one ridge strength, each input's levels have their own.
    /// A number whose every value is a level needs no slope, which would only reach beyond what was seen.
    pub fn new(encoding: &Encoding, columns: &'a [InputColumn], rows: usize) -> Self {
        let mut design = Design { rows, blocks: Vec::new(), coefficients: 1, groups: 1 };
        for (input, column) in columns.iter().enumerate() {
            let listed = matches!(encoding.inputs[input].levels, Some(Levels::Integers(_)));
            if let Some(scale) = encoding.inputs[input].scale.filter(|_| !listed) {
                let values = column.numbers.iter().map(|v| scale.apply(*v)).collect();
                design.push(Term::Number { input }, 1, Some(0), Values::Numbers(values));
            }
            if let Some(levels) = &encoding.inputs[input].levels {
                design.push(Term::Levels { input }, levels.len(), None, Values::Codes((&column.levels[..]).into()));
            }
        }
        design
    }

    /// One coefficient for each agent that is not `NO_AGENT`.
    pub fn add_agents(&mut self, agents: &'a [u32], count: usize) {
        self.push(Term::Agents, count, None, Values::Codes(agents.into()));
    }

    /// One coefficient for each pair of agent and level that occurs.
    pub fn add_cross(&mut self, input: usize, agents: &[u32], levels: &[u32]) {
        let key = |agent: u32, level: u32| (u64::from(agent) << 32) | u64::from(level);
        let known = |agent: &u32| *agent != NO_AGENT;
        let mut keys: Vec<u64> = agents
            .iter()
            .zip(levels)
            .filter(|(agent, _)| known(agent))
            .map(|(agent, level)| key(*agent, *level))
            .collect();
        keys.par_sort_unstable();
        keys.dedup();
        let codes: Vec<u32> = agents
            .par_iter()
            .zip(levels)
            .map(|(agent, level)| {
                if !known(agent) {
                    return NONE;
                }
                keys.binary_search(&key(*agent, *level)).map_or(NONE, |at| at as u32)
            })
            .collect();
        let pairs = keys.iter().map(|key| ((key >> 32) as u32, *key as u32)).collect();
        self.push(Term::Cross { input, pairs }, keys.len(), None, Values::Codes(codes.into()));
    }

    fn push(&mut self, term: Term, count: usize, group: Option<usize>, values: Values<'a>) {
        let group = group.unwrap_or_else(|| {
            self.groups += 1;
            self.groups - 1
        });
        self.blocks.push(Block { term, start: self.coefficients, count, group, values });
        self.coefficients += count;
    }

    /// The margin of each row.
    pub fn margins(&self, coefficients: &[f64], offset: &[f64]) -> Vec<f64> {
        let mut margins = vec![0.0; self.rows];
        margins.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            let first = chunk * CHUNK;
            for (at, margin) in out.iter_mut().enumerate() {
                *margin = coefficients[0] + offset.get(first + at).copied().unwrap_or(0.0);
            }
            for block in &self.blocks {
                let own = &coefficients[block.start..block.start + block.count];
                match &block.values {
                    Values::Numbers(values) => {
                        for (margin, value) in out.iter_mut().zip(&values[first..]) {
                            *margin += own[0] * f64::from(*value);
                        }
                    }
                    Values::Codes(codes) => {
                        for (margin, code) in out.iter_mut().zip(&codes[first..]) {
                            if let Some(coefficient) = own.get(*code as usize) {
                                *margin += coefficient;
                            }
                        }
                    }
                }
            }
        });
        margins
    }

    /// `Σ over rows of residual × column`, one a coefficient.
    pub fn gradient(&self, residuals: &[f64]) -> Vec<f64> {
        self.per_coefficient(residuals, |value, residual| value * residual)
    }

    /// `Σ over rows of weight × column²`, one a coefficient.
    pub fn diagonal(&self, weights: &[f64]) -> Vec<f64> {
        self.per_coefficient(weights, |value, weight| value * value * weight)
    }

    fn per_coefficient(&self, by_row: &[f64], add: impl Fn(f64, f64) -> f64 + Sync) -> Vec<f64> {
        let parts: Vec<Vec<f64>> = self
            .blocks
            .par_iter()
            .map(|block| {
                let mut sums = vec![0.0; block.count];
                match &block.values {
                    Values::Numbers(values) => {
                        sums[0] = values.iter().zip(by_row).map(|(value, row)| add(f64::from(*value), *row)).sum();
                    }
                    Values::Codes(codes) => {
                        for (code, row) in codes.iter().zip(by_row) {
                            if let Some(sum) = sums.get_mut(*code as usize) {
                                *sum += add(1.0, *row);
                            }
                        }
                    }
                }
                sums
            })
            .collect();
        let mut sums = Vec::with_capacity(self.coefficients);
        sums.push(by_row.iter().map(|row| add(1.0, *row)).sum());
        sums.extend(parts.into_iter().flatten());
        sums
    }
}
