//! Data that is allowed, and that a model must neither break on nor be silent about.

use super::*;
use crate::learn::regression::softplus;

const DAY_US: i64 = 86_400_000_000;

/// Over a hundred days.
fn over_time(rows: usize) -> TrainingTable {
    let mut table = simulated(rows);
    let times = (0..rows as i64).map(|row| Some(1_700_000_000_000_000 + row * 100 * DAY_US / rows as i64)).collect();
    *column(&mut table, "at") = Column::Timestamp(times);
    table
}

/// Mean log loss of the artifact on all rows of [`simulated`].
fn log_loss(trained: &Trained, table: &TrainingTable) -> f64 {
    let model = CompiledModel::new(Arc::new(trained.artifact.clone()));
    let profile = profile();
    let agents = AgentSet::build(&model, profile.iter().map(|(id, fields)| AgentInput { id, fields }));
    let of = |name: &str| table.table.column(name).unwrap();
    let (Column::Text { codes, .. }, Column::Text { codes: reasons, .. }) = (of("agent"), of("reason")) else {
        panic!()
    };
    let (Column::Float(waits), Column::Boolean(won)) = (of("wait"), of("won")) else { panic!() };
    let loss = |row: usize| {
        let mut context = Map::new();
        if reasons[row] != MISSING_CODE {
            context.insert("reason".into(), json!(format!("reason{}", reasons[row])));
        }
        if !waits[row].is_nan() {
            context.insert("wait".into(), json!(waits[row]));
        }
        let id = format!("agent{}", codes[row]);
        let input = ScoreInput {
            context: &context,
            customer: None,
            now: Timestamp::from_timestamp_micros(1_708_000_000_000_000).unwrap(),
            eligible: Eligible::Ids(&[&id]),
            top: None,
            default: DefaultPolicy::Global,
            expression: None,
        };
        let p = model.score(&input, &agents).scores[0].p_score.unwrap().clamp(1e-12, 1.0 - 1e-12);
        let margin = (p / (1.0 - p)).ln();
        softplus(margin) - if won[row] == Some(true) { margin } else { 0.0 }
    };
    let rows = table.table.rows;
    (0..rows).map(loss).sum::<f64>() / rows as f64
}

#[test]
fn a_short_half_life_learns_less_and_not_more_than_there_is() {
    let table = over_time(4_000);
    for model_type in [ModelType::Disjoint, ModelType::Hybrid] {
        let learned = |half_life_days| {
            let mut spec = spec(model_type);
            spec.settings.half_life_days = half_life_days;
            train(&table, &spec, &Silent, None).unwrap()
        };
        let all = log_loss(&learned(None), &table);
        for half_life in [3.0, 10.0, 30.0] {
            let trained = learned(Some(half_life));
            let loss = log_loss(&trained, &table);
            // A model that knows nothing has 0.68; nothing changes with time, so that less is known, and no more is pretended.
            assert!(loss < 0.70 && loss > all - 0.01, "{model_type:?} {half_life}: {loss} against {all}");
        }
        let warned = |trained: &Trained| trained.warnings.iter().any(|warning| warning.contains("half-life"));
        assert!(warned(&learned(Some(1.0))) && !warned(&learned(Some(60.0))));
    }
    let mut spec = spec(ModelType::Global);
    spec.settings.half_life_days = Some(1e-9);
    assert_eq!(code(train(&table, &spec, &Silent, None)), "too_few_rows");
}

#[test]
fn numbers_far_from_zero_tell_as_much_as_near_ones() {
    let auc = |offset: f64| {
        let mut table = simulated(3_000);
        let Column::Float(waits) = column(&mut table, "wait").clone() else { panic!() };
        *column(&mut table, "wait") = Column::Float(waits.iter().map(|wait| wait + offset).collect());
        let trained = train(&table, &spec(ModelType::Hybrid), &Silent, None).unwrap();
        let read = Artifact::decode(&trained.artifact.encode().unwrap()).unwrap();
        assert_eq!(read.encoding, trained.artifact.encoding);
        trained.quality.classification.unwrap().auc.unwrap().value
    };
    let near = auc(0.0);
    for offset in [1e9, -1.7e12] {
        assert!((auc(offset) - near).abs() < 1e-3, "{offset}: {} against {near}", auc(offset));
    }
}

#[test]
fn numbers_out_of_range_are_missing_and_told() {
    let mut table = simulated(1_000);
    let Column::Float(waits) = column(&mut table, "wait") else { panic!() };
    (0..40).for_each(|row| waits[row * 20] = [1e300, -f64::MAX][row % 2]);
    let Column::Float(minutes) = column(&mut table, "minutes") else { panic!() };
    minutes[3] = f64::MAX;
    for kind in [MetricKind::Classification, MetricKind::Regression] {
        table.metric = if kind == MetricKind::Regression { "minutes" } else { "won" }.into();
        let spec = TrainingSpec { kind, ..spec(ModelType::Hybrid) };
        let trained = train(&table, &spec, &Silent, None).unwrap();
        Artifact::decode(&trained.artifact.encode().unwrap()).unwrap();
        let named =
            trained.warnings.iter().any(|warning| warning.contains("\"wait\"") && warning.contains("40 values"));
        assert!(named, "{:?}", trained.warnings);
        if let Some(quality) = trained.quality.regression {
            assert!(quality.rmse.value < 10.0, "{quality:?}");
        }
    }
}

#[test]
fn little_evidence_and_scores_cut_at_zero_are_told() {
    let warned = |table: &TrainingTable, spec: &TrainingSpec, part: &str| {
        let trained = train(table, spec, &Silent, None).unwrap();
        assert!(trained.warnings.iter().any(|warning| warning.contains(part)), "{part:?}: {:?}", trained.warnings);
    };
    warned(&simulated(200), &spec(ModelType::Global), "40 rows are held back");
    let mut table = simulated(1_000);
    let Column::Boolean(won) = column(&mut table, "won") else { panic!() };
    won.iter_mut().enumerate().for_each(|(row, won)| *won = Some(row % 150 == 7));
    warned(&table, &spec(ModelType::Global), "the rarer outcome is there 6 times");
    let mut table = simulated(1_000);
    *column(&mut table, "at") = Column::Timestamp(vec![Some(1_700_000_000_000_000); 1_000]);
    warned(&table, &spec(ModelType::Global), "all rows have the same time");
    let mut table = simulated(1_000);
    let Column::Float(minutes) = column(&mut table, "minutes") else { panic!() };
    minutes.iter_mut().for_each(|minutes| *minutes -= 12.0);
    table.metric = "minutes".into();
    warned(&table, &TrainingSpec { kind: MetricKind::Regression, ..spec(ModelType::Global) }, "are below 0");
}
