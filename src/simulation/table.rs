//! The interactions as one table, with what the profiles know of their agents and customers: what a training reads.

use std::sync::Arc;

use super::world::{CHANNELS, LANGUAGES, REASONS, REGIONS, SEGMENTS, SITES, TIERS};
use super::{Centre, Interaction};
use crate::domain::column::{Column, DictValue, Table};
use crate::domain::predictor::Features;

impl Centre {
    /// The columns of the three files, one row an interaction.
    pub fn table(&self) -> Table {
        let of = |value: &dyn Fn(&Interaction) -> usize| -> Vec<u32> {
            self.interactions.iter().map(|interaction| value(interaction) as u32).collect()
        };
        let whole = |value: &dyn Fn(&Interaction) -> i64| {
            Column::Integer(self.interactions.iter().map(|interaction| Some(value(interaction))).collect())
        };
        let agent = |interaction: &Interaction| &self.agents[interaction.agent];
        let customer = |interaction: &Interaction| &self.customers[interaction.customer];
        let skills = |interaction: &Interaction| -> Option<DictValue> {
            let levels = agent(interaction).skill_levels();
            Some(levels.into_iter().map(|(name, level)| (Arc::from(name), f64::from(level))).collect())
        };
        let columns = vec![
            ("agent_id", text(of(&|i| i.agent), self.agents.iter().map(|agent| agent.id.as_str()))),
            (
                "start_time",
                Column::Timestamp(self.interactions.iter().map(|i| Some(i.started_at.timestamp_micros())).collect()),
            ),
            ("reason", text(of(&|i| i.reason), REASONS.iter().map(|reason| reason.name))),
            ("language", text(of(&|i| i.language), LANGUAGES.iter().map(|language| language.0))),
            ("channel", text(of(&|i| i.channel), CHANNELS.iter().map(|channel| channel.0))),
            ("previous_contacts", whole(&|i| i.previous_contacts)),
            ("wait_seconds", whole(&|i| i.wait_seconds)),
            ("tier", text(of(&|i| customer(i).tier), TIERS.iter().map(|tier| tier.0))),
            ("segment", text(of(&|i| customer(i).segment), SEGMENTS.iter().map(|segment| segment.0))),
            ("region", text(of(&|i| customer(i).region), REGIONS.into_iter())),
            ("customer_tenure_months", whole(&|i| customer(i).tenure_months)),
            ("products", whole(&|i| customer(i).products)),
            ("skills", Column::Dict(self.interactions.iter().map(skills).collect())),
            ("site", text(of(&|i| agent(i).site), SITES.into_iter())),
            ("tenure_months", whole(&|i| agent(i).tenure_months)),
            (
                "first_contact_resolution",
                Column::Boolean(self.interactions.iter().map(|i| Some(i.first_contact_resolution)).collect()),
            ),
            ("handle_time_seconds", whole(&|i| i.handle_time_seconds)),
        ];
        let columns = columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect();
        Table { rows: self.interactions.len(), columns }
    }

    /// The table's columns by side: what is known of an interaction while it waits, of its customer, of an agent.
    pub fn features() -> Features {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Features {
            context: names(&["start_time", "reason", "language", "channel", "previous_contacts", "wait_seconds"]),
            customer: names(&["tier", "segment", "region", "customer_tenure_months", "products"]),
            agent: names(&["skills", "site", "tenure_months"]),
        }
    }
}

fn text<'a>(codes: Vec<u32>, names: impl Iterator<Item = &'a str>) -> Column {
    Column::Text { codes, dictionary: names.map(Arc::from).collect() }
}
