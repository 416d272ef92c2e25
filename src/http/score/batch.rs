//! `POST /api/v1/predictors/{id or name}/score/batch`: many waiting interactions in one call, assigned to agents on request.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;

use super::body::{Assigned, BatchAnswer, BatchBody, BatchShape, ScoreAnswer, ScoreBody};
use super::rank::{Prepared, find_predictor, prepare};
use super::{CallerParams, read_body};
use crate::http::error::ProblemBody;
use crate::http::json::{ApiBytes, ApiPath, ApiQuery, SaysJson, parse_outline, parse_part};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::live::{AccountView, Work};
use crate::score::assignment::{self, Assignment, Pairs};

/// Most pairs of interaction and agent that one call may assign: 160 MB of scores.
const MAX_ASSIGNED_PAIRS: usize = 20_000_000;
/// Most scores that one call answers: some 100 MB of JSON.
const MAX_ANSWERED_SCORES: usize = 1_000_000;

/// Scores many waiting interactions and, on request, assigns them to agents: as many as possible and, among those choices, so that the total
/// is greatest: exactly up to at least
/// 1,000 interactions with 2,000 agents; beyond, where that would take more than some seconds, `gap` says how much may be missing.
#[utoipa::path(post, path = "/api/v1/predictors/{predictor}/score/batch", tag = "scores",
    params(("predictor" = String, Path, description = "Id or name"), CallerParams),
    request_body = BatchBody<'static>,
    responses(
        (status = OK, body = BatchAnswer<'static>),
        (status = NOT_FOUND, body = ProblemBody),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody,
            description = "As for one score; `too_many_records`, `too_many_scores`, `too_many_pairs`")))]
pub async fn score_batch(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    ApiQuery(caller): ApiQuery<CallerParams>,
    SaysJson(says_json): SaysJson,
    ApiBytes(body): ApiBytes,
) -> ApiResult<impl IntoResponse> {
    let view = app.live.account(&session.account_id);
    let found = find_predictor(&view, &predictor)?;
    says_json?;
    let outline: BatchBody<'_> = read_body(&app, &body, parse_outline::<_, BatchShape>).await?;
    if let Some(connection_ids) = &caller.connection_ids {
        tracing::debug!(connection_ids, predictor, interactions = outline.interactions.len(), "score batch");
    }
    let limit = app.ctx.config.limits.max_records_per_call;
    if outline.interactions.len() > limit {
        let text = format!(
            "{} interactions in one call; at most {limit} are allowed (MAX_RECORDS_PER_CALL). Send them in several calls.",
            outline.interactions.len()
        );
        return Err(ApiError::unprocessable("too_many_records", text).field("interactions", "too many"));
    }
    let place = |index: usize| format!("interactions[{index}].");
    let read_all = |_| {
        let texts = outline.interactions.iter().enumerate();
        texts.map(|(index, text)| parse_part(text.get().as_bytes(), &place(index))).collect()
    };
    let bodies: Vec<ScoreBody<'_>> = read_body(&app, &body, read_all).await?;
    let mut interactions = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.into_iter().enumerate() {
        interactions.push(prepare(&app, &session.account_id, &view, &found, body, &place(index)).await?);
    }
    check_answered(&interactions)?;
    let mut table = if outline.assign { Some(Table::of(&interactions, &view)?) } else { None };
    let mut tallies = Vec::with_capacity(interactions.len());
    let mut results: Vec<ScoreAnswer<'_>> = Vec::with_capacity(interactions.len());
    for (row, prepared) in interactions.iter().enumerate() {
        // An assignment needs every pair.
        let top = prepared.top().filter(|_| !outline.assign);
        let ranked = app.live.gate.compute_patiently(prepared.work(), || prepared.compute(top)).await;
        if let Some(table) = &mut table {
            table.fill(row, ranked.output.scores.iter().map(|score| (score.agent_id, score.score)));
        }
        tallies.push(ranked.tally());
        results.push(ranked.into_answer());
        // Others are let by.
        tokio::task::yield_now().await;
    }
    let mut answer = BatchAnswer { results, assignment: None, total: None, gap: None };
    if let Some(table) = &table {
        let (assigned, gap) = app.live.gate.compute_patiently(Work::Long, || table.assign()).await;
        // Begun with 0: the sum of nothing would be -0.
        answer.total = Some(assigned.iter().fold(0.0, |sum, pair| sum + pair.score));
        (answer.assignment, answer.gap) = (Some(assigned), Some(gap));
    }
    let answer = answer.to_json().map_err(ApiError::internal)?;
    drop(table);
    for (prepared, tally) in interactions.into_iter().zip(tallies) {
        prepared.record(&app, &session.account_id, tally);
    }
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer))
}

fn check_answered(interactions: &[Prepared<'_>]) -> ApiResult<()> {
    let answered: usize = interactions.iter().map(|one| one.eligible().min(one.top().unwrap_or(usize::MAX))).sum();
    if answered <= MAX_ANSWERED_SCORES {
        return Ok(());
    }
    let text = format!(
        "{answered} scores would be answered; at most {MAX_ANSWERED_SCORES} are possible in one call. Set `top`, or send fewer interactions."
    );
    Err(ApiError::unprocessable("too_many_scores", text).field("interactions", "too many scores"))
}

/// The scores of all pairs, interactions down and agents across.
struct Table<'a> {
    agents: Vec<&'a str>,
    column_of: HashMap<&'a str, usize>,
    pairs: Pairs,
}

impl<'a> Table<'a> {
    fn of(interactions: &'a [Prepared<'_>], view: &'a AccountView) -> ApiResult<Self> {
        let mut agents: Vec<&str> = Vec::new();
        let mut column_of = HashMap::new();
        for agent in interactions.iter().flat_map(|one| one.agent_ids(view)) {
            column_of.entry(agent).or_insert_with(|| {
                agents.push(agent);
                agents.len() - 1
            });
        }
        let (rows, columns) = (interactions.len(), agents.len());
        if rows * columns > MAX_ASSIGNED_PAIRS {
            let text = format!(
                "An assignment of {rows} interactions to {columns} agents has {} pairs; at most {MAX_ASSIGNED_PAIRS} are possible in \
                 one call. Send fewer interactions, or narrow down who is eligible.",
                rows * columns
            );
            return Err(ApiError::unprocessable("too_many_pairs", text).field("interactions", "too many pairs"));
        }
        Ok(Self { agents, column_of, pairs: Pairs::none(rows, columns) })
    }

    fn fill<'s>(&mut self, row: usize, scores: impl Iterator<Item = (&'s str, f64)>) {
        let pairs = self.pairs.row_mut(row);
        for (agent, score) in scores {
            pairs[self.column_of[agent]] = score;
        }
    }

    fn assign(&self) -> (Vec<Assigned<'a>>, f64) {
        let Assignment { column_of, gap } = assignment::maximize(&self.pairs, assignment::USUAL_STEPS);
        let assigned = column_of.into_iter().enumerate().filter_map(|(interaction, column)| {
            let column = column?;
            Some(Assigned { interaction, agent_id: self.agents[column], score: self.pairs.score(interaction, column)? })
        });
        (assigned.collect(), gap)
    }
}
