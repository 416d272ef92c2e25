//! What comes before and after scores: finding who is eligible, and giving many interactions to agents.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use anyhow::Result;

use super::server::{agent_record, filters};
use super::simulated::mixed;
use super::{Options, percentile};
use crate::domain::profile::ProfileKind;
use crate::domain::schema::Schema;
use crate::filter::{CompiledFilter, Filter};
use crate::live::{Agent, Agents};
use crate::score::assignment::{self, Pairs, USUAL_STEPS};

const AGENTS: usize = 10_000;
/// Interactions and agents of each assignment. Those who share their favourites are the hard ones.
const ASSIGNMENTS: [(usize, usize, bool); 5] =
    [(200, 2_000, false), (200, 2_000, true), (1_000, 2_000, true), (1_000, 10_000, false), (2_000, 10_000, true)];

pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "Who is eligible of {AGENTS} agents, by filters of five conditions")?;
    let fields = |agent: usize| {
        let mut record = agent_record(agent);
        record.as_object_mut().map(|record| record.remove("id"));
        serde_json::json!({ "fields": record }).to_string()
    };
    let everybody: Vec<_> = (0..AGENTS).map(|agent| (agent.to_string(), Some(Agent::new(fields(agent))))).collect();
    let agents = Agents::default().with_changes(&everybody);
    let schema = Schema { version: 1, accepted: true, fields: ProfileKind::Agents.mandatory_fields() };
    let compile = |text: &String| anyhow::Ok(Filter::parse(text)?.compile(&schema)?);
    let filters = filters().iter().map(compile).collect::<Result<Vec<_>>>()?;
    let time = |find: &dyn Fn(&CompiledFilter) -> usize| -> Vec<f64> {
        let one = |turn: usize| {
            let started = Instant::now();
            black_box(find(&filters[turn % filters.len()]));
            started.elapsed().as_secs_f64() * 1e6
        };
        (0..options.requests).map(one).collect()
    };
    let mut kept = time(&|filter| agents.matching(filter).len());
    let mut each = time(&|filter| agents.iter().filter(|(id, agent)| filter.matches(id, agent.fields())).count());
    let (kept, each) = (percentile(&mut kept, 0.5), percentile(&mut each, 0.5));
    writeln!(out, "  sets kept by condition     median {kept:>8.1} µs")?;
    writeln!(out, "  looking at each agent      median {each:>8.1} µs                  {:.0} × as long", each / kept)?;

    writeln!(out, "Assignment of interactions to agents with the greatest total")?;
    for (interactions, agents, alike) in ASSIGNMENTS {
        let mut pairs = Pairs::none(interactions, agents);
        for row in 0..interactions {
            for (column, pair) in pairs.row_mut(row).iter_mut().enumerate() {
                let (own, shared) = (mixed(row * agents + column, 1), mixed(column, 2));
                *pair = 1e3 * if alike { 0.1 * own + 0.9 * shared } else { own };
            }
        }
        let started = Instant::now();
        let assigned = assignment::maximize(&pairs, USUAL_STEPS);
        let took = started.elapsed().as_secs_f64();
        let scores = assigned.column_of.iter().enumerate().filter_map(|(row, column)| pairs.score(row, (*column)?));
        let total: f64 = scores.sum();
        let name = format!("{interactions} × {agents}, {}", if alike { "favourites shared" } else { "of all kinds" });
        let gap = if assigned.gap == 0.0 {
            "exact".to_owned()
        } else {
            format!("at most {:.3} % below the best", 100.0 * assigned.gap / total)
        };
        writeln!(out, "  {name:<34} {took:>8.3} s, {gap}")?;
    }
    Ok(())
}
