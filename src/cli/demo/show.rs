//! The data and some scores, for a person to look at.
#![expect(clippy::print_stdout, reason = "the demo speaks to the person who started it")]

use std::collections::HashMap;

use serde_json::{Value, json};

use super::table::{Table, percent};
use crate::client::Client;
use crate::http::pages::figures::grouped;
use crate::simulation::world::{REASONS, SEGMENTS, SKILLS, TIERS};
use crate::simulation::{Centre, Interaction, MINIMUM_LEVEL};

/// Waiting interactions that are shown with their ranking.
const SHOWN: usize = 3;
/// Best agents that are shown of each.
const TOP: usize = 5;

/// Distinct values of each field, as counted at the upload.
pub async fn cardinalities(client: &Client, dataset: &str) -> anyhow::Result<()> {
    let counts = client.get(&format!("/api/v1/datasets/{dataset}/cardinalities")).await?;
    let mut table = Table::new(&["field of interactions", "type", "distinct", "nulls", "most frequent, or range"]);
    for field in counts["fields"].as_array().into_iter().flatten() {
        let example = match field["values"].as_array().and_then(|values| values.first()) {
            Some(first) => format!("{} ({})", plain(&first["value"]), grouped(first["count"].as_u64().unwrap_or(0))),
            None => format!("{} … {}", plain(&field["min"]), plain(&field["max"])),
        };
        let about = if field["exact"] == json!(true) { "" } else { "≈ " };
        table.row(vec![
            plain(&field["field"]),
            plain(&field["type"]),
            format!("{about}{}", grouped(field["distinct"].as_u64().unwrap_or(0))),
            grouped(field["nulls"].as_u64().unwrap_or(0)),
            example,
        ]);
    }
    table.lines().iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(30).collect(),
        other => other.to_string(),
    }
}

/// Some interactions that wait, each with the best of the agents who may take it, and the truth beside.
pub async fn waiting(client: &Client, centre: &Centre, predictor: &str) -> anyhow::Result<()> {
    let positions: HashMap<&str, usize> =
        centre.agents.iter().enumerate().map(|(position, agent)| (agent.id.as_str(), position)).collect();
    let mut reasons = Vec::new();
    let mut waiting = centre.waiting(50);
    waiting.retain(|interaction| {
        let new = !reasons.contains(&interaction.reason);
        reasons.push(interaction.reason);
        new
    });
    for interaction in waiting.into_iter().take(SHOWN) {
        let filter = filter(&interaction);
        let customer = &centre.customers[interaction.customer];
        let body = json!({
            "context_id": customer.id,
            "context": interaction.context(),
            "action_filters": filter,
            "top": TOP,
        });
        let answer = client.post(&format!("/api/v1/predictors/{predictor}/score"), &body).await?;
        println!(
            "   {}: {} by {} in {}; a {} {} customer",
            interaction.id,
            interaction.reason_name(),
            interaction.channel_name(),
            interaction.language_name(),
            TIERS[customer.tier].0,
            SEGMENTS[customer.segment].0,
        );
        println!("   {filter}: {} agents scored in {} µs", answer["eligible"], answer["took_us"]);
        let mut table = Table::new(&["rank", "agent", "score", "expected", "truth", "skill", "tenure", "by"]);
        for score in answer["scores"].as_array().into_iter().flatten() {
            let Some(&agent) = score["agent_id"].as_str().and_then(|id| positions.get(id)) else { continue };
            let person = &centre.agents[agent];
            table.row(vec![
                score["rank"].to_string(),
                person.id.clone(),
                format!("{:.0}", score["score"].as_f64().unwrap_or(f64::NAN)),
                percent(score["p_score"].as_f64().unwrap_or(f64::NAN)),
                percent(centre.true_probability(&interaction, agent)),
                person.skills[REASONS[interaction.reason].skill].to_string(),
                format!("{} months", person.tenure_months),
                plain(&score["source"]),
            ]);
        }
        table.lines().iter().for_each(|line| println!("{line}"));
        println!(
            "   median of all eligible {:.0}, best {:.0}; without knowing the agent {:.0}\n",
            answer["median"].as_f64().unwrap_or(f64::NAN),
            answer["max"].as_f64().unwrap_or(f64::NAN),
            answer["global"].as_f64().unwrap_or(f64::NAN),
        );
    }
    Ok(())
}

/// Who may take it, as a routing strategy would say it.
fn filter(interaction: &Interaction) -> String {
    let skill = SKILLS[REASONS[interaction.reason].skill];
    format!("{} >= {MINIMUM_LEVEL} & {skill} >= {MINIMUM_LEVEL} & loginStatus = 4", interaction.language_name())
}
