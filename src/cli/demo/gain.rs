//! What routing by score would gain: the model's own estimate next to the known truth.
#![expect(clippy::print_stdout, reason = "the demo speaks to the person who started it")]

use std::collections::HashMap;

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::table::{Table, percent};
use crate::client::Client;
use crate::simulation::{Centre, Choice, Outcome};

/// Waiting interactions over which is averaged: a standard error of a tenth of a percentage point.
const INTERACTIONS: usize = 2_000;
/// Agents who are free at the moment of choice.
const FREE: [usize; 4] = [2, 4, 8, 16];
/// Interactions in one call.
const CALL: usize = 250;

/// What the model says of the choices: means over all of them.
struct Estimate {
    /// Positions of the chosen agents, in the order of the choices.
    chosen: Vec<usize>,
    by_score: f64,
    random: f64,
}

pub async fn show(client: &Client, centre: &Centre, predictor: &str) -> anyhow::Result<()> {
    let waiting = centre.waiting(INTERACTIONS);
    let mut table = Table::new(&[
        "free agents",
        "random",
        "today",
        "by score",
        "best possible",
        "gain over random",
        "as estimated",
        "share of what is possible",
    ]);
    let bar = ProgressBar::new((FREE.len() * INTERACTIONS) as u64).with_message("scoring");
    for free in FREE {
        let choices = centre.choices(&waiting, free);
        let estimate = estimate(client, centre, predictor, &choices, &bar).await?;
        let mut chosen = estimate.chosen.iter().copied();
        // One choice was made for each, in this order.
        let by_score = |choice: &Choice| chosen.next().unwrap_or(choice.free[0]);
        let truth =
            centre.compare(Outcome::FirstContactResolution, &choices, by_score).context("no interaction waits")?;
        table.row(vec![
            free.to_string(),
            percent(truth.random),
            percent(truth.today),
            percent(truth.by_score),
            percent(truth.best),
            points(truth.by_score - truth.random),
            points(estimate.by_score - estimate.random),
            percent((truth.by_score - truth.random) / (truth.best - truth.random).max(f64::EPSILON)),
        ]);
    }
    bar.finish_and_clear();
    table.lines().iter().for_each(|line| println!("{line}"));
    println!(
        "   First-contact resolution over {INTERACTIONS} waiting interactions. Random, today (skill-based), by score and"
    );
    println!(
        "   best are the simulation's truth. \"As estimated\" is what the model alone says, without knowing the truth: the mean"
    );
    println!(
        "   of its predictions for the agents that it chose, less that for all who are free (the direct method). It takes the"
    );
    println!(
        "   predictions for right: too high when a model makes more of chance than there is, too low when it shrinks too much."
    );
    Ok(())
}

/// Percentage points with a sign.
fn points(difference: f64) -> String {
    format!("{:+.1}", 100.0 * difference)
}

/// Scores every choice's free agents and takes the best of each.
async fn estimate(
    client: &Client,
    centre: &Centre,
    predictor: &str,
    choices: &[Choice],
    bar: &ProgressBar,
) -> anyhow::Result<Estimate> {
    let positions: HashMap<&str, usize> =
        centre.agents.iter().enumerate().map(|(position, agent)| (agent.id.as_str(), position)).collect();
    let mut estimate = Estimate { chosen: Vec::with_capacity(choices.len()), by_score: 0.0, random: 0.0 };
    for call in choices.chunks(CALL) {
        let interactions: Vec<Value> = call
            .iter()
            .map(|choice| {
                let agents: Vec<&str> = choice.free.iter().map(|&agent| centre.agents[agent].id.as_str()).collect();
                json!({
                    "context_id": centre.customers[choice.interaction.customer].id,
                    "context": choice.interaction.context(),
                    "agents": agents,
                })
            })
            .collect();
        let path = format!("/api/v1/predictors/{predictor}/score/batch");
        let answer = client.post(&path, &json!({ "interactions": interactions })).await?;
        for result in answer["results"].as_array().context("the batch has no results")? {
            let scores = result["scores"].as_array().context("a result has no scores")?;
            let p_scores: Vec<f64> = scores.iter().filter_map(|score| score["p_score"].as_f64()).collect();
            let best = scores.first().and_then(|score| positions.get(score["agent_id"].as_str()?));
            estimate.chosen.push(*best.context("nobody was scored")?);
            estimate.by_score += p_scores.first().context("the best agent has no p_score")?;
            estimate.random += p_scores.iter().sum::<f64>() / p_scores.len() as f64;
        }
        bar.inc(call.len() as u64);
    }
    estimate.by_score /= choices.len() as f64;
    estimate.random /= choices.len() as f64;
    Ok(estimate)
}
