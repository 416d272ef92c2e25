//! What scoring leaves behind, without slowing it: counts by the hour, and what was scored, kept for outcomes that arrive later.
//!
//! A score sends one message over a channel and waits for nothing. One task reads them and counts; every few seconds what changed is
//! written to the store. Each process has its own documents and writes whole sums, so that writing twice changes nothing and nobody
//! waits for anybody.
//!
//! Invariant: no lock on the way of a score, and nothing that it waits for.

mod ledger;
mod sample;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::ledger::Ledger;
pub use self::sample::{SampledAgent, SampledScore, ScoreSample};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::id::{AccountId, RequestId};
use crate::live::{ActiveModel, Customer, LivePredictor};
use crate::score::bins::{PREDICTED_BINS, predicted_bin};
use crate::score::{Outcome, ScoreOutput};
use crate::store::{Batch, Record, Result, StoreError};

/// How often what was counted is written.
const EVERY: Duration = Duration::from_secs(5);
/// Messages that may wait to be counted: far more than a server can score while the counting task is at work.
const WAITING: usize = 8_192;
/// Between two looks at what waits.
const PAUSE: Duration = Duration::from_millis(20);
/// Requests kept whole that wait for a store that is away.
const WAITING_SAMPLES: usize = 20;
/// Documents of one batch.
const DOCUMENTS: usize = 50;

/// One request that was scored.
pub struct ScoredRequest {
    pub account: AccountId,
    pub predictor: Arc<LivePredictor>,
    /// None for a composite predictor.
    pub model: Option<Arc<ActiveModel>>,
    pub at: Timestamp,
    pub request_id: Option<RequestId>,
    pub context: Option<Map<String, Value>>,
    pub customer: Customer,
    /// The customer's id, when one was named.
    pub context_id: Option<String>,
    pub warned: bool,
    pub tally: Tally,
}

/// A request's scores, counted where they are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub local: u32,
    pub global: u32,
    pub default: u32,
    pub predicted: [u32; PREDICTED_BINS],
}

impl Tally {
    /// `outcome` of the model that predicted; none for a composite, whose predictions are of no one kind.
    pub fn of(output: &ScoreOutput<'_>, outcome: Option<&Outcome>) -> Self {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let scored = output.predicted.len();
        let mut tally = Self {
            local: count(output.local),
            global: count(scored - output.local),
            default: count(output.eligible - scored),
            predicted: [0; PREDICTED_BINS],
        };
        if let Some(outcome) = outcome {
            for p_score in &output.predicted {
                tally.predicted[predicted_bin(outcome, *p_score)] += 1;
            }
        }
        tally
    }
}

enum Message {
    Scored(Box<ScoredRequest>),
    /// Answered when everything before it is counted.
    Counted(oneshot::Sender<()>),
}

/// Counts the scores of this process.
pub struct Production {
    ctx: Context,
    sender: mpsc::Sender<Message>,
    ledger: Arc<Mutex<Ledger>>,
    /// When the next request is kept whole, in milliseconds since 1970.
    next_sample_ms: AtomicI64,
    samples: Mutex<Vec<ScoreSample>>,
    /// Held while documents are written, so that an older sum never overwrites a newer one.
    writing: tokio::sync::Mutex<()>,
}

impl Production {
    /// Counts and writes until `stop` fires; then call [`Production::flush`] once more.
    pub fn start(ctx: &Context, stop: CancellationToken) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let process = RequestId::generate(ctx.clock.now()).to_string();
        let keep = ctx.config.scored_context_days > 0;
        let ledger = Arc::new(Mutex::new(Ledger::new(process, keep)));
        let production = Arc::new(Self {
            ctx: ctx.clone(),
            sender,
            ledger,
            next_sample_ms: AtomicI64::new(0),
            samples: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        });
        // Ends when the last sender is gone, and holds no store.
        tokio::spawn(count(receiver, Arc::clone(&production.ledger)));
        let writer = Arc::clone(&production);
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                if let Err(error) = writer.write().await {
                    tracing::warn!(%error, "what scoring counted could not be written, trying again");
                }
            }
        });
        production
    }

    /// Never waits. A message that finds no room is counted as a request that was not looked at.
    pub fn record(&self, request: ScoredRequest) {
        if let Err(mpsc::error::TrySendError::Full(Message::Scored(request))) =
            self.sender.try_send(Message::Scored(Box::new(request)))
        {
            lock(&self.ledger).miss(&request);
        }
    }

    /// Whether a request of this moment is to be kept whole.
    pub fn wants_sample(&self, at: Timestamp) -> bool {
        let every_ms = i64::from(self.ctx.config.score_sample_seconds) * 1_000;
        let (now_ms, due_ms) = (at.timestamp_millis(), self.next_sample_ms.load(Ordering::Relaxed));
        every_ms > 0
            && now_ms >= due_ms
            && self
                .next_sample_ms
                .compare_exchange(due_ms, now_ms + every_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Keeps a request whole: in the store after some seconds.
    pub fn keep_sample(&self, sample: ScoreSample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < WAITING_SAMPLES {
            samples.push(sample);
        }
    }

    /// Keeps a request whole: in the store when this returns. One that no store takes (too large for a document) is not kept.
    pub async fn store_sample(&self, sample: &ScoreSample) -> Result<()> {
        self.store_if_it_fits(sample).await
    }

    async fn store_if_it_fits(&self, record: &impl Record) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(record);
        match self.ctx.store.commit(batch).await {
            // Nor will it ever be taken: what waits behind it is not kept waiting.
            Err(StoreError::Invalid(reason)) => {
                tracing::warn!(reason, "of what was scored a part is not kept");
                Ok(())
            }
            other => other,
        }
    }

    /// Writes everything that was scored before this call.
    pub async fn flush(&self) -> Result<()> {
        let (counted, wait) = oneshot::channel();
        if self.sender.send(Message::Counted(counted)).await.is_ok() {
            // An error: the counting task is gone, and has counted all that it ever will.
            let _ = wait.await;
        }
        self.write().await
    }

    async fn write(&self) -> Result<()> {
        let _alone = self.writing.lock().await;
        let now = self.ctx.clock.now();
        let (hours, packs) = lock(&self.ledger).take_changes();
        let mut written_packs = 0;
        for hours in hours.chunks(DOCUMENTS) {
            let mut batch = Batch::new();
            for hour in hours {
                batch.put(hour);
            }
            if let Err(error) = self.ctx.store.commit(batch).await {
                lock(&self.ledger).give_back(packs);
                return Err(error);
            }
            lock(&self.ledger).written(hours, now);
        }
        let samples = std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner));
        let mut samples = samples.into_iter();
        while let Some(sample) = samples.next() {
            if let Err(error) = self.store_sample(&sample).await {
                lock(&self.ledger).give_back(packs);
                std::iter::once(sample).chain(samples).for_each(|left| self.keep_sample(left));
                return Err(error);
            }
        }
        // Few documents of some hundred kilobytes: one a batch.
        for pack in &packs {
            if let Err(error) = self.store_if_it_fits(pack).await {
                lock(&self.ledger).give_back(packs.into_iter().skip(written_packs).collect());
                return Err(error);
            }
            written_packs += 1;
        }
        Ok(())
    }
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn count(mut receiver: mpsc::Receiver<Message>, ledger: Arc<Mutex<Ledger>>) {
    let mut messages = Vec::new();
    while receiver.recv_many(&mut messages, WAITING).await > 0 {
        let mut done = Vec::new();
        {
            let mut ledger = lock(&ledger);
            for message in messages.drain(..) {
                match message {
                    Message::Scored(request) => ledger.add(*request),
                    Message::Counted(counted) => done.push(counted),
                }
            }
        }
        for counted in done {
            // Who asked may have gone.
            let _ = counted.send(());
        }
        // Many at once: a score that finds nobody waiting need not wake anybody.
        tokio::time::sleep(PAUSE).await;
    }
}
