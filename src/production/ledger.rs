//! What was counted and is not written yet.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::ScoredRequest;
use crate::domain::Timestamp;
use crate::domain::id::{AccountId, ModelId, PredictorId};
use crate::domain::predictor::PredictorDefinition;
use crate::domain::scoring::{Scored, ScoredPack, ScoringHour};
use crate::live::LivePredictor;
use crate::quick_map::QuickMap;
use crate::score::Artifact;
use crate::score::bins::Bins;

const HOUR_MS: i64 = 3_600_000;
/// An hour that is over for so long gets no more requests.
const SETTLED_MS: i64 = 2 * HOUR_MS;
/// Interactions of one document, and the bytes of their texts: a document holds 16 MB.
const PACK: usize = 250;
const PACK_BYTES: usize = 4 << 20;
/// Interactions that are kept between two writings, five seconds apart; of more, the first ones.
const KEPT: usize = 1_000;
/// Packs that wait for a store that is away.
const WAITING_PACKS: usize = 200;

/// Which document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    account: AccountId,
    predictor: PredictorId,
    model: Option<(ModelId, u32)>,
    hour_ms: i64,
}

struct Entry {
    hour: ScoringHour,
    changed: bool,
}

/// A pack that is being filled.
#[derive(Default)]
struct Open {
    /// With their times, in milliseconds since 1970.
    scored: Vec<(i64, Scored)>,
    bytes: usize,
}

pub(super) struct Ledger {
    process: String,
    keep: bool,
    entries: QuickMap<Place, Entry>,
    bins: QuickMap<(ModelId, u32), Arc<Bins>>,
    open: QuickMap<(AccountId, PredictorId), Open>,
    /// Interactions in `open` and in packs that were filled since the last writing.
    kept: usize,
    packs: Vec<ScoredPack>,
    next_pack: u64,
}

impl Ledger {
    /// `keep`: what was scored, too.
    pub fn new(process: String, keep: bool) -> Self {
        let (entries, bins, open, packs) = Default::default();
        Self { process, keep, entries, bins, open, kept: 0, packs, next_pack: 0 }
    }

    pub fn add(&mut self, request: ScoredRequest) {
        let bins = request.model.as_ref().map(|model| {
            let version = (model.id.clone(), model.version);
            // The artifact is shared with the compiled model in all but name: its encoding is small beside it.
            Arc::clone(
                self.bins
                    .entry(version)
                    .or_insert_with(|| Arc::new(Bins::new(model.compiled.artifact().encoding.clone()))),
            )
        });
        let counts = &mut self.entry(&request).hour.counts;
        counts.requests += 1;
        counts.local += u64::from(request.tally.local);
        counts.global += u64::from(request.tally.global);
        counts.default += u64::from(request.tally.default);
        match (request.context_id.is_some(), &request.customer) {
            (false, _) => counts.customers_not_given += 1,
            (true, Some(_)) => counts.customers_found += 1,
            (true, None) => counts.customers_unknown += 1,
        }
        counts.with_warnings += u64::from(request.warned);
        let scores = request.tally.local + request.tally.global + request.tally.default;
        counts.nobody_eligible += u64::from(scores == 0);
        counts.predicted.resize(request.tally.predicted.len(), 0);
        for (sum, more) in counts.predicted.iter_mut().zip(request.tally.predicted) {
            *sum += u64::from(more);
        }
        let nothing = Map::new();
        if let Some(bins) = bins {
            let context = request.context.as_ref().unwrap_or(&nothing);
            bins.count(context, request.customer.as_deref(), request.at, &mut counts.inputs);
        }
        if self.keep && request.model.is_some() && self.kept < KEPT {
            self.keep(request);
        }
    }

    /// A request that there was no time to look at.
    pub fn miss(&mut self, request: &ScoredRequest) {
        let counts = &mut self.entry(request).hour.counts;
        counts.requests += 1;
        counts.not_looked_at += 1;
    }

    fn entry(&mut self, request: &ScoredRequest) -> &mut Entry {
        let model = request.model.as_ref().map(|model| (model.id.clone(), model.version));
        let hour_ms = request.at.timestamp_millis().div_euclid(HOUR_MS) * HOUR_MS;
        let place = Place {
            account: request.account.clone(),
            predictor: request.predictor.predictor.id.clone(),
            model,
            hour_ms,
        };
        let process = &self.process;
        let entry = self.entries.entry(place.clone()).or_insert_with(|| {
            let hour = ScoringHour {
                account_id: place.account,
                predictor_id: place.predictor,
                model_version: place.model.as_ref().map_or(0, |(_, version)| *version),
                model_id: place.model.map(|(id, _)| id),
                hour_ms,
                process: process.clone(),
                counts: Default::default(),
            };
            Entry { hour, changed: true }
        });
        entry.changed = true;
        entry
    }

    fn keep(&mut self, request: ScoredRequest) {
        let Some(id) = &request.request_id else { return };
        let Some(at_ms) = id.created_at_ms() else { return };
        let scored = Scored {
            request_id: id.to_string(),
            context_id: request.context_id.clone(),
            context: scored_values(&request),
        };
        let place = (request.account, request.predictor.predictor.id.clone());
        let open = self.open.entry(place.clone()).or_default();
        open.bytes += scored.context.values().map(|value| value.as_str().map_or(8, str::len)).sum::<usize>();
        open.scored.push((at_ms, scored));
        self.kept += 1;
        if open.scored.len() >= PACK || open.bytes >= PACK_BYTES {
            let full = std::mem::take(open);
            self.pack(place, full);
        }
    }

    fn pack(&mut self, (account_id, predictor_id): (AccountId, PredictorId), Open { scored, .. }: Open) {
        let times = || scored.iter().map(|(at, _)| *at);
        let (Some(first_ms), Some(last_ms)) = (times().min(), times().max()) else { return };
        self.next_pack += 1;
        self.packs.push(ScoredPack {
            account_id,
            predictor_id,
            process: self.process.clone(),
            number: self.next_pack,
            first_ms,
            last_ms,
            scored: scored.into_iter().map(|(_, scored)| scored).collect(),
        });
    }

    /// What has to be written. Hours stay until [`Ledger::written`] is told of them; packs are handed over.
    pub fn take_changes(&mut self) -> (Vec<ScoringHour>, Vec<ScoredPack>) {
        for (place, scored) in std::mem::take(&mut self.open) {
            self.pack(place, scored);
        }
        self.kept = 0;
        let changed = self.entries.values().filter(|entry| entry.changed).map(|entry| entry.hour.clone()).collect();
        (changed, std::mem::take(&mut self.packs))
    }

    /// These are in the store. What was counted meanwhile is still to be written; hours long over are forgotten.
    pub fn written(&mut self, hours: &[ScoringHour], now: Timestamp) {
        for hour in hours {
            let place = Place {
                account: hour.account_id.clone(),
                predictor: hour.predictor_id.clone(),
                model: hour.model_id.clone().map(|model| (model, hour.model_version)),
                hour_ms: hour.hour_ms,
            };
            if let Some(entry) = self.entries.get_mut(&place) {
                entry.changed = entry.hour.counts != hour.counts;
            }
        }
        let settled = now.timestamp_millis() - SETTLED_MS;
        self.entries.retain(|place, entry| entry.changed || place.hour_ms > settled);
        let used: Vec<&(ModelId, u32)> = self.entries.keys().filter_map(|place| place.model.as_ref()).collect();
        self.bins.retain(|version, _| used.contains(&version));
    }

    /// The store did not take them. Of too many the oldest go.
    pub fn give_back(&mut self, mut packs: Vec<ScoredPack>) {
        packs.append(&mut self.packs);
        let too_many = packs.len().saturating_sub(WAITING_PACKS);
        if too_many > 0 {
            tracing::warn!(packs = too_many, "the store is away for long: some scored interactions are not kept");
        }
        self.packs = packs.split_off(too_many);
    }
}

/// The values of the predictor's context and customer features, as the model read them.
fn scored_values(request: &ScoredRequest) -> Map<String, Value> {
    let mut values = Map::new();
    let LivePredictor { predictor, .. } = &*request.predictor;
    let PredictorDefinition::Simple { features, .. } = &predictor.definition else { return values };
    let given = |name: &str| request.context.as_ref().and_then(|context| context.get(name));
    let known = |name: &str| request.customer.as_ref().and_then(|customer| customer.get(name));
    let artifact: Option<&Artifact> = request.model.as_ref().map(|model| model.compiled.artifact());
    let is_time = |name: &str| {
        let mut fields = artifact.into_iter().flat_map(|artifact| &artifact.encoding.fields);
        fields.any(|field| field.is_request_time && field.name == name)
    };
    for name in &features.context {
        match given(name) {
            Some(value) => drop(values.insert(name.clone(), value.clone())),
            None if is_time(name) => drop(values.insert(name.clone(), serde_json::json!(request.at))),
            None => {}
        }
    }
    for name in &features.customer {
        if let Some(value) = given(name).or_else(|| known(name)) {
            values.insert(name.clone(), value.clone());
        }
    }
    values
}
