//! The agents of an account's profile in memory: who is where, what is known of each, and who satisfies the conditions that filters ask for.
//!
//! A filter is a few *atoms* (`English > 3`, `loginStatus = 4`, a group) joined by and, or and not. The agents that satisfy an atom are kept as
//! a set of bits and kept up with the agents, so that a filter costs a few operations on whole sets, however many agents there are.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::filter::{CompiledFilter, Test};
use crate::score::{Bits, Roster};

/// Atoms whose agents are kept. A change of an agent is tried on each of them.
const ATOMS_KEPT: usize = 256;
/// Agents whose records are copied together.
const CHUNK: usize = 64;

/// An agent as it is stored. While nobody can score with it, it stays a text: most of a flood of changes is replaced
/// before anybody looks.
#[derive(Debug)]
pub struct Agent {
    body: Arc<str>,
    fields: OnceLock<Map<String, Value>>,
}

impl Agent {
    /// From its document as it is stored.
    pub fn new(body: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { body: body.into(), fields: OnceLock::new() })
    }

    /// The fields as the profile has them. The first call reads them.
    pub fn fields(&self) -> &Map<String, Value> {
        #[derive(Deserialize)]
        struct Fields {
            fields: Map<String, Value>,
        }
        self.fields.get_or_init(|| match serde_json::from_str::<Fields>(&self.body) {
            Ok(Fields { fields }) => fields,
            Err(error) => {
                tracing::error!(%error, "a stored agent cannot be read; it goes on without values");
                Map::new()
            }
        })
    }

    #[cfg(test)]
    pub(super) fn is_read(&self) -> bool {
        self.fields.get().is_some()
    }
}

/// An agent's id, and the agent unless it was removed.
pub type AgentChange = (String, Option<Arc<Agent>>);

/// All agents of an account at one moment. Cloning shares; a change copies what it touches.
#[derive(Clone, Default)]
pub struct Agents {
    roster: Roster,
    records: Vec<Arc<[Option<Arc<Agent>>; CHUNK]>>,
    present: Bits,
    atoms: Arc<Atoms>,
}

/// The agents that satisfy each atom, as far as somebody asked. Whoever asks first adds what they found.
#[derive(Default)]
struct Atoms(ArcSwap<HashMap<Test, Arc<Bits>>>);

impl Agents {
    /// Ids and positions.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Agent>> {
        self.at(self.roster.position(id)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Agent>)> {
        self.roster.iter().filter_map(|(position, id)| Some((id, self.at(position)?)))
    }

    fn at(&self, position: u32) -> Option<&Arc<Agent>> {
        self.records.get(position as usize / CHUNK)?[position as usize % CHUNK].as_ref()
    }

    /// Positions of the agents that match.
    pub fn matching(&self, filter: &CompiledFilter) -> Vec<u32> {
        self.satisfying(filter.test()).positions()
    }

    fn satisfying(&self, test: &Test) -> Bits {
        match test {
            Test::All(parts) => {
                let mut bits = self.present.clone();
                parts.iter().for_each(|part| self.with(part, |part| bits.keep(part)));
                bits
            }
            Test::Any(parts) => {
                let mut bits = Bits::default();
                parts.iter().for_each(|part| self.with(part, |part| bits.add(part)));
                bits
            }
            Test::Not(part) => {
                let mut bits = self.present.clone();
                self.with(part, |part| bits.remove_all(part));
                bits
            }
            Test::Compare { .. } | Test::Contains { .. } => Bits::clone(&self.atom(test)),
        }
    }

    /// Without a copy when it is an atom.
    fn with(&self, test: &Test, take: impl FnOnce(&Bits)) {
        match test {
            Test::Compare { .. } | Test::Contains { .. } => take(&self.atom(test)),
            _ => take(&self.satisfying(test)),
        }
    }

    fn atom(&self, atom: &Test) -> Arc<Bits> {
        if let Some(known) = self.atoms.0.load().get(atom) {
            return Arc::clone(known);
        }
        let mut bits = Bits::default();
        for (position, id) in self.roster.iter() {
            if self.at(position).is_some_and(|agent| atom.matches(id, agent.fields())) {
                bits.set(position, true);
            }
        }
        let bits = Arc::new(bits);
        // Another may do the same at the same time: one of the two is kept, the other is found again when it is asked for.
        let mut atoms = HashMap::clone(&self.atoms.0.load());
        if atoms.len() >= ATOMS_KEPT {
            // Strategies use the same few: those come back at once.
            atoms.clear();
        }
        atoms.insert(atom.clone(), Arc::clone(&bits));
        self.atoms.0.store(Arc::new(atoms));
        bits
    }

    /// The agents after some changed or were removed.
    pub fn with_changes(&self, changes: &[AgentChange]) -> Self {
        let mut next = self.clone();
        let mut touched = Vec::with_capacity(changes.len());
        for (id, agent) in changes {
            let position = match agent {
                Some(_) => Some(next.roster.add(id)),
                None => next.roster.remove(id),
            };
            let Some(position) = position else { continue };
            let (chunk, slot) = (position as usize / CHUNK, position as usize % CHUNK);
            while next.records.len() <= chunk {
                next.records.push(Arc::new([const { None }; CHUNK]));
            }
            Arc::make_mut(&mut next.records[chunk])[slot] = agent.clone();
            next.present.set(position, agent.is_some());
            touched.push(position);
        }
        let mut atoms = HashMap::clone(&self.atoms.0.load());
        for (atom, bits) in &mut atoms {
            for position in &touched {
                let agent = next.roster.id(*position).zip(next.at(*position));
                let holds = agent.is_some_and(|(id, agent)| atom.matches(id, agent.fields()));
                if bits.has(*position) != holds {
                    Arc::make_mut(bits).set(*position, holds);
                }
            }
        }
        next.atoms = Arc::new(Atoms(ArcSwap::from_pointee(atoms)));
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::profile::ProfileKind;
    use crate::domain::schema::Schema;
    use crate::filter::Filter;

    fn agent(english: u8, status: u8, billing: bool) -> Arc<Agent> {
        let groups = if billing { json!(["Billing"]) } else { json!([]) };
        Agent::new(
            json!({"fields": {"loginStatus": status, "skills": {"English": english}, "groups": groups}}).to_string(),
        )
    }

    fn matching(agents: &Agents, text: &str) -> Vec<String> {
        let schema = Schema { version: 1, accepted: true, fields: ProfileKind::Agents.mandatory_fields() };
        let filter = Filter::parse(text).unwrap().compile(&schema).unwrap();
        let found = agents.matching(&filter);
        let mut ids: Vec<String> = found.iter().map(|at| agents.roster().id(*at).unwrap().to_string()).collect();
        let mut plain: Vec<String> = agents
            .iter()
            .filter(|(id, agent)| filter.matches(id, agent.fields()))
            .map(|(id, _)| id.to_string())
            .collect();
        ids.sort();
        plain.sort();
        assert_eq!(ids, plain, "{text}");
        ids
    }

    #[test]
    fn more_atoms_than_are_kept_still_find_everybody() {
        let changes: Vec<AgentChange> = (0..100).map(|n| (format!("a{n}"), Some(agent(n, n % 5, true)))).collect();
        let agents = Agents::default().with_changes(&changes);
        for bound in 0..2 * ATOMS_KEPT {
            assert_eq!(matching(&agents, &format!("English < {bound}")).len(), bound.min(100));
        }
        assert!(agents.atoms.0.load().len() <= ATOMS_KEPT);
    }

    proptest! {
        #[test]
        fn sets_follow_the_agents(
            steps in prop::collection::vec(
                prop::collection::vec((0u8..80, prop::option::of((0u8..4, 0u8..3, any::<bool>()))), 0..8),
                1..12,
            ),
        ) {
            let texts = [
                "English > 1",
                "!(English > 1) & loginStatus = 1",
                "Billing | !Billing & loginStatus != 2",
                "loginStatus = 0 & English >= 2 & (Billing | English = 3)",
            ];
            let mut agents = Agents::default();
            for step in steps {
                let changes: Vec<AgentChange> = step
                    .into_iter()
                    .map(|(id, of)| (format!("a{id}"), of.map(|(english, status, billing)| agent(english, status, billing))))
                    .collect();
                agents = agents.with_changes(&changes);
                for text in texts {
                    matching(&agents, text);
                }
            }
        }
    }
}
