//! Which models answer, and for which share of the requests.

use crate::domain::Timestamp;
use crate::domain::id::ModelId;
use crate::domain::model::Model;
use crate::store::Stored;

/// The models of a predictor that have to be written so that `id` answers for `share` of the requests and the
/// others keep their proportions. A share of 1 leaves no other active.
pub fn activated(models: Vec<Stored<Model>>, id: &ModelId, share: f64, now: Timestamp) -> Vec<Stored<Model>> {
    let rest: f64 = models.iter().filter(|m| m.value.active && m.value.id != *id).map(|m| share_of(&m.value)).sum();
    let alone = share >= 1.0 || rest <= 0.0;
    change(models, now, |model| {
        if model.id == *id {
            Some(if alone { 1.0 } else { share })
        } else if model.active && !alone {
            Some((1.0 - share) * share_of(model) / rest)
        } else {
            None
        }
    })
}

/// The models to write so that `id` answers no more and the others share its part.
pub fn deactivated(models: Vec<Stored<Model>>, id: &ModelId, now: Timestamp) -> Vec<Stored<Model>> {
    let rest: f64 = models.iter().filter(|m| m.value.active && m.value.id != *id).map(|m| share_of(&m.value)).sum();
    change(models, now, |model| (model.active && model.id != *id).then(|| share_of(model) / rest))
}

fn share_of(model: &Model) -> f64 {
    model.share.unwrap_or(1.0)
}

fn change(models: Vec<Stored<Model>>, now: Timestamp, share: impl Fn(&Model) -> Option<f64>) -> Vec<Stored<Model>> {
    let mut changed = Vec::new();
    for mut stored in models {
        let share = share(&stored.value);
        let model = &mut stored.value;
        if model.active != share.is_some() || model.share != share {
            if model.active && share.is_none() {
                model.retired_at = Some(now);
            }
            model.active = share.is_some();
            model.share = share;
            model.updated_at = now;
            changed.push(stored);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{AccountId, PredictorId};
    use crate::domain::model::{ModelSettings, ModelState, ModelType};

    fn model(letter: char, share: Option<f64>) -> Stored<Model> {
        let now = Timestamp::UNIX_EPOCH;
        let value = Model {
            id: ModelId::parse(&format!("mdl_{letter}")).unwrap(),
            account_id: AccountId::parse("acc_a").unwrap(),
            predictor_id: PredictorId::parse("prd_a").unwrap(),
            name: letter.to_string(),
            model_type: ModelType::Global,
            state: ModelState::Trained,
            version: 1,
            features: None,
            settings: ModelSettings::default(),
            seed: 0,
            active: share.is_some(),
            share,
            retired_at: None,
            error: None,
            job_id: None,
            trained_on: None,
            quality: None,
            coverage: None,
            artifact: None,
            comparison: None,
            created_at: now,
            updated_at: now,
        };
        Stored { value, revision: 1 }
    }

    fn shares(models: &[Stored<Model>]) -> Vec<(&str, Option<f64>)> {
        models.iter().map(|m| (m.value.name.as_str(), m.value.share)).collect()
    }

    #[test]
    fn shares_always_add_up_to_one() {
        let id = |letter| ModelId::parse(&format!("mdl_{letter}")).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let models = vec![model('a', Some(0.6)), model('b', Some(0.4)), model('c', None)];
        let changed = activated(models.clone(), &id('c'), 0.5, now);
        assert_eq!(shares(&changed), [("a", Some(0.3)), ("b", Some(0.2)), ("c", Some(0.5))]);
        let changed = activated(models.clone(), &id('c'), 1.0, now);
        assert_eq!(shares(&changed), [("a", None), ("b", None), ("c", Some(1.0))]);
        let retired: Vec<bool> = changed.iter().map(|stored| stored.value.retired_at == Some(now)).collect();
        assert_eq!(retired, [true, true, false]);
        let changed = deactivated(models, &id('a'), now);
        assert_eq!(shares(&changed), [("a", None), ("b", Some(1.0))]);
        assert_eq!(shares(&activated(vec![model('a', None)], &id('a'), 0.2, now)), [("a", Some(1.0))]);
        assert!(deactivated(vec![model('a', None)], &id('a'), now).is_empty());
    }
}
