//! Which role a discovered field of a dataset probably has. Modest on purpose: a person confirms it, and the metric is
//! always theirs to choose.

use crate::domain::schema::{Field, FieldType, Role};

const AGENT_IDS: [&str; 6] = ["agentid", "agent", "employeeid", "agentdbid", "agentname", "agentusername"];
const CUSTOMER_IDS: [&str; 6] = ["customerid", "customer", "clientid", "contactid", "customernumber", "accountnumber"];
const TIMES: [&str; 10] = [
    "timestamp",
    "time",
    "datetime",
    "starttime",
    "startedat",
    "startts",
    "createdat",
    "date",
    "ts",
    "interactiontime",
];

/// Gives every field a role: ids and the time by name and type, `agent_…` and `customer_…` by prefix, else context.
pub(super) fn propose(fields: &mut [Field]) {
    let plain: Vec<String> = fields.iter().map(|field| plain_name(&field.name)).collect();
    let pick = |names: &[&str], fits: &dyn Fn(&Field) -> bool| {
        names.iter().find_map(|name| (0..fields.len()).find(|i| plain[*i] == *name && fits(&fields[*i])))
    };
    let id = |field: &Field| matches!(field.field_type, FieldType::String | FieldType::Integer);
    let time = |field: &Field| field.field_type == FieldType::Timestamp;
    let agent_id = pick(&AGENT_IDS, &id);
    let customer_id = pick(&CUSTOMER_IDS, &id);
    let timestamp = pick(&TIMES, &time).or_else(|| fields.iter().position(time));
    for (at, field) in fields.iter_mut().enumerate() {
        let lower = field.name.to_ascii_lowercase();
        let role = if Some(at) == agent_id {
            Role::AgentId
        } else if Some(at) == customer_id {
            Role::CustomerId
        } else if Some(at) == timestamp {
            Role::Timestamp
        } else if lower.starts_with("agent_") || lower.starts_with("agent.") || lower.starts_with("employee_") {
            Role::Agent
        } else if lower.starts_with("customer_") || lower.starts_with("customer.") || lower.starts_with("client_") {
            Role::Customer
        } else {
            Role::Context
        };
        field.role = Some(role);
    }
}

fn plain_name(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_time_and_prefixes_are_recognised_and_the_rest_is_context() {
        let mut fields = vec![
            Field::new("Agent ID", FieldType::String),
            Field::new("customer_id", FieldType::Integer),
            Field::new("created_at", FieldType::Timestamp),
            Field::new("agent_tenure", FieldType::Float),
            Field::new("customer_tier", FieldType::String),
            Field::new("reason", FieldType::String),
            Field::new("time", FieldType::Integer),
        ];
        propose(&mut fields);
        let roles: Vec<Role> = fields.iter().filter_map(|field| field.role).collect();
        use Role::*;
        assert_eq!(roles, [AgentId, CustomerId, Timestamp, Agent, Customer, Context, Context]);
    }
}
