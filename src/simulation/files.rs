//! The files that such a centre would upload: CSV with a header line.

use std::io::Write;

use super::Centre;
use super::world::{REGIONS, SEGMENTS, SITES, TIERS};

impl Centre {
    /// Interactions in order of time: context, agent, customer, outcomes.
    pub fn write_interactions(&self, out: impl Write) -> csv::Result<()> {
        let mut file = csv::Writer::from_writer(out);
        file.write_record([
            "interaction_id",
            "start_time",
            "customer_id",
            "agent_id",
            "reason",
            "language",
            "channel",
            "previous_contacts",
            "wait_seconds",
            "first_contact_resolution",
            "handle_time_seconds",
        ])?;
        for interaction in &self.interactions {
            file.write_record([
                interaction.id.as_str(),
                &interaction.started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                self.customers[interaction.customer].id.as_str(),
                self.agents[interaction.agent].id.as_str(),
                interaction.reason_name(),
                interaction.language_name(),
                interaction.channel_name(),
                &interaction.previous_contacts.to_string(),
                &interaction.wait_seconds.to_string(),
                if interaction.first_contact_resolution { "true" } else { "false" },
                &interaction.handle_time_seconds.to_string(),
            ])?;
        }
        file.flush()?;
        Ok(())
    }

    /// Agents: skills as a JSON object, groups as a JSON array; everybody logged in (status 4).
    pub fn write_agents(&self, out: impl Write) -> csv::Result<()> {
        let mut file = csv::Writer::from_writer(out);
        file.write_record(["agent_id", "loginStatus", "skills", "groups", "site", "tenure_months"])?;
        for agent in &self.agents {
            let skills: serde_json::Map<_, _> =
                agent.skill_levels().into_iter().map(|(name, level)| (name.to_owned(), level.into())).collect();
            file.write_record([
                &agent.id,
                "4",
                &serde_json::Value::Object(skills).to_string(),
                &serde_json::json!(agent.groups()).to_string(),
                SITES[agent.site],
                &agent.tenure_months.to_string(),
            ])?;
        }
        file.flush()?;
        Ok(())
    }

    pub fn write_customers(&self, out: impl Write) -> csv::Result<()> {
        let mut file = csv::Writer::from_writer(out);
        file.write_record(["customer_id", "tier", "segment", "region", "customer_tenure_months", "products"])?;
        for customer in &self.customers {
            file.write_record([
                &customer.id,
                TIERS[customer.tier].0,
                SEGMENTS[customer.segment].0,
                REGIONS[customer.region],
                &customer.tenure_months.to_string(),
                &customer.products.to_string(),
            ])?;
        }
        file.flush()?;
        Ok(())
    }
}
