//! Who is where: agents' ids and the positions that stand for them, so that sets of agents are sets of small numbers.
//!
//! A position is an agent's for as long as the agent is there; then another may get it. Cloning shares; a change copies only when it adds
//! or removes an agent.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::quick_map::QuickMap;

/// Ids by position, and positions by id. Ids of up to 23 bytes lie in the tables themselves: who looks up a hundred
/// reads as much less. Longer ones are shared.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<Inner>);

#[derive(Debug, Clone, Default)]
struct Inner {
    positions: QuickMap<SmolStr, u32>,
    ids: Vec<Option<SmolStr>>,
    vacant: Vec<u32>,
}

impl Roster {
    pub fn position(&self, id: &str) -> Option<u32> {
        self.0.positions.get(id).copied()
    }

    pub fn id(&self, position: u32) -> Option<&str> {
        self.0.ids.get(position as usize)?.as_deref()
    }

    /// The number of agents.
    pub fn len(&self) -> usize {
        self.0.positions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the highest position that was ever used.
    pub fn end(&self) -> u32 {
        self.0.ids.len() as u32
    }

    /// In the order of their positions.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.ids.iter().enumerate().filter_map(|(position, id)| Some((position as u32, id.as_deref()?)))
    }

    /// The agent's position, a new one if it has none.
    pub fn add(&mut self, id: &str) -> u32 {
        if let Some(position) = self.position(id) {
            return position;
        }
        let inner = Arc::make_mut(&mut self.0);
        let id = SmolStr::from(id);
        let position = match inner.vacant.pop() {
            Some(position) => {
                inner.ids[position as usize] = Some(id.clone());
                position
            }
            None => {
                inner.ids.push(Some(id.clone()));
                inner.ids.len() as u32 - 1
            }
        };
        inner.positions.insert(id, position);
        position
    }

    /// The position that the agent had.
    pub fn remove(&mut self, id: &str) -> Option<u32> {
        let position = self.position(id)?;
        let inner = Arc::make_mut(&mut self.0);
        inner.positions.remove(id);
        inner.ids[position as usize] = None;
        inner.vacant.push(position);
        Some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_an_agents_until_it_goes() {
        let mut roster = Roster::default();
        assert_eq!([roster.add("a"), roster.add("b"), roster.add("a")], [0, 1, 0]);
        let before = roster.clone();
        assert_eq!((roster.remove("a"), roster.remove("a"), roster.position("a")), (Some(0), None, None));
        assert_eq!((roster.len(), roster.end()), (1, 2));
        assert_eq!(roster.add("c"), 0, "a vacant position is used again");
        assert_eq!(roster.iter().collect::<Vec<_>>(), [(0, "c"), (1, "b")]);
        assert_eq!(before.position("a"), Some(0), "who holds an older one sees no change");
    }
}
