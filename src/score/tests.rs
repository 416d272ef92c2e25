//! What scoring promises, on a hand-made model and on random forests.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::assignment::{Assignment, Pairs};
use super::bytes::ByteForest;
use super::encoding::{Derive, EncodedField, Encoding, Input, Scale, Side, TreeInput};
use super::forest::LEAF;
use super::logistic::logistic;
use super::numbered::NumberedTree;
use super::samples;
use super::wide::ByteInstructions;
use super::*;
use crate::domain::Timestamp;
use crate::domain::predictor::{Goal, MetricKind};
use crate::domain::schema::FieldType;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn score<'a>(
    model: &CompiledModel,
    agents: &'a AgentSet,
    context: Value,
    ids: &[&'a str],
    default: DefaultPolicy,
) -> ScoreOutput<'a> {
    let context = object(context);
    let input = ScoreInput {
        context: &context,
        customer: None,
        now: Timestamp::UNIX_EPOCH,
        eligible: Eligible::Ids(ids),
        top: None,
        default,
        expression: None,
    };
    let fast = model.score(&input, agents);
    assert_eq!(fast, model.score_plainly(&input, agents), "the factorised form equals plain traversal");
    fast
}

fn sample() -> (CompiledModel, AgentSet) {
    let model = CompiledModel::new(Arc::new(samples::artifact()));
    let (a, b, new) = (object(json!({"tenure": 20.0})), object(json!({"tenure": 3})), object(json!({"tenure": 10.0})));
    let input = |id, fields| AgentInput { id, fields };
    let agents = AgentSet::build(&model, [input("a", &a), input("b", &b), input("new", &new)]);
    (model, agents)
}

#[test]
fn a_score_is_the_sum_of_its_parts() {
    let (model, agents) = sample();
    let answer = score(&model, &agents, json!({"reason": "help", "wait": 5.0}), &["a"], DefaultPolicy::Global);
    // Intercept, help, wait (5 - 10) / 5 × -0.25, tenure (20 - 10) / 5 × 0.5, its range, agent, cross, both trees.
    let margin = -0.5 - 0.5 + 0.25 + 1.0 + 0.25 + 0.5 + 2.0 + 0.25 - 0.0625;
    let p = logistic(margin);
    assert_eq!(answer.scores[0].p_score, Some(p));
    assert_eq!(answer.scores[0].score, 1000.0 * p);
    assert_eq!(answer.scores[0].source, ScoreSource::Local);
    // Every agent input missing: no tenure, no agent; the first tree sends a missing tenure left, the second the prior right.
    assert_eq!(answer.global, 1000.0 * logistic(-0.5 - 0.5 + 0.25 + 0.125 + 0.0625));
}

#[test]
fn sources_defaults_ranks_and_duplicates() {
    let (model, agents) = sample();
    let ids = ["new", "a", "ghost", "b", "c", "a"];
    let answer = score(&model, &agents, json!({"reason": "bill", "wait": 9.0}), &ids, DefaultPolicy::Max);
    assert_eq!(answer.eligible, 5, "an id counts once");
    let find = |id: &str| answer.scores.iter().find(|s| s.agent_id == id).unwrap();
    assert_eq!(find("new").source, ScoreSource::Global);
    assert_eq!(find("c").source, ScoreSource::Global);
    assert_eq!(find("b").source, ScoreSource::Local);
    assert_eq!((find("ghost").source, find("ghost").p_score), (ScoreSource::Default, None));
    assert_eq!(Some(find("ghost").score), answer.max);
    assert_eq!(answer.scores.iter().map(|s| s.rank).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let best = &answer.scores[0];
    assert!(best.agent_id < "ghost", "a tie breaks by agent id");
    let nobody = score(&model, &agents, json!({}), &["ghost"], DefaultPolicy::Min);
    assert_eq!(nobody.scores[0].score, nobody.global, "the global score when no agent is known");
    let empty = score(&model, &agents, json!({}), &[], DefaultPolicy::Global);
    assert_eq!((empty.eligible, empty.median), (0, None));
    let zero = score(&model, &agents, json!({}), &["ghost"], DefaultPolicy::Zero);
    assert_eq!(zero.scores[0].score, 0.0);
}

#[test]
fn odd_values_are_scored_as_missing_and_named() {
    let (model, agents) = sample();
    let plain = score(&model, &agents, json!({}), &["a"], DefaultPolicy::Global);
    let odd = score(&model, &agents, json!({"reason": 7, "wait": "long", "colour": 1}), &["a"], DefaultPolicy::Global);
    assert_eq!(odd.scores, plain.scores);
    assert_eq!(odd.warnings.len(), 3, "{:?}", odd.warnings);
    let unknown = score(&model, &agents, json!({"reason": "sales"}), &["a"], DefaultPolicy::Global);
    assert!(unknown.warnings[0].contains("reason"), "{:?}", unknown.warnings);
    let many: Map<String, Value> = (0..5_000).map(|n| (format!("field{n}"), json!(n))).collect();
    let many = score(&model, &agents, Value::Object(many), &["a"], DefaultPolicy::Global);
    assert!(many.warnings.len() == 1 && many.warnings[0].ends_with("and 4990 more"), "{:?}", many.warnings);
}

#[test]
fn the_context_overrides_agent_features() {
    let (model, agents) = sample();
    let own = score(&model, &agents, json!({"wait": 1.0}), &["a", "b"], DefaultPolicy::Global);
    let same = score(&model, &agents, json!({"wait": 1.0, "tenure": 20.0}), &["a"], DefaultPolicy::Global);
    let of = |answer: &ScoreOutput<'_>, id: &str| answer.scores.iter().find(|s| s.agent_id == id).unwrap().score;
    assert_eq!(of(&same, "a"), of(&own, "a"), "overriding with the agent's own value changes nothing");
    let other = score(&model, &agents, json!({"wait": 1.0, "tenure": 20.0}), &["b"], DefaultPolicy::Global);
    assert!(of(&other, "b") > of(&own, "b"));
}

#[test]
fn a_change_of_an_agent_builds_only_its_block() {
    let model = CompiledModel::new(Arc::new(samples::artifact()));
    let mut roster = Roster::default();
    let (tenure, changed) = (object(json!({"tenure": 20.0})), object(json!({"tenure": 9.0, "loginStatus": 4})));
    let of = |id, fields| AgentInput { id, fields };
    for id in ["a", "b", "new"] {
        roster.add(id);
    }
    let agents = AgentSet::of_roster(&model, roster.clone(), ["a", "b", "new"].map(|id| of(id, &tenure)));
    let place = roster.remove("new").unwrap();
    roster.remove("a");
    let next = agents.with_changes(&model, &roster, &[of("b", &changed)], &["new", "a"]);
    assert!(next.position("new").is_none() && next.len() == 3, "training knows a, whom the profile lost");
    let rebuilt = AgentSet::build(&model, [of("b", &changed)]);
    let ids = ["a", "b", "c", "new"];
    let context = json!({"reason": "bill", "wait": 3.0});
    let expected = score(&model, &rebuilt, context.clone(), &ids, DefaultPolicy::Global);
    assert_eq!(score(&model, &next, context.clone(), &ids, DefaultPolicy::Global), expected);
    roster.add("a");
    assert_eq!(roster.add("late"), place, "a vacant place is used again");
    let again = next.with_changes(&model, &roster, &[of("late", &changed), of("a", &tenure)], &[]);
    assert_eq!((again.position("late"), again.len()), (Some(place), 4));
    let own = score(&model, &again, context.clone(), &["a"], DefaultPolicy::Global);
    assert_eq!(own.scores, score(&model, &agents, context, &["a"], DefaultPolicy::Global).scores);
}

#[test]
fn scores_are_finite_and_not_negative() {
    let mut artifact = samples::artifact();
    artifact.outcome =
        Outcome { kind: MetricKind::Regression, goal: Goal::Minimize, mean: 100.0, deviation: 400.0, high: 50.0 };
    let model = CompiledModel::new(Arc::new(artifact));
    let agents = AgentSet::build(&model, []);
    let context = object(json!({"wait": 1e300}));
    let hostile: &(dyn Fn(f64) -> f64 + Sync) = &|_| f64::NAN;
    for expression in [None, Some(hostile)] {
        let input = ScoreInput {
            context: &context,
            customer: None,
            now: Timestamp::UNIX_EPOCH,
            eligible: Eligible::Ids(&["a", "b"]),
            top: Some(1),
            default: DefaultPolicy::Global,
            expression,
        };
        let answer = model.score(&input, &agents);
        assert_eq!((answer.scores.len(), answer.eligible), (1, 2));
        assert!(answer.scores.iter().all(|s| s.score.is_finite() && s.score >= 0.0));
    }
}

#[test]
fn artifacts_survive_the_bytes_and_damage_is_refused() {
    let artifact = samples::artifact();
    let bytes = artifact.encode().unwrap();
    assert_eq!(Artifact::decode(&bytes).unwrap(), artifact);
    assert_eq!(Artifact::decode(b"hello"), Err(ArtifactError::NotAnArtifact));
    let mut newer = bytes.clone();
    newer[8] = 99;
    assert!(matches!(Artifact::decode(&newer), Err(ArtifactError::Newer { found: 99, .. })));
    for at in [20, 60, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(Artifact::decode(&damaged), Err(ArtifactError::Checksum));
    }
    let mut endless = artifact.clone();
    endless.forest.left[0] = 0;
    assert!(matches!(Artifact::decode(&endless.encode().unwrap()), Err(ArtifactError::Corrupt(_))));
    let mut astray = artifact;
    astray.linear.crosses[0].agents[1] = 9;
    assert!(matches!(Artifact::decode(&astray.encode().unwrap()), Err(ArtifactError::Corrupt(_))));
}

/// Written by each format version; every later version must read it.
#[test]
fn every_format_can_still_be_read() {
    for golden in [include_bytes!("golden/artifact-v1.tango").as_slice(), include_bytes!("golden/artifact-v2.tango")] {
        assert_eq!(Artifact::decode(golden).unwrap(), samples::artifact());
    }
    assert_eq!(samples::artifact().encode().unwrap(), include_bytes!("golden/artifact-v2.tango"), "the format changed");
}

/// A random tree over `inputs` inputs with a few splits; thresholds and values lie on a small grid, so that equality
/// and missing values are common.
fn grow(forest: &mut Forest, inputs: u16, choices: &[(u16, i8, bool, u8)]) {
    // Each choice splits one of the leaves that exist, as an index modulo their number.
    let start = forest.inputs.len();
    let mut nodes: Vec<(u16, f32, u16, u16, u16)> = vec![(LEAF, 0.5, 0, 0, 0)];
    for (input, threshold, missing_left, pick) in choices {
        let leaves: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].0 == LEAF).collect();
        let at = leaves[*pick as usize % leaves.len()];
        let (left, right) = (nodes.len() as u16, nodes.len() as u16 + 1);
        nodes[at] = (input % inputs, f32::from(*threshold), left, right, if *missing_left { left } else { right });
        nodes.push((LEAF, f32::from(*threshold) / 7.0 + f32::from(left) * 0.01, 0, 0, 0));
        nodes.push((LEAF, -f32::from(*threshold) / 3.0 - f32::from(right) * 0.02, 0, 0, 0));
    }
    for (at, (input, value, left, right, missing)) in nodes.into_iter().enumerate() {
        let weight = 1.0 + at as f32;
        match input {
            LEAF => forest.push_leaf(value, weight),
            _ => forest.push_split(input, value, [left, right], missing, weight),
        }
    }
    forest.starts.push(forest.inputs.len() as u32);
    assert!(forest.inputs.len() > start);
}

/// Two context numbers and two agent numbers, no linear part.
fn numeric_artifact(forest: Forest) -> Artifact {
    let mut artifact = samples::artifact();
    let names = [("c0", Side::Context), ("c1", Side::Context), ("a0", Side::Agent), ("a1", Side::Agent)];
    artifact.encoding = Encoding {
        fields: names
            .map(|(name, side)| EncodedField {
                name: name.into(),
                side,
                field_type: FieldType::Float,
                is_request_time: false,
            })
            .to_vec(),
        inputs: (0..4)
            .map(|field| Input {
                field,
                derive: Derive::Value,
                offset: 0.0,
                scale: Some(Scale { mean: 0.0, deviation: 1.0 }),
                levels: None,
            })
            .collect(),
        tree_inputs: (0..4).map(|input| TreeInput::Number { input }).collect(),
        reference_time: None,
    };
    artifact.target_means = vec![Vec::new(); 4];
    artifact.linear = LinearPart { numbers: vec![0.1; 4], levels: vec![Vec::new(); 4], ..LinearPart::default() };
    artifact.forest = forest;
    artifact
}

/// By hand: regression terms as they are, each tree's splits by the shares of its leaves.
#[test]
fn an_explanation_names_what_each_feature_adds() {
    let model = CompiledModel::new(Arc::new(samples::artifact()));
    let fields = object(json!({"tenure": 20}));
    let agents = AgentSet::build(&model, [AgentInput { id: "a", fields: &fields }]);
    let context = object(json!({"reason": "help", "wait": 20}));
    let input = ScoreInput {
        context: &context,
        customer: None,
        now: Timestamp::UNIX_EPOCH,
        eligible: Eligible::Ids(&["a"]),
        top: None,
        default: DefaultPolicy::Global,
        expression: None,
    };
    let explained = model.explain(&input, &agents, &["a", "nobody"]);
    assert_eq!(explained[1], None);
    let explained = explained[0].as_ref().unwrap();
    let value = |side, feature: Option<&str>| {
        let named = |own: &&Contribution| own.side == side && own.feature.as_deref() == feature;
        explained.contributions.iter().find(named).map_or(0.0, |own| own.value)
    };
    let close =
        |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}: {explained:#?}");
    // The first tree, by leaves: means 1/12 of all, 3/16 below 8 waited, -1/8 above; tenure decides below 8 only.
    close(explained.base, -0.5 + 1.0 / 12.0);
    close(value(ContributionSide::Context, Some("reason")), -0.5);
    close(value(ContributionSide::Identity, Some("reason")), 2.0);
    // Known alone -5/24, after tenure -(1/12 + 1/24 + 1/8): their mean.
    close(value(ContributionSide::Context, Some("wait")), -0.5 - (5.0 / 24.0 + 0.25) / 2.0);
    close(value(ContributionSide::Agent, Some("tenure")), 1.0 + 0.25 + (1.0 / 24.0) / 2.0);
    close(value(ContributionSide::Identity, None), 0.5 - 0.0625);
    let score = model.score(&input, &agents);
    close(model.artifact().outcome.p_score(explained.raw), score.scores[0].p_score.unwrap());
}

/// Everybody at these positions, for an interaction.
fn all_of<'i>(context: &'i Map<String, Value>, positions: &'i [u32]) -> ScoreInput<'i, 'static> {
    ScoreInput {
        context,
        customer: None,
        now: Timestamp::UNIX_EPOCH,
        eligible: Eligible::Positions(positions),
        top: None,
        default: DefaultPolicy::Global,
        expression: None,
    }
}

/// The same by walking the trees, and by masks.
fn all_forms_say(model: &CompiledModel, profile: &[(String, Map<String, Value>)], input: &ScoreInput<'_, '_>) {
    let agents = AgentSet::build(model, profile.iter().map(|(id, fields)| AgentInput { id, fields }));
    let scored = model.score(input, &agents);
    assert_eq!(scored, model.score_plainly(input, &agents));
    let by_masks = CompiledModel::by_masks(Arc::new(model.artifact().clone()));
    let agents = AgentSet::build(&by_masks, profile.iter().map(|(id, fields)| AgentInput { id, fields }));
    assert_eq!(scored, by_masks.score(input, &agents));
}

/// As far from each other as leaves can be.
const LEAST: f32 = -8_191.0;
const GREATEST: f32 = 8_191.0;

/// A tree that sends a context at or above 0 down a chain of so many of the agent's thresholds: one leaf more than those is left.
fn chain(forest: &mut Forest, thresholds: &[f32]) {
    let leaf = |at: usize| if at.is_multiple_of(2) { GREATEST } else { LEAST + at as f32 };
    forest.push_split(0, 0.0, [1, 2], 2, 1.0);
    forest.push_leaf(leaf(0), 1.0);
    for (at, threshold) in thresholds.iter().enumerate() {
        let here = 2 + 2 * at as u16;
        let children = [here + 1, here + 2];
        forest.push_split(2, *threshold, children, children[at % 3 % 2], 1.0);
        forest.push_leaf(leaf(at), 1.0);
    }
    forest.push_leaf(leaf(thresholds.len()), 1.0);
    forest.starts.push(forest.inputs.len() as u32);
}

/// Each number of leaves and of thresholds at which the forms of the forest have an edge, with leaves that differ as much as they can.
#[test]
fn edges_of_leaves_thresholds_and_agents() {
    const LENGTHS: [usize; 18] = [62, 48, 47, 33, 32, 31, 17, 16, 15, 9, 8, 7, 6, 5, 4, 3, 2, 1];
    for count in [1, 6, 7, 63, 64, 65, 128, 254, 255, 256, 1_000] {
        let mut forest = Forest { starts: vec![0], ..Forest::default() };
        // Infinity is a threshold, too: all values go left, and those that are missing right.
        let last = count - 1;
        let thresholds: Vec<f32> = (0..count).map(|at| if at == last { f32::INFINITY } else { at as f32 }).collect();
        let mut rest = thresholds.as_slice();
        for length in LENGTHS.iter().cycle() {
            let own;
            (own, rest) = rest.split_at((*length).min(rest.len()));
            chain(&mut forest, own);
            if rest.is_empty() {
                break;
            }
        }
        forest.round_leaves();
        let model = CompiledModel::new(Arc::new(numeric_artifact(forest)));
        assert_eq!(model.tree_counts().by_bytes, ByteInstructions::new().is_some() && count <= 255);
        let fields = |at: usize| object(json!({"a0": (at * 7 % (2 * count + 3)) as f64 / 2.0 - 0.5}));
        let profile: Vec<_> =
            (0..720).map(|at| (at.to_string(), if at % 10 == 0 { Map::new() } else { fields(at) })).collect();
        let context = object(json!({"c0": 1}));
        for agents_wanted in [0, 1, 63, 64, 65, 127, 128, 129, 191, 192, 193, 704] {
            let positions: Vec<u32> = (0..agents_wanted).map(|at| (at * 11 % 720) as u32).collect();
            let input = all_of(&context, &positions);
            all_forms_say(&model, &profile, &input);
        }
        let (context, positions) = (object(json!({"c0": -1})), [3, 5]);
        all_forms_say(&model, &profile, &all_of(&context, &positions));
    }
}

/// As many splits as a context can leave of a tree, and all pairs of trees with few of them.
#[test]
fn every_number_of_splits_that_a_context_leaves() {
    let thresholds: Vec<f32> = (1..=62u8).map(f32::from).collect();
    let pairs = (1..=6).flat_map(|one| (1..=one).map(move |other| vec![one, other]));
    for lengths in [(1..=62).collect(), vec![62; 3], vec![1; 7]].into_iter().chain(pairs) {
        let mut forest = Forest { starts: vec![0], ..Forest::default() };
        for length in lengths {
            chain(&mut forest, &thresholds[..length]);
        }
        forest.round_leaves();
        let model = CompiledModel::new(Arc::new(numeric_artifact(forest)));
        assert_eq!(model.tree_counts().by_bytes, ByteInstructions::new().is_some());
        let fields = |at: i32| if at == 64 { Map::new() } else { object(json!({"a0": at})) };
        let profile: Vec<_> = (0..65).map(|at| (at.to_string(), fields(at))).collect();
        let positions: Vec<u32> = (0..65).collect();
        for context in [json!({"c0": 1}), json!({"c0": -1}), json!({})] {
            all_forms_say(&model, &profile, &all_of(&object(context), &positions));
        }
    }
}

/// More trees of either kind than one sum can hold, each agent at the greatest leaf of all.
#[test]
fn trees_whose_sums_leave_their_bits() {
    let mut forest = Forest { starts: vec![0], ..Forest::default() };
    for tree in 0..2_300 {
        let length = if tree % 2 == 0 { 2 } else { 40 };
        chain(&mut forest, &(0..length).map(|at| (at + 1) as f32).collect::<Vec<_>>());
    }
    forest.round_leaves();
    let model = CompiledModel::new(Arc::new(numeric_artifact(forest)));
    let profile: Vec<_> = (0..70).map(|at| (at.to_string(), object(json!({"a0": at % 2 * 2})))).collect();
    let (context, positions) = (object(json!({"c0": 1})), (0..70).collect::<Vec<u32>>());
    all_forms_say(&model, &profile, &all_of(&context, &positions));
}

/// A byte names one of 256 rows, and an input has one for each way of its missing values.
#[test]
fn more_inputs_than_bytes_can_name_go_by_masks() {
    let Some(instructions) = ByteInstructions::new() else {
        println!("skipped: this processor goes by masks anyway");
        return;
    };
    for (inputs, missing_both_ways, fits) in [(256, 0, true), (257, 0, false), (255, 1, true), (255, 2, false)] {
        let mut forest = Forest { starts: vec![0], ..Forest::default() };
        for tree in 0..inputs + missing_both_ways {
            forest.push_split(tree % inputs, 0.0, [1, 2], if tree < inputs { 1 } else { 2 }, 1.0);
            forest.push_leaf(1.0, 1.0);
            forest.push_leaf(2.0, 1.0);
            forest.starts.push(forest.inputs.len() as u32);
        }
        let trees: Vec<_> = (0..forest.trees()).map(|tree| NumberedTree::new(&forest, tree, forest.unit())).collect();
        let bytes = ByteForest::new(instructions, &trees.iter().collect::<Vec<_>>(), &vec![true; usize::from(inputs)]);
        assert_eq!(bytes.is_some(), fits, "{inputs} {missing_both_ways}");
    }
}

#[test]
fn what_is_no_number_is_refused() {
    for (threshold, leaf, fits) in [
        (0.0, 1.0, true),
        (f32::INFINITY, 1.0, true),
        (f32::NAN, 1.0, false),
        (0.0, f32::NAN, false),
        (0.0, f32::INFINITY, false),
    ] {
        let mut forest = Forest { starts: vec![0, 3], ..Forest::default() };
        forest.push_split(0, threshold, [1, 2], 2, 1.0);
        forest.push_leaf(leaf, 1.0);
        forest.push_leaf(2.0, 1.0);
        assert_eq!(forest.check(1).is_ok(), fits, "{threshold} {leaf}");
    }
}

/// A tree a hundred times as large as the others takes little from what these say.
#[test]
fn large_trees_are_added_in_pieces() {
    let mut forest = Forest { starts: vec![0], ..Forest::default() };
    for tree in 0..100 {
        let size = if tree == 7 { 100.0 } else { 1.0 };
        forest.push_split(0, 0.0, [1, 2], 1, 1.0);
        forest.push_leaf(-size / 3.0, 1.0);
        forest.push_split(2, f32::from((tree % 5) as u8), [3, 4], 4, 1.0);
        forest.push_leaf(size / 7.0, 1.0);
        forest.push_leaf(size / 11.0, 1.0);
        forest.starts.push(forest.inputs.len() as u32);
    }
    let exact = forest.clone();
    forest.round_leaves();
    for (rounded, exact) in forest.values.iter().zip(&exact.values) {
        assert!((rounded - exact).abs() < 2e-4, "{exact} is {rounded}");
    }
    let model = CompiledModel::new(Arc::new(numeric_artifact(forest)));
    let pieces = model.tree_counts().small;
    assert_eq!(pieces, 111, "the large one is twelve");
    let profile: Vec<_> = (0..6).map(|at| (at.to_string(), object(json!({"a0": at})))).collect();
    for context in [json!({"c0": 1}), json!({"c0": -1})] {
        all_forms_say(&model, &profile, &all_of(&object(context), &[0, 1, 2, 3, 4, 5]));
    }
}

/// Rounding may make the largest leaf a power of two, which has a larger unit.
#[test]
fn rounded_leaves_stay_as_they_are() {
    let mut forest = Forest { starts: vec![0], ..Forest::default() };
    let almost_two = f32::from_bits(2f32.to_bits() - 1);
    forest.push_split(0, 0.0, [1, 2], 2, 1.0);
    forest.push_leaf(almost_two, 1.0);
    forest.push_leaf(3.0 / 524_288.0, 1.0);
    forest.starts.push(3);
    forest.round_leaves();
    let once = forest.clone();
    forest.round_leaves();
    assert_eq!(forest, once);
    assert_eq!(forest.values[1], 2.0);
    assert_eq!((f64::from(forest.values[2]) / forest.unit()).fract(), 0.0);
}

/// More trees than one sum of words can hold, more agents than are scored at once.
#[test]
fn many_agents_and_many_trees() {
    let mut forest = Forest { starts: vec![0], ..Forest::default() };
    let dice = |at: usize| (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    for tree in 0..700 {
        let choice = |at: usize| {
            let dice = dice(64 * tree + at);
            ((dice % 4) as u16, (dice / 4 % 7) as i8 - 3, dice.is_multiple_of(3), (dice / 32) as u8)
        };
        grow(&mut forest, 4, &(0..tree % 64).map(choice).collect::<Vec<_>>());
    }
    forest.round_leaves();
    let model = CompiledModel::new(Arc::new(numeric_artifact(forest)));
    let fields = |at: usize| object(json!({"a0": (dice(at) % 9) as i64 - 4, "a1": (dice(at) / 9 % 9) as i64 - 4}));
    let profile: Vec<_> =
        (0..1_100).map(|at| (at.to_string(), if at % 10 == 0 { Map::new() } else { fields(at) })).collect();
    let positions: Vec<u32> = (0..1_100).collect();
    for context in [json!({"c0": 1, "c1": -2}), json!({"c1": 3}), json!({"c0": 0})] {
        all_forms_say(&model, &profile, &all_of(&object(context), &positions));
    }
}

proptest! {
    #[test]
    fn factorised_scores_equal_plain_ones_bit_for_bit(
        trees in prop::collection::vec(prop::collection::vec((0u16..4, -3i8..4, any::<bool>(), any::<u8>()), 0..63), 1..40),
        agents in prop::collection::vec((prop::option::of(-4i8..5), prop::option::of(-4i8..5)), 1..150),
        context in (prop::option::of(-4i8..5), prop::option::of(-4i8..5)),
        overridden in prop::option::of(-4i8..5),
    ) {
        let mut forest = Forest { starts: vec![0], ..Forest::default() };
        for choices in &trees {
            grow(&mut forest, 4, choices);
        }
        let artifact = numeric_artifact(forest);
        let artifact = Artifact::decode(&artifact.encode().unwrap()).unwrap();
        let model = CompiledModel::new(Arc::new(artifact));
        let profile: Vec<(String, Map<String, Value>)> = agents
            .iter()
            .enumerate()
            .map(|(at, (a0, a1))| (format!("agent{at}"), object(json!({"a0": a0, "a1": a1}))))
            .collect();
        let set = AgentSet::build(&model, profile.iter().map(|(id, fields)| AgentInput { id, fields }));
        let mut context = object(json!({"c0": context.0, "c1": context.1}));
        if let Some(value) = overridden {
            context.insert("a1".into(), json!(value));
        }
        let positions = set.all_positions();
        let input = all_of(&context, &positions);
        let scored = model.score(&input, &set);
        all_forms_say(&model, &profile, &input);
        let ids: Vec<&str> = scored.scores.iter().map(|score| score.agent_id).collect();
        for (score, explained) in scored.scores.iter().zip(model.explain(&input, &set, &ids)) {
            let explained = explained.unwrap();
            let sum = explained.base + explained.contributions.iter().map(|own| own.value).sum::<f64>();
            prop_assert!((sum - explained.raw).abs() < 1e-9);
            prop_assert!((model.artifact().outcome.p_score(explained.raw) - score.p_score.unwrap()).abs() < 1e-9);
        }
    }

    #[test]
    fn assignments_are_the_best_of_all_and_hasty_ones_know_how_much_may_be_missing(
        rows in 1usize..5,
        columns in 1usize..5,
        scores in prop::collection::vec(prop::option::weighted(0.8, 0i32..50), 16),
        steps in 0u64..12,
    ) {
        let scores: Vec<Option<f64>> = scores[..rows * columns].iter().map(|s| s.map(f64::from)).collect();
        let mut pairs = Pairs::none(rows, columns);
        for row in 0..rows {
            for (column, pair) in pairs.row_mut(row).iter_mut().enumerate() {
                *pair = scores[row * columns + column].unwrap_or(f64::NAN);
            }
        }
        let value = |assigned: &Assignment| {
            let made = |(row, column): (usize, &Option<usize>)| column.map(|column| pairs.score(row, column).unwrap());
            let made: Vec<f64> = assigned.column_of.iter().enumerate().filter_map(made).collect();
            (made.len(), made.iter().sum::<f64>())
        };
        let once = |assigned: &Assignment| {
            let used: BTreeSet<usize> = assigned.column_of.iter().flatten().copied().collect();
            used.len() == assigned.column_of.iter().flatten().count()
        };
        let best = best(&scores, columns, 0, rows, &mut vec![false; columns]);
        let exact = assignment::maximize(&pairs, u64::MAX);
        prop_assert!(once(&exact), "a column is used once");
        prop_assert_eq!((value(&exact), exact.gap), (best, 0.0));
        let hasty = assignment::maximize(&pairs, steps);
        prop_assert!(once(&hasty), "a column is used once");
        prop_assert!(value(&hasty).1 + hasty.gap >= best.1 - 1e-6, "{:?} and {} against {:?}", value(&hasty), hasty.gap, best);
    }
}

/// Pairs and total of the best assignment, by trying all.
fn best(scores: &[Option<f64>], columns: usize, row: usize, rows: usize, used: &mut Vec<bool>) -> (usize, f64) {
    if row == rows {
        return (0, 0.0);
    }
    let mut found = best(scores, columns, row + 1, rows, used);
    for column in 0..columns {
        let Some(score) = scores[row * columns + column].filter(|_| !used[column]) else { continue };
        used[column] = true;
        let (pairs, total) = best(scores, columns, row + 1, rows, used);
        used[column] = false;
        if (pairs + 1, total + score) > found {
            found = (pairs + 1, total + score);
        }
    }
    found
}
