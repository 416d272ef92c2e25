//! The agents of a model, encoded ahead of requests, in small immutable blocks.
//!
//! A change of an agent builds its block anew and shares all others, so that a request sees each agent whole. When
//! nothing that the model reads has changed (a login state, a skill that is no feature), the block is kept as it is.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::compiled::CompiledModel;
use super::encoding::Encoded;
use super::forest::LANES;

/// Agents a block: small enough to copy on a change, large enough to share little bookkeeping.
const BLOCK: usize = 64;

/// An agent as the profile knows it.
#[derive(Debug, Clone, Copy)]
pub struct AgentInput<'a> {
    pub id: &'a str,
    pub fields: &'a Map<String, Value>,
}

/// What a request needs of one agent, apart from the masks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AgentPart {
    /// True when the agent has a local model.
    pub local: bool,
    /// Its index among the trained agents.
    pub trained: Option<u32>,
    /// Sum of the agent-side linear terms, its own intercept included.
    pub linear: f64,
    /// Per cross, per level: the agent's coefficients, one after another; empty without a local model.
    pub crosses: Vec<f32>,
    /// The agent-side inputs, kept for requests whose context overrides some.
    pub inputs: Vec<Encoded>,
}

#[derive(Debug, Clone)]
struct Block {
    ids: Vec<Option<Arc<str>>>,
    parts: Vec<AgentPart>,
    /// `trees` masks an agent.
    masks: Vec<u64>,
}

/// The agents that can be scored with one model: those of the profile and those of training.
#[derive(Debug, Clone)]
pub struct AgentSet {
    blocks: Vec<Arc<Block>>,
    positions: Arc<HashMap<Arc<str>, u32>>,
    vacant: Vec<u32>,
    trees: usize,
}

impl AgentSet {
    /// Encodes the profile's agents, and those that only training knows.
    pub fn build<'a>(model: &CompiledModel, profile: impl IntoIterator<Item = AgentInput<'a>>) -> AgentSet {
        let empty = AgentSet {
            blocks: Vec::new(),
            positions: Arc::new(HashMap::new()),
            vacant: Vec::new(),
            trees: model.forest.trees(),
        };
        let nothing = Map::new();
        let mut agents: Vec<AgentInput<'_>> = profile.into_iter().collect();
        agents.extend(model.artifact().agents.ids.iter().map(|id| AgentInput { id, fields: &nothing }));
        // The profile's agents come first, so a stable sort keeps each one's profile entry.
        agents.sort_by_key(|agent| agent.id);
        agents.dedup_by_key(|agent| agent.id);
        empty.with_changes(model, &agents, &[])
    }

    /// The set after agents were added, changed or removed. A removed agent that training knows stays, without profile
    /// values. Cost: the blocks that hold a change.
    pub fn with_changes(&self, model: &CompiledModel, changed: &[AgentInput<'_>], removed: &[&str]) -> AgentSet {
        let mut next = self.clone();
        for agent in changed {
            let (part, masks) = model.agent_part(agent.id, agent.fields);
            next.put(agent.id, part, &masks);
        }
        for id in removed {
            if model.trained_agent(id).is_some() {
                let (part, masks) = model.agent_part(id, &Map::new());
                next.put(id, part, &masks);
            } else {
                next.vacate(id);
            }
        }
        next
    }

    /// Where the agent is, for [`super::Eligible::Positions`]. Valid for this set and for those made from it until the
    /// agent is removed.
    pub fn position(&self, id: &str) -> Option<u32> {
        self.positions.get(id).copied()
    }

    /// The number of agents.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Every position that holds an agent, in no particular order.
    pub fn all_positions(&self) -> Vec<u32> {
        let mut positions: Vec<u32> = self.positions.values().copied().collect();
        positions.sort_unstable();
        positions
    }

    pub(super) fn id(&self, position: u32) -> Option<&Arc<str>> {
        let block = self.blocks.get(position as usize / BLOCK)?;
        block.ids.get(position as usize % BLOCK)?.as_ref()
    }

    pub(super) fn part(&self, position: u32) -> &AgentPart {
        &self.blocks[position as usize / BLOCK].parts[position as usize % BLOCK]
    }

    fn masks(&self, position: u32) -> &[u64] {
        let at = position as usize % BLOCK * self.trees;
        &self.blocks[position as usize / BLOCK].masks[at..at + self.trees]
    }

    /// The tree sums of the agents at these positions, in their order.
    pub(super) fn tree_sums(&self, model: &CompiledModel, context: &[u64], positions: &[u32]) -> Vec<f64> {
        let mut sums = Vec::with_capacity(positions.len() + LANES);
        for chunk in positions.chunks(LANES) {
            // A short last chunk repeats its first agent in the idle lanes.
            let lane = |at: usize| self.masks(*chunk.get(at).unwrap_or(&chunk[0]));
            sums.extend(model.forest.sums(context, std::array::from_fn(lane)));
        }
        sums.truncate(positions.len());
        sums
    }

    fn put(&mut self, id: &str, part: AgentPart, masks: &[u64]) {
        let position = match self.position(id) {
            Some(position) => {
                // Equal inputs give equal masks.
                if *self.part(position) == part {
                    return;
                }
                position
            }
            None => {
                let position = self.vacant.pop().unwrap_or_else(|| self.end());
                Arc::make_mut(&mut self.positions).insert(Arc::from(id), position);
                position
            }
        };
        let (block, slot) = (position as usize / BLOCK, position as usize % BLOCK);
        if block == self.blocks.len() {
            self.blocks.push(Arc::new(Block { ids: Vec::new(), parts: Vec::new(), masks: Vec::new() }));
        }
        let block = Arc::make_mut(&mut self.blocks[block]);
        if slot == block.ids.len() {
            block.ids.push(Some(Arc::from(id)));
            block.parts.push(part);
            block.masks.extend_from_slice(masks);
        } else {
            block.ids[slot] = Some(Arc::from(id));
            block.parts[slot] = part;
            block.masks[slot * self.trees..(slot + 1) * self.trees].copy_from_slice(masks);
        }
    }

    /// The first position after all blocks' agents; only the last block can have room.
    fn end(&self) -> u32 {
        let last = self.blocks.last().map_or(0, |block| block.ids.len());
        (self.blocks.len().saturating_sub(1) * BLOCK + last) as u32
    }

    fn vacate(&mut self, id: &str) {
        if let Some(position) = Arc::make_mut(&mut self.positions).remove(id) {
            Arc::make_mut(&mut self.blocks[position as usize / BLOCK]).ids[position as usize % BLOCK] = None;
            self.vacant.push(position);
        }
    }
}
