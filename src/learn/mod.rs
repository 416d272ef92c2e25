//! Learning: a table of past interactions in, an artifact with its measured quality out.
//!
//! Invariant: sync and deterministic. The same table, specification and seed give the same artifact bytes, whatever the
//! number of threads; nothing here reads a clock, a file or the network.
//!
//! A model's margin is the sum of a sparse regression (numbers, levels, agents, agent × level) and boosted trees that
//! are grown on the regression's out-of-fold margins. `GLOBAL` has no agent terms, `DISJOINT` no trees, `HYBRID` both.
//! The regression comes first because it is cheap to fit once more for each fold, where trees are not, and because it
//! measures better: trees need not spend their splits on what is additive.

mod agent_variance;
mod boosting;
mod bootstrap;
mod breakdown;
mod card;
mod choose;
mod compare;

mod course;
mod coverage;
mod curves;
mod describe;
mod design;
mod error;
mod evidence;
mod feature_analysis;
mod fit;
mod held_out;
mod importance;
mod inputs;
mod leakage;
pub mod lift;
mod means;
pub mod measure;
pub mod memory;
pub mod monitor;
mod part;
mod pooling;
mod quality;
mod random;
mod redundancy;
mod reference;
mod regression;
mod spec;
mod target;
mod train;
mod tree;
mod univariate;

pub use agent_variance::{AgentEffect, AgentVariance, BestOf, ContextVariance, ValueVariance, agent_variance};
pub use breakdown::{AgentQuality, Breakdown, FieldQuality, GroupQuality, ValueQuality};
pub use card::{CardCoverage, CardFacts, ChoicesMade, ModelCard};
pub use compare::compare;
pub use coverage::{AgentCoverage, ClassCounts, Coverage, NotLocal};
pub use describe::{ColumnSummary, FrequentValue, HistogramBin, PeriodSummary, Quantiles, describe_column, over_time};
pub use error::TrainError;
pub use feature_analysis::{FeatureAnalysis, FeatureFinding, RedundantPair, feature_analysis};
pub use lift::{LiftEstimation, LiftOptions, estimate_lift};
pub use quality::{
    CalibrationBin, ClassificationQuality, Estimate, GainPoint, LiftPoint, PrecisionRecallPoint, Quality,
    RegressionQuality, ResidualBin, Residuals,
};
pub use reference::ReferenceInput;
pub use spec::{FeatureColumn, TrainingSpec, TrainingTable, check_settings, field_type};
pub use train::{Trained, train};

#[cfg(test)]
mod tests;
