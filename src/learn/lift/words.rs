//! What has to hold for an estimate, and what is doubtful about it, in words for people.

use super::policy::Ranked;
use super::propensity::Propensities;
use super::result::{FreeAgentsPoint, LiftEstimation};

/// Below so many interactions of equal weight, an estimate is little more than a guess.
const FEW: f64 = 100.0;
/// How far the mean weight may be from 1, in standard errors and in all.
const ODD_WEIGHT: f64 = 0.1;
/// Largest share of interactions that went to agents who hardly ever take such contacts.
const MUCH_CLIPPED: f64 = 0.03;
/// A tenth of the ranking that got more than this share of the interactions was preferred.
const PREFERRED: f64 = 0.13;

pub(super) fn assumptions(found: &LiftEstimation, propensities: &Propensities) -> Vec<String> {
    let fields = match propensities.fields.as_slice() {
        [] => "by each agent's share of all contacts (no field tells more)".to_owned(),
        fields => format!("by {}", fields.join(", ")),
    };
    vec![
        format!(
            "The data does not say who else was free. The free agents are taken to be the actual one and others drawn from those \
             who usually take such contacts, {fields}. Each of them could have been the actual one: today's routing is taken \
             to choose among the free agents without regard to what the model prefers. propensities.actual_by_rank shows how \
             far that holds."
        ),
        "With one agent free that agent is the actual one: there is nothing to choose, and the difference from actual routing is 0 by \
         construction."
            .to_owned(),
        "Whoever is drawn twice counts twice: where few agents take such contacts, the model chooses among fewer than \
         agents_free (see distinct_agents)."
            .to_owned(),
        format!(
            "Agents who hardly ever take a kind of contact are never chosen for it; the {:.1} % of the interactions that went to \
             such agents say nothing about the model.",
            100.0 * found.propensities.clipped_share
        ),
        "Nothing outside of the fields that decide who takes what influences both the routing and the outcome; a hidden \
         reason to send difficult contacts to good agents would bias every estimate."
            .to_owned(),
        "\"Random\" is any one of those who usually take such contacts, not any agent at all.".to_owned(),
        format!(
            "The model that chooses was fitted to the {} interactions outside of the holdout and ranks by its score without a \
             score expression; agents have the features of their last interaction before it. The activated model knows all \
             interactions and should choose no worse.",
            found.train_rows
        ),
        "Who is chosen has no effect on who is free later, and the same agents would do the same work as well at another \
         load."
            .to_owned(),
        "Under all this, 95 of 100 such intervals hold the truth, for these agents and for interactions like those of the holdout; \
         interactions are taken to be independent of each other."
            .to_owned(),
    ]
}

pub(super) fn warn(found: &mut LiftEstimation, ranked: &[Ranked]) {
    let mut warnings = Vec::new();
    let small: Vec<String> = found
        .curve
        .iter()
        .filter(|point| point.effective_sample_size < FEW)
        .map(|point| format!("{} (as {:.0})", point.agents_free, point.effective_sample_size))
        .collect();
    if !small.is_empty() {
        warnings.push(format!(
            "the effective sample size is small (below {FEW}) for these numbers of free agents: {}; add data, or raise \
             settings.holdout_share",
            small.join(", ")
        ));
    }
    let odd = |point: &&FreeAgentsPoint| {
        (point.mean_weight - 1.0).abs() > ODD_WEIGHT.max(3.0 * weight_error(point, found.rows))
    };
    if let Some(point) = found.curve.iter().find(odd) {
        warnings.push(format!(
            "with {} agents free the weights have a mean of {:.2} instead of 1: the propensities do not describe the routing \
             well; trust snips and doubly_robust more than ips, and none of them much",
            point.agents_free, point.mean_weight
        ));
    }
    let propensities = &found.propensities;
    if propensities.clipped_share > MUCH_CLIPPED {
        warnings.push(format!(
            "{:.0} % of the interactions went to agents who hardly ever take such contacts",
            100.0 * propensities.clipped_share
        ));
    }
    if propensities.actual_by_rank.last().is_some_and(|share| *share > PREFERRED) {
        warnings.push(format!(
            "today's routing already sends {:.0} % of the interactions to the tenth of the agents whom the model ranks best: \
             what is written about the routing in assumptions does not quite hold, and the lift is overstated",
            100.0 * propensities.actual_by_rank.last().copied().unwrap_or(0.0)
        ));
    }
    let alike = |ranked: &Ranked| ranked.links.first() == ranked.links.last();
    if ranked.iter().all(alike) {
        warnings
            .push("the model does not tell agents apart: it has no features of agents and no local models".to_owned());
    }
    if let Some(segments) = &found.segments {
        let thin: Vec<&str> = segments
            .values
            .iter()
            .filter(|segment| segment.effective_sample_size < FEW)
            .map(|segment| segment.value.as_str())
            .collect();
        if !thin.is_empty() {
            warnings.push(format!(
                "the effective sample size is small (below {FEW}) for these values of {}: {}",
                segments.field,
                thin.join(", ")
            ));
        }
    }
    found.warnings.extend(warnings);
}

/// The standard error of the mean weight, from Kish's size: `mean · √((1/size) − (1/rows))`.
fn weight_error(point: &FreeAgentsPoint, rows: u64) -> f64 {
    let size = point.effective_sample_size.max(1.0);
    point.mean_weight * (1.0 / size - 1.0 / rows as f64).max(0.0).sqrt()
}
