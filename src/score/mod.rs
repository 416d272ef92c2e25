//! The scoring engine: artifacts, compiled models, agent sets, ranking.
//!
//! Invariant: no I/O, no clock, no lock, no async. Everything is immutable once built; a change of an agent builds one
//! new block of agents and shares the rest.
//!
//! A request's way: [`CompiledModel::score`] encodes the context side once, adds to it each eligible agent's own part,
//! which was computed when the agent changed, and sorts.

mod agents;
pub mod artifact;
pub mod assignment;
pub mod bins;
mod bits;
mod bytes;
mod compiled;
mod container;
mod context;
pub mod encoding;
mod explain;
mod factorised;
mod forest;
mod linear;
mod logistic;
mod numbered;
mod ranking;
mod request;
mod roster;
mod shapley;
mod splits;
mod wide;

pub use agents::{AgentInput, AgentSet};
pub use artifact::{Artifact, ArtifactError, Outcome, TrainedAgents};
pub use bits::Bits;
pub use compiled::CompiledModel;
pub use explain::{Contribution, ContributionSide, Explanation};
pub use factorised::TreeCounts;
pub use forest::{Forest, LEAF, MAX_LEAVES};
pub use linear::{Cross, LinearPart};
pub use ranking::{Summary, rank, summarize};
pub use request::{AgentScore, DefaultPolicy, Eligible, ScoreInput, ScoreOutput, ScoreSource};
pub use roster::Roster;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
