//! The linear part: one coefficient a number, one a level, one an agent, and one for an agent at a level (crosses).

use super::artifact::ArtifactError;
use super::container::{Reader, Writer};
use super::encoding::{Encoding, Side};

/// Coefficients of agent × level of one context or customer input. Sparse: pairs that training never saw are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Cross {
    pub input: u32,
    /// Sorted by agent, then level; the three have equal length.
    pub agents: Vec<u32>,
    pub levels: Vec<u32>,
    pub values: Vec<f32>,
}

/// Margins (log-odds or standardised metric) add up from it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinearPart {
    pub intercept: f64,
    /// Per input: the coefficient of its standardised number; 0 when it has none.
    pub numbers: Vec<f32>,
    /// Per input, per level; empty when it has none.
    pub levels: Vec<Vec<f32>>,
    /// Per trained agent; 0 without a local model; empty when the model knows no agents.
    pub agents: Vec<f32>,
    pub crosses: Vec<Cross>,
}

impl LinearPart {
    /// What one input adds to the margin.
    pub fn input(&self, encoding: &Encoding, input: usize, number: f32, level: u32) -> f64 {
        let mut sum = 0.0;
        if let Some(scale) = encoding.inputs[input].scale {
            sum += f64::from(self.numbers[input]) * f64::from(scale.apply(number));
        }
        if let Some(value) = self.levels[input].get(level as usize) {
            sum += f64::from(*value);
        }
        sum
    }

    /// One agent's coefficients of a cross, one a level.
    pub fn cross_row(&self, cross: usize, agent: u32, levels: usize) -> Vec<f32> {
        let cross = &self.crosses[cross];
        let mut row = vec![0.0; levels];
        let first = cross.agents.partition_point(|other| *other < agent);
        for at in first..cross.agents.len() {
            if cross.agents[at] != agent {
                break;
            }
            row[cross.levels[at] as usize] = cross.values[at];
        }
        row
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.f32s(&self.numbers);
        for levels in &self.levels {
            writer.f32s(levels);
        }
        writer.f32s(&self.agents);
        for cross in &self.crosses {
            writer.u32s(&cross.agents);
            writer.u32s(&cross.levels);
            writer.f32s(&cross.values);
        }
    }

    pub(super) fn read(
        reader: &mut Reader<'_>,
        intercept: f64,
        crosses: &[u32],
        inputs: usize,
    ) -> Result<LinearPart, ArtifactError> {
        let numbers = reader.f32s()?;
        let levels = (0..inputs).map(|_| reader.f32s()).collect::<Result<Vec<_>, _>>()?;
        let agents = reader.f32s()?;
        let crosses = crosses
            .iter()
            .map(|input| {
                Ok(Cross { input: *input, agents: reader.u32s()?, levels: reader.u32s()?, values: reader.f32s()? })
            })
            .collect::<Result<Vec<_>, ArtifactError>>()?;
        Ok(LinearPart { intercept, numbers, levels, agents, crosses })
    }

    pub(super) fn check(&self, encoding: &Encoding, agents: usize) -> Result<(), &'static str> {
        let levels = |input: usize| encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.len());
        if self.numbers.len() != encoding.inputs.len() || self.levels.len() != encoding.inputs.len() {
            return Err("coefficients are missing");
        }
        if self.levels.iter().enumerate().any(|(input, values)| !values.is_empty() && values.len() != levels(input)) {
            return Err("a level has no coefficient");
        }
        if !self.agents.is_empty() && self.agents.len() != agents {
            return Err("an agent has no coefficient");
        }
        for cross in &self.crosses {
            let input = cross.input as usize;
            let fits = input < encoding.inputs.len()
                && encoding.fields[encoding.inputs[input].field as usize].side != Side::Agent
                && cross.agents.len() == cross.values.len()
                && cross.levels.len() == cross.values.len()
                && cross.agents.is_sorted()
                && cross.agents.iter().all(|agent| (*agent as usize) < agents)
                && cross.levels.iter().all(|level| (*level as usize) < levels(input));
            if !fits {
                return Err("a cross is out of range");
            }
        }
        Ok(())
    }
}
