//! What the measures and reports of a model say, on data where the answer is known.

use super::*;

#[test]
fn the_breakdown_adds_up_and_tells_values_apart() {
    let trained = train(&simulated(3_000), &spec(ModelType::Hybrid), &Silent, None).unwrap();
    let Breakdown { by_agent, by_context } = &trained.breakdown;
    assert_eq!(by_agent.iter().map(|agent| agent.quality.rows).sum::<u64>(), 600);
    assert!(by_agent.is_sorted_by_key(|agent| agent.agent_id.clone()) && by_agent.iter().all(|agent| agent.local));
    let inside = by_agent.iter().filter(|agent| {
        let group = &agent.quality;
        group.observed.low <= group.predicted && group.predicted <= group.observed.high
    });
    assert!(inside.count() >= AGENTS - 6, "most agents are predicted well: {by_agent:#?}");
    let reason = by_context.iter().find(|field| field.field == "reason").unwrap();
    let mut values: Vec<_> = reason.values.iter().map(|value| value.value.clone()).collect();
    values.sort();
    let expected: Vec<Option<String>> =
        std::iter::once(None).chain((0..REASONS).map(|at| Some(format!("reason{at}")))).collect();
    assert_eq!(values, expected);
    assert_eq!(reason.values.iter().map(|value| value.quality.rows).sum::<u64>(), 600);
    assert!(reason.others.is_none() && reason.values.is_sorted_by_key(|v| std::cmp::Reverse(v.quality.rows)));
    assert!(by_context.iter().all(|field| field.field != "tenure"), "agent features are no context");
    assert_eq!(trained.choices.trees, trained.quality.trees);
}

#[test]
fn a_regressions_breakdown_is_in_the_metrics_unit() {
    let mut table = simulated(1_500);
    table.metric = "minutes".into();
    let spec = TrainingSpec { kind: MetricKind::Regression, goal: Goal::Minimize, ..spec(ModelType::Disjoint) };
    let trained = train(&table, &spec, &Silent, None).unwrap();
    let group = &trained.breakdown.by_agent[0].quality;
    assert!(group.mae.unwrap() > 0.0 && group.auc.is_none() && group.log_loss.is_none());
    assert!(group.observed.value > 5.0 && group.observed.low < group.observed.value, "{group:?}");
    let residuals = trained.quality.regression.unwrap().residuals;
    assert!(residuals.p05 < residuals.median && residuals.median < residuals.p95);
}

#[test]
fn coverage_says_how_much_of_an_agents_deviation_is_kept() {
    let mut table = simulated(3_000);
    // The agents differ by themselves, not by what they are good at: agent 0 is left with few interactions.
    let Column::Text { codes, .. } = column(&mut table, "agent") else { panic!() };
    let mut left = 0;
    for code in codes.iter_mut().filter(|code| **code == 0) {
        left += 1;
        if left > 15 {
            *code = 1;
        }
    }
    let coverage = train(&table, &spec(ModelType::Hybrid), &Silent, None).unwrap().coverage;
    for agent in &coverage.agents {
        let classes = agent.classes.unwrap();
        assert_eq!(classes.positive + classes.negative, agent.samples);
        assert!((classes.positive as f64 / agent.samples as f64 - agent.mean).abs() < 1e-9);
        assert!(agent.shrinkage.is_some_and(|kept| kept > 0.0 && kept < 1.0), "{agent:?}");
    }
    let kept = |id: &str| coverage.agents.iter().find(|agent| agent.agent_id == id).unwrap().shrinkage.unwrap();
    assert!(kept("agent0") < 0.5 * kept("agent1"), "{} {}", kept("agent0"), kept("agent1"));
    let global = train(&table, &spec(ModelType::Global), &Silent, None).unwrap().coverage;
    assert!(global.agents.iter().all(|agent| agent.shrinkage.is_none()));
}

#[test]
fn a_feature_that_is_the_outcome_in_other_words_is_named() {
    let honest = train(&simulated(1_500), &spec(ModelType::Global), &Silent, None).unwrap();
    assert!(!honest.warnings.iter().any(|warning| warning.contains("leakage")), "{:?}", honest.warnings);
    let mut table = simulated(1_500);
    let Column::Boolean(won) = column(&mut table, "won").clone() else { panic!() };
    let mut random = Random::new(3);
    let rating = won.iter().map(|won| f64::from(u8::from(*won == Some(true))) * 2.0 + random.unit()).collect();
    table.table.columns.push(("rating".into(), Column::Float(rating)));
    let names = Features { context: strings(&["reason", "wait", "at", "rating"]), ..Features::default() };
    table.features = TrainingTable::feature_columns(&names);
    let warnings = train(&table, &spec(ModelType::Global), &Silent, None).unwrap().warnings;
    let found: Vec<&String> = warnings.iter().filter(|warning| warning.contains("leakage")).collect();
    assert_eq!(found.len(), 1, "{warnings:#?}");
    assert!(found[0].starts_with("\"rating\" alone") && found[0].contains("Leave it out"), "{}", found[0]);
}

const PEOPLE: usize = 80;

/// True effects on the probability.
struct KnownAgents {
    own: Vec<f64>,
    /// By agent, then reason: beside the agent's own.
    special: Vec<f64>,
}

impl KnownAgents {
    /// The deviation of effects between reasons around each agent's own level.
    fn between_reasons(&self) -> f64 {
        let squares: f64 = self
            .special
            .chunks(4)
            .map(|own| {
                let mean = own.iter().sum::<f64>() / 4.0;
                own.iter().map(|v| (v - mean).powi(2)).sum::<f64>()
            })
            .sum();
        (squares / (3 * PEOPLE) as f64).sqrt()
    }
}

/// Interactions whose agents differ by known amounts: `level` is the deviation between agents, `by_reason` that of an agent
/// between reasons. The outcome `resolved` is a probability's, `minutes` ten times that with noise. Agents get reasons in
/// different proportions.
fn with_known_agents(seed: u64, rows: usize, level: f64, by_reason: f64) -> (TrainingTable, KnownAgents) {
    let mut random = Random::new(seed);
    let own: Vec<f64> = (0..PEOPLE).map(|_| level * random.normal()).collect();
    let special: Vec<f64> = (0..PEOPLE * 4).map(|_| by_reason * random.normal()).collect();
    let (mut agents, mut reasons, mut channels) = (Vec::new(), Vec::new(), Vec::new());
    let (mut resolved, mut minutes) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let agent = random.below(PEOPLE);
        let reason = if random.below(2) == 0 { agent % 4 } else { random.below(4) };
        let p = 0.35 + 0.1 * reason as f64 + own[agent] + special[agent * 4 + reason];
        agents.push(agent as u32);
        reasons.push(reason as u32);
        channels.push(random.below(3) as u32);
        resolved.push(Some(random.unit() < p));
        minutes.push(10.0 * p + random.normal());
    }
    let columns = vec![
        ("agent".to_owned(), text(agents, "agent", PEOPLE)),
        ("reason".to_owned(), text(reasons, "reason", 4)),
        ("channel".to_owned(), text(channels, "channel", 3)),
        ("resolved".to_owned(), Column::Boolean(resolved)),
        ("minutes".to_owned(), Column::Float(minutes)),
    ];
    let context = Features { context: strings(&["reason", "channel"]), ..Features::default() };
    let table = TrainingTable {
        table: Table { rows, columns },
        metric: "resolved".into(),
        agent_id: Some("agent".into()),
        timestamp: None,
        features: TrainingTable::feature_columns(&context),
    };
    (table, KnownAgents { own, special })
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

#[test]
fn the_variance_between_agents_is_found_in_either_unit() {
    let (table, KnownAgents { own: truth, .. }) = with_known_agents(82, 20_000, 0.06, 0.0);
    let regression = TrainingSpec { kind: MetricKind::Regression, ..spec(ModelType::Global) };
    for (metric, spec, scale) in [("resolved", spec(ModelType::Hybrid), 1.0), ("minutes", regression, 10.0)] {
        let table = TrainingTable { metric: metric.into(), ..table.clone() };
        let found = agent_variance(table, &spec, None, &Silent, None).unwrap();
        let truth: Vec<f64> = truth.iter().map(|effect| scale * effect).collect();
        let whole = deviation(&truth);
        assert!(found.deviation.low < whole && whole < found.deviation.high, "{whole} {:?}", found.deviation);
        assert!((found.deviation.value - whole).abs() < 0.2 * whole, "{whole} {:?}", found.deviation);
        assert_eq!((found.agents, found.rows, found.rows_without_agent), (PEOPLE as u64, 20_000, 0));
        let mean = truth.iter().sum::<f64>() / truth.len() as f64;
        // The agents are listed by id: agent0, agent1, agent10 …
        let own = |effect: &AgentEffect| truth[effect.agent_id[5..].parse::<usize>().unwrap()] - mean;
        let held = found.effects.iter().filter(|e| e.effect.low <= own(e) && own(e) <= e.effect.high).count();
        assert!(held >= 70, "{held} of {PEOPLE} intervals hold the truth");
        let error = |value: fn(&AgentEffect) -> f64| -> f64 {
            found.effects.iter().map(|effect| (value(effect) - own(effect)).powi(2)).sum()
        };
        if metric == "resolved" {
            // With 250 rows an agent of a noisy outcome; minutes are so exact that there is little to shrink.
            assert!(error(|e| e.effect.value) < error(|e| e.measured), "shrinking helps");
        }
        let ten = found.best_of.iter().find(|best| best.agents == 10).unwrap();
        assert!((ten.if_known / found.deviation.value - 1.5388).abs() < 1e-3 && ten.by_estimates < ten.if_known);
        assert!(found.meaning.contains("best of 10 free agents"), "{}", found.meaning);
    }
}

#[test]
fn agents_who_do_not_differ_are_said_not_to() {
    let (table, _) = with_known_agents(82, 8_000, 0.0, 0.0);
    let found = agent_variance(table, &spec(ModelType::Global), None, &Silent, None).unwrap();
    assert!(found.deviation.low == 0.0 && found.deviation.high < 0.04, "{:?}", found.deviation);
    assert!(found.meaning.starts_with("These data do not show"), "{}", found.meaning);
}

#[test]
fn what_agents_are_good_at_is_found_in_its_field_alone() {
    let (table, truth) = with_known_agents(82, 40_000, 0.03, 0.08);
    let one = |field: &str| agent_variance(table.clone(), &spec(ModelType::Global), Some(field), &Silent, None);
    assert_eq!(
        one("channel").unwrap().by_context.iter().map(|found| found.field.as_str()).collect::<Vec<_>>(),
        ["channel"]
    );
    let refused = one("colour").unwrap_err().to_string();
    assert!(refused.contains("\"reason\"") && refused.contains("segment_by"), "{refused}");
    let found = agent_variance(table.clone(), &spec(ModelType::Global), None, &Silent, None).unwrap();
    assert_eq!(found.by_context[0].field, "reason");
    let reason = &found.by_context[0];
    assert!(
        (reason.deviation.value - truth.between_reasons()).abs() < 0.01 && reason.deviation.low > 0.06,
        "{reason:#?}"
    );
    assert_eq!(reason.values.len(), 4);
    let between = (0.03f64.powi(2) + 0.08f64.powi(2)).sqrt();
    for value in &reason.values {
        assert_eq!(value.agents, PEOPLE as u64);
        assert!((value.deviation.value - between).abs() < 0.03, "{value:?}");
    }
    let (mut anonymous, _) = with_known_agents(82, 100, 0.0, 0.0);
    anonymous.agent_id = None;
    let refused = agent_variance(anonymous, &spec(ModelType::Global), None, &Silent, None);
    assert!(matches!(refused, Err(TrainError::Unusable { code: "no_agent_id", .. })), "{refused:?}");
}

#[test]
fn intervals_between_agents_and_between_context_values_hold_the_truth_of_many_runs() {
    const RUNS: u64 = 16;
    let (mut between_agents, mut by_reason, mut by_channel) = (0, 0, 0);
    for seed in 0..RUNS {
        let (table, truth) = with_known_agents(1_000 + seed, 4_000, 0.04, 0.08);
        let found = agent_variance(table, &spec(ModelType::Global), None, &Silent, None).unwrap();
        let holds = |interval: &Estimate, truth: f64| u32::from(interval.low <= truth && truth <= interval.high);
        let of = |name: &str| &found.by_context.iter().find(|field| field.field == name).unwrap().deviation;
        // Over the reasons that an agent had: half of them the agent's own one, the others evenly.
        let mean_effect = |agent: usize| {
            let share = |reason: usize| if reason == agent % 4 { 0.625 } else { 0.125 };
            truth.own[agent] + (0..4).map(|reason| share(reason) * truth.special[agent * 4 + reason]).sum::<f64>()
        };
        let effects: Vec<f64> = (0..PEOPLE).map(mean_effect).collect();
        between_agents += holds(&found.deviation, deviation(&effects));
        by_reason += holds(of("reason"), truth.between_reasons());
        by_channel += holds(of("channel"), 0.0);
    }
    // 15.2 of 16 are expected, with a standard deviation of 0.9.
    let text = format!("{between_agents}, {by_reason}, {by_channel} of {RUNS}");
    assert!(between_agents >= 13 && by_reason >= 13 && by_channel >= 13, "{text}");
}

#[test]
fn features_that_contribute_are_told_from_noise_and_copies() {
    let mut table = simulated(4_000);
    let mut random = Random::new(21);
    let Column::Text { codes, dictionary } = column(&mut table, "reason").clone() else { panic!() };
    let noise = (0..4_000).map(|_| random.unit()).collect();
    let letters = (0..4_000).map(|_| random.below(8) as u32).collect();
    table.table.columns.push(("noise".into(), Column::Float(noise)));
    table.table.columns.push(("letter".into(), text(letters, "letter", 8)));
    table.table.columns.push(("reason_code".into(), Column::Text { codes, dictionary }));
    table.table.columns.push(("same".into(), Column::Integer(vec![Some(1); 4_000])));
    let names = Features {
        context: strings(&["reason", "reason_code", "wait", "noise", "letter", "same"]),
        agent: strings(&["tenure"]),
        ..Features::default()
    };
    table.features = TrainingTable::feature_columns(&names);
    let found = feature_analysis(&table, &spec(ModelType::Hybrid), &Silent, None).unwrap();
    let names: Vec<&str> = found.likely_contribute.iter().map(String::as_str).collect();
    for expected in ["wait", "tenure", "agent"] {
        assert!(names.contains(&expected), "{expected} is missing from {names:?}");
    }
    assert!(!names.contains(&"noise") && !names.contains(&"letter") && !names.contains(&"same"), "{names:?}");
    let pair = &found.redundant[0];
    assert!(pair.shared > 0.99 && [&pair.first, &pair.second].contains(&&"reason_code".to_owned()), "{pair:?}");
    let of = |name: &str| found.features.iter().find(|one| one.feature == name).unwrap();
    assert!(of("wait").alone.unwrap().low > 0.5 && of("noise").alone.unwrap().low < 0.5, "{:#?}", found.features);
    assert!(of("same").importance.is_none() && of("same").reason.contains("at most one value"));
    assert!(of("agent").auc_decrease.unwrap() > 0.0 && of("agent").alone.is_none());
    let again = feature_analysis(&table, &spec(ModelType::Hybrid), &Silent, Some(1)).unwrap();
    assert_eq!(found, again, "on any number of threads");
}
