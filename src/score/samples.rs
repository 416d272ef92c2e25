//! A small hand-made artifact for tests.

use std::sync::Arc;

use super::artifact::{Artifact, Outcome, TrainedAgents};
use super::encoding::{Derive, EncodedField, Encoding, Input, Levels, Scale, Side, TreeInput};
use super::forest::{Forest, LEAF};
use super::linear::{Cross, LinearPart};
use crate::domain::model::ModelType;
use crate::domain::predictor::{AgentSource, Goal, MetricKind};
use crate::domain::schema::FieldType;

/// Context `reason` (text) and `wait` (number), agent feature `tenure` (number); agents a and b have local models,
/// c has none; two trees.
pub fn artifact() -> Artifact {
    let field =
        |name: &str, side, field_type| EncodedField { name: name.into(), side, field_type, is_request_time: false };
    let scale = Some(Scale { mean: 10.0, deviation: 5.0 });
    let encoding = Encoding {
        fields: vec![
            field("reason", Side::Context, FieldType::String),
            field("wait", Side::Context, FieldType::Float),
            field("tenure", Side::Agent, FieldType::Float),
        ],
        inputs: vec![
            Input {
                field: 0,
                derive: Derive::Value,
                offset: 0.0,
                scale: None,
                levels: Some(Levels::Texts(vec!["bill".into(), "help".into()])),
            },
            Input { field: 1, derive: Derive::Value, offset: 0.0, scale, levels: None },
            Input { field: 2, derive: Derive::Value, offset: 0.0, scale, levels: Some(Levels::Cuts(vec![5.0, 15.0])) },
        ],
        tree_inputs: vec![
            TreeInput::Target { input: 0 },
            TreeInput::Number { input: 1 },
            TreeInput::Number { input: 2 },
            TreeInput::Agent,
        ],
        reference_time: Some(1_700_000_000_000_000),
    };
    Artifact {
        model_type: ModelType::Hybrid,
        outcome: Outcome {
            kind: MetricKind::Classification,
            goal: Goal::Maximize,
            mean: 0.0,
            deviation: 1.0,
            high: 0.0,
        },
        agent_source: AgentSource::Profile,
        encoding,
        target_means: vec![vec![0.25, 0.75, 0.5, 0.5], Vec::new(), Vec::new()],
        prior: 0.5,
        agents: TrainedAgents {
            ids: ["a", "b", "c"].into_iter().map(Arc::from).collect(),
            local: vec![true, true, false],
            target_means: vec![0.25, 0.75, 0.5],
            latest_numbers: Vec::new(),
            latest_levels: Vec::new(),
        },
        linear: LinearPart {
            intercept: -0.5,
            numbers: vec![0.0, -0.25, 0.5],
            levels: vec![vec![0.5, -0.5, 0.0, 0.0], Vec::new(), vec![-0.25, 0.0, 0.25, 0.0, 0.0]],
            agents: vec![0.5, -0.5, 0.0],
            crosses: vec![Cross { input: 0, agents: vec![0, 1], levels: vec![1, 0], values: vec![2.0, 1.0] }],
        },
        forest: Forest {
            starts: vec![0, 5, 8],
            inputs: vec![1, 2, LEAF, LEAF, LEAF, 3, LEAF, LEAF],
            values: vec![8.0, 12.0, 0.125, 0.25, -0.125, 0.5, -0.0625, 0.0625],
            left: vec![1, 2, 0, 0, 0, 1, 0, 0],
            right: vec![4, 3, 0, 0, 0, 2, 0, 0],
            missing: vec![4, 2, 0, 0, 0, 2, 0, 0],
            weights: vec![3.0, 2.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0],
        },
    }
}
