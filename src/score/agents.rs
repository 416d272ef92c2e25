//! The agents of a model, encoded ahead of requests, in small immutable blocks.
//!
//! A change of an agent builds its block anew and shares all others, so that a request sees each agent whole. When
//! nothing that the model reads has changed (a login state, a skill that is no feature), the block is kept as it is.
//!
//! The agents of the profile are where the account's [`Roster`] has them, for every model alike; those that only training knows have a
//! roster of the set's own.

use std::sync::Arc;

use pulp::{Arch, NullaryFnOnce};
use serde_json::{Map, Value};

use super::bits::Bits;
use super::bytes::{GROUP, Row, write_places};
use super::compiled::CompiledModel;
use super::encoding::Encoded;
use super::factorised::{AgentMasks, AgentTrees, ContextTrees, LargeEight, SIDE_BY_SIDE, SmallEight};
use super::request::Eligible;
use super::roster::Roster;
use super::wide::WIDE;

/// Agents a block: few enough to copy on a change, enough to share little bookkeeping.
const BLOCK: usize = WIDE;
/// Blocks whose coefficients are read one right after the other: they are far apart in memory, and a short loop waits for many at once.
const READ_AHEAD: usize = 16;
/// Set in the positions of agents whom only training knows.
const ONLY_TRAINED: u32 = 1 << 31;

/// An agent as the profile knows it.
#[derive(Debug, Clone, Copy)]
pub struct AgentInput<'a> {
    pub id: &'a str,
    pub fields: &'a Map<String, Value>,
}

/// Everything of an agent that does not depend on the interaction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AgentPart {
    /// True when the agent has a local model.
    pub local: bool,
    /// Its index among the trained agents.
    pub trained: Option<u32>,
    /// Sum of the agent-side linear terms, its own intercept included.
    pub linear: f64,
    /// Per cross, per level: the agent's coefficients, one after another; zeros without a local model.
    pub crosses: Vec<f32>,
    /// The agent-side inputs, kept for requests whose context overrides some.
    pub inputs: Vec<Encoded>,
}

/// The parts of a few agents, so laid out that a request reads what it needs of all of them in a row.
#[derive(Debug, Clone)]
struct Block {
    present: [bool; BLOCK],
    local: [bool; BLOCK],
    trained: [Option<u32>; BLOCK],
    linear: [f64; BLOCK],
    /// Sums of the trees that test the agent alone, in units of the forest.
    trees: [i64; BLOCK],
    /// Per coefficient, that of each agent.
    crosses: Vec<[f32; BLOCK]>,
    /// Per row (see [`super::bytes::ByteForest`]), the place of each agent's value among an input's thresholds; with places there are no masks.
    places: Vec<[u8; BLOCK]>,
    /// Agent after agent.
    inputs: Vec<Encoded>,
    /// Agent after agent, by eights of trees.
    small: Vec<SmallEight>,
    large: Vec<LargeEight>,
}

/// The agents of one roster.
#[derive(Debug, Clone)]
struct Bank {
    roster: Roster,
    blocks: Vec<Arc<Block>>,
}

/// The agents that can be scored with one model: those of the profile and those of training.
#[derive(Debug, Clone)]
pub struct AgentSet {
    profile: Bank,
    only_trained: Bank,
    /// Coefficients, places, inputs and eights of masks of one agent.
    widths: Widths,
}

#[derive(Debug, Clone, Copy)]
struct Widths {
    crosses: usize,
    places: usize,
    inputs: usize,
    small: usize,
    large: usize,
}

impl AgentSet {
    /// Encodes the profile's agents, and those that only training knows.
    pub fn build<'a>(model: &CompiledModel, profile: impl IntoIterator<Item = AgentInput<'a>>) -> AgentSet {
        let agents: Vec<AgentInput<'_>> = profile.into_iter().collect();
        let mut roster = Roster::default();
        for agent in &agents {
            roster.add(agent.id);
        }
        Self::of_roster(model, roster, agents)
    }

    /// The same for agents who have their positions already: `profile` is all of the roster's.
    pub fn of_roster<'a>(
        model: &CompiledModel,
        roster: Roster,
        profile: impl IntoIterator<Item = AgentInput<'a>>,
    ) -> AgentSet {
        let counts = model.forest.counts();
        let (places, small, large) = match model.forest.bytes() {
            Some(forest) => (forest.width(), 0, 0),
            None => (0, counts.small.div_ceil(SIDE_BY_SIDE), counts.large.div_ceil(SIDE_BY_SIDE)),
        };
        let widths = Widths { crosses: model.cross_width(), places, inputs: model.agent_inputs.len(), small, large };
        let empty = |roster| Bank { roster, blocks: Vec::new() };
        let mut set = AgentSet { profile: empty(roster), only_trained: empty(Roster::default()), widths };
        for agent in profile {
            if let Some(position) = set.profile.roster.position(agent.id) {
                set.profile.put(widths, position, model, agent);
            }
        }
        for id in &model.artifact().agents.ids {
            set.keep_trained(model, id);
        }
        set
    }

    /// The set after agents of the profile were added, changed or removed; `roster` has their positions now. A removed agent whom training
    /// knows stays, without profile values. Cost: the blocks that hold a change.
    pub fn with_changes(
        &self,
        model: &CompiledModel,
        roster: &Roster,
        changed: &[AgentInput<'_>],
        removed: &[&str],
    ) -> AgentSet {
        let mut next = self.clone();
        for id in removed {
            if let Some(position) = next.profile.roster.position(id) {
                next.profile.clear(position);
            }
        }
        next.profile.roster = roster.clone();
        for agent in changed {
            let Some(position) = roster.position(agent.id) else { continue };
            if let Some(before) = next.only_trained.roster.remove(agent.id) {
                next.only_trained.clear(before);
            }
            next.profile.put(self.widths, position, model, *agent);
        }
        for id in removed {
            next.keep_trained(model, id);
        }
        next
    }

    /// An agent of training who is not in the profile.
    fn keep_trained(&mut self, model: &CompiledModel, id: &str) {
        if self.profile.roster.position(id).is_none() && model.trained_agent(id).is_some() {
            let position = self.only_trained.roster.add(id);
            self.only_trained.put(self.widths, position, model, AgentInput { id, fields: &Map::new() });
        }
    }

    /// Where the agent is, for [`super::Eligible::Positions`]. Valid for this set and for those made from it until the
    /// agent is removed. Of an agent of the profile it is the roster's.
    pub fn position(&self, id: &str) -> Option<u32> {
        let trained = || self.only_trained.roster.position(id).map(|position| position | ONLY_TRAINED);
        self.profile.roster.position(id).or_else(trained)
    }

    /// Positions of the eligible agents that the set holds, each once, and ids that it does not know.
    pub(super) fn find<'a>(&self, eligible: Eligible<'_, 'a>) -> (Vec<u32>, Vec<&'a str>) {
        // Sets of the roster's positions come in order, each once.
        if let Eligible::Positions(positions) = eligible
            && positions.is_sorted_by(|a, b| a < b)
        {
            return (self.held(positions), Vec::new());
        }
        let mut seen: [Bits; 2] = Default::default();
        let mut first_time = |position: u32| {
            let (seen, position) = (&mut seen[usize::from(position & ONLY_TRAINED != 0)], position & !ONLY_TRAINED);
            let first_time = !seen.has(position);
            seen.set(position, true);
            first_time
        };
        match eligible {
            Eligible::Positions(positions) => {
                let mut held = self.held(positions);
                held.retain(|at| first_time(*at));
                (held, Vec::new())
            }
            Eligible::Ids(ids) => {
                let mut positions = Vec::with_capacity(ids.len());
                let mut unknown = Vec::new();
                for id in ids {
                    match self.position(id) {
                        Some(position) if first_time(position) => positions.push(position),
                        Some(_) => {}
                        None => unknown.push(*id),
                    }
                }
                unknown.sort_unstable();
                unknown.dedup();
                (positions, unknown)
            }
        }
    }

    /// The number of agents.
    pub fn len(&self) -> usize {
        self.profile.roster.len() + self.only_trained.roster.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every position that holds an agent.
    pub fn all_positions(&self) -> Vec<u32> {
        let profile = self.profile.roster.iter().map(|(position, _)| position);
        profile.chain(self.only_trained.roster.iter().map(|(position, _)| position | ONLY_TRAINED)).collect()
    }

    pub(super) fn id(&self, position: u32) -> Option<&str> {
        let (bank, position) = self.bank(position);
        bank.roster.id(position)
    }

    /// Those that hold an agent.
    fn held(&self, positions: &[u32]) -> Vec<u32> {
        let mut held = Vec::with_capacity(positions.len());
        for (together, whole) in in_blocks(positions) {
            let (bank, first) = self.bank(together[0]);
            match bank.block(first) {
                Some((block, _)) if whole && block.present == [true; BLOCK] => held.extend_from_slice(together),
                Some((block, _)) => {
                    held.extend(together.iter().copied().filter(|at| block.present[*at as usize % BLOCK]));
                }
                None => {}
            }
        }
        held
    }

    /// Whether the agent there has a local model.
    pub(super) fn is_local(&self, position: u32) -> bool {
        let (bank, position) = self.bank(position);
        bank.block(position).is_some_and(|(block, slot)| block.local[slot])
    }

    /// Positions that hold agents, block by block.
    pub(super) fn together<'p>(&self, positions: &'p [u32]) -> Vec<Together<'_, 'p>> {
        let of_block =
            |(positions, whole): (&'p [u32], bool)| Together { block: self.place(positions[0]).0, positions, whole };
        // In any order no block comes more often than an agent; in their own each comes once.
        let blocks = self.profile.blocks.len() + self.only_trained.blocks.len();
        let mut together = Vec::with_capacity(positions.len().min(blocks));
        together.extend(in_blocks(positions).map(of_block));
        together
    }

    pub(super) fn part(&self, position: u32) -> Option<AgentPart> {
        let (bank, position) = self.bank(position);
        let (block, slot) = bank.block(position).filter(|(block, slot)| block.present[*slot])?;
        Some(AgentPart {
            local: block.local[slot],
            trained: block.trained[slot],
            linear: block.linear[slot],
            crosses: block.crosses.iter().map(|row| row[slot]).collect(),
            inputs: block.inputs[slot * self.widths.inputs..][..self.widths.inputs].to_vec(),
        })
    }

    /// The sums of the trees but for those that test an agent alone, and last those of an agent of whom nothing is known.
    pub(super) fn sums(
        &self,
        model: &CompiledModel,
        trees: &ContextTrees,
        positions: &[u32],
        together: &[Together<'_, '_>],
        nobody: &AgentTrees,
    ) -> Vec<i64> {
        match model.forest.bytes() {
            Some(forest) => {
                let mut sums = vec![0; positions.len() + 1];
                forest.sums(trees, groups(together, &nobody.places, &mut sums));
                sums
            }
            None => {
                let mut sums = self.sums_by_masks(model, trees, positions);
                sums.push(model.forest.sum(trees, &nobody.masks));
                sums
            }
        }
    }

    fn sums_by_masks(&self, model: &CompiledModel, trees: &ContextTrees, positions: &[u32]) -> Vec<i64> {
        let mut sums = Vec::with_capacity(positions.len());
        for some in positions.chunks(WIDE) {
            let (small, large) = self.masks(some);
            sums.extend_from_slice(&model.forest.sums_by_masks(trees, &small, &large, some.len())[..some.len()]);
        }
        sums
    }

    /// The masks of agents that are scored at once, small and large ones. Too few repeat the first one in the idle places.
    fn masks(&self, positions: &[u32]) -> ([AgentMasks<'_, u32>; WIDE], [AgentMasks<'_, u64>; WIDE]) {
        let Widths { small, large, .. } = self.widths;
        let places: [(&Block, usize); WIDE] =
            std::array::from_fn(|place| self.place(*positions.get(place).unwrap_or(&positions[0])));
        (
            places.map(|(block, slot)| &block.small[slot * small..][..small]),
            places.map(|(block, slot)| &block.large[slot * large..][..large]),
        )
    }

    fn bank(&self, position: u32) -> (&Bank, u32) {
        if position & ONLY_TRAINED == 0 {
            (&self.profile, position)
        } else {
            (&self.only_trained, position & !ONLY_TRAINED)
        }
    }

    /// Of a position that holds an agent.
    fn place(&self, position: u32) -> (&Block, usize) {
        let (bank, position) = self.bank(position);
        (&bank.blocks[position as usize / BLOCK], position as usize % BLOCK)
    }
}

/// Agents whose positions follow each other and who are in one block.
#[derive(Clone, Copy)]
pub(super) struct Together<'a, 'p> {
    block: &'a Block,
    positions: &'p [u32],
    /// All of the block, in its order.
    whole: bool,
}

impl Together<'_, '_> {
    /// Places in the block.
    #[inline(always)]
    fn slots(&self) -> impl Iterator<Item = usize> {
        self.positions.iter().map(|position| *position as usize % BLOCK)
    }

    /// Their places, from a place of the rows on.
    fn write_places(&self, at: usize, rows: &mut [Row]) {
        if self.whole {
            for (row, places) in rows.iter_mut().zip(&self.block.places) {
                row.0[at..][..BLOCK].copy_from_slice(places);
            }
        } else {
            for (at, slot) in (at..GROUP).zip(self.slots()) {
                write_places(rows, at, self.block.places.iter().map(|places| places[slot]));
            }
        }
    }

    /// How many of them have a local model.
    pub fn locals(&self) -> usize {
        self.slots().filter(|slot| self.block.local[*slot]).count()
    }
}

/// As many of them as are scored at once by their bytes: what writes their places, and where their sums go. Last comes an agent of whom nothing
/// is known.
fn groups<'a>(
    mut rest: &'a [Together<'_, '_>],
    nobody: &'a [u8],
    mut sums: &'a mut [i64],
) -> impl Iterator<Item = (impl FnOnce(&mut [Row]) + 'a, &'a mut [i64])> {
    std::iter::from_fn(move || {
        let (mut blocks, mut agents) = (0, 0);
        while let Some(next) = rest.get(blocks).filter(|next| agents + next.positions.len() <= GROUP) {
            agents += next.positions.len();
            blocks += 1;
        }
        debug_assert!(rest.is_empty() || blocks > 0, "a block's agents come once each");
        let own;
        (own, rest) = rest.split_at(blocks);
        let has_nobody = rest.is_empty() && agents < GROUP;
        let own_sums = sums.split_off_mut(..agents + usize::from(has_nobody)).filter(|own| !own.is_empty())?;
        let write_places = move |rows: &mut [Row]| {
            let mut at = 0;
            for together in own {
                together.write_places(at, rows);
                at += together.positions.len();
            }
            if has_nobody {
                write_places(rows, at, nobody.iter().copied());
            }
        };
        Some((write_places, own_sums))
    })
}

/// The margins of agents, in their order: `context` is what the context adds to the regression, `crosses` the places of the coefficients
/// that count for it, `sums` those of the trees.
pub(super) fn margins(
    model: &CompiledModel,
    context: f64,
    crosses: &[usize],
    sums: &[i64],
    agents: &[Together<'_, '_>],
) -> Vec<f64> {
    // One more is added: nobody's.
    let mut margins = Vec::with_capacity(sums.len() + 1);
    margins.resize(sums.len(), 0.0);
    Arch::new().dispatch(Margins { model, context, crosses, sums, agents, margins: &mut margins });
    margins
}

/// Adds up margins with the widest registers that there are.
struct Margins<'a> {
    model: &'a CompiledModel,
    context: f64,
    crosses: &'a [usize],
    sums: &'a [i64],
    agents: &'a [Together<'a, 'a>],
    margins: &'a mut [f64],
}

impl NullaryFnOnce for Margins<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { model, context, crosses, sums, agents, margins } = self;
        let (mut sums, mut margins) = (sums, margins);
        for agents in agents.chunks(READ_AHEAD) {
            let mut linear = [[0.0; BLOCK]; READ_AHEAD];
            for (linear, together) in linear.iter_mut().zip(agents) {
                *linear = together.block.linear(context, crosses);
            }
            for (linear, together) in linear.iter().zip(agents) {
                let (own, own_sums);
                (own, margins) = margins.split_at_mut(together.positions.len());
                (own_sums, sums) = sums.split_at(together.positions.len());
                let results = own.iter_mut().zip(own_sums);
                let margin = |linear: f64, alone: i64, sum: i64| linear + model.forest.in_margin(sum + alone);
                if together.whole {
                    for ((result, sum), (linear, alone)) in results.zip(linear.iter().zip(&together.block.trees)) {
                        *result = margin(*linear, *alone, *sum);
                    }
                } else {
                    for ((result, sum), slot) in results.zip(together.slots()) {
                        *result = margin(linear[slot], together.block.trees[slot], *sum);
                    }
                }
            }
        }
    }
}

/// Neighbours that are in one block, and whether they are all of it, in its order.
fn in_blocks(mut rest: &[u32]) -> impl Iterator<Item = (&[u32], bool)> {
    std::iter::from_fn(move || {
        let block = rest.first()? / BLOCK as u32;
        let whole = rest.first_chunk().is_some_and(is_whole_block);
        let count = match whole {
            true => BLOCK,
            false => rest.iter().take_while(|position| *position / BLOCK as u32 == block).count(),
        };
        let own;
        (own, rest) = rest.split_at(count);
        Some((own, whole))
    })
}

// All of them without a branch.
fn is_whole_block(positions: &[u32; BLOCK]) -> bool {
    let first = positions[0] & !(BLOCK as u32 - 1);
    positions.iter().zip(0..).fold(0, |odd, (position, slot)| odd | (position ^ (first + slot))) == 0
}

impl Bank {
    fn block(&self, position: u32) -> Option<(&Block, usize)> {
        Some((self.blocks.get(position as usize / BLOCK)?, position as usize % BLOCK))
    }

    fn put(&mut self, widths: Widths, position: u32, model: &CompiledModel, agent: AgentInput<'_>) {
        let (at, slot) = (position as usize / BLOCK, position as usize % BLOCK);
        while self.blocks.len() <= at {
            self.blocks.push(Arc::new(Block::new(widths)));
        }
        let (trained, inputs) = model.agent_inputs_of(agent.id, agent.fields);
        // Everything else follows from these.
        if self.blocks[at].holds(widths, slot, trained, &inputs) {
            return;
        }
        let (part, AgentTrees { places, masks, alone }) = model.agent(trained, inputs);
        let block = Arc::make_mut(&mut self.blocks[at]);
        block.present[slot] = true;
        block.local[slot] = part.local;
        block.trained[slot] = part.trained;
        block.linear[slot] = part.linear;
        block.trees[slot] = alone;
        for (at, row) in block.crosses.iter_mut().enumerate() {
            row[slot] = part.crosses.get(at).copied().unwrap_or(0.0);
        }
        block.inputs[slot * widths.inputs..][..widths.inputs].copy_from_slice(&part.inputs);
        for (row, place) in block.places.iter_mut().zip(places) {
            row[slot] = place;
        }
        block.small[slot * widths.small..][..widths.small].copy_from_slice(&masks.small);
        block.large[slot * widths.large..][..widths.large].copy_from_slice(&masks.large);
    }

    fn clear(&mut self, position: u32) {
        if let Some(block) = self.blocks.get_mut(position as usize / BLOCK) {
            Arc::make_mut(block).present[position as usize % BLOCK] = false;
        }
    }
}

impl Block {
    fn new(widths: Widths) -> Self {
        Self {
            present: [false; BLOCK],
            local: [false; BLOCK],
            trained: [None; BLOCK],
            linear: [0.0; BLOCK],
            trees: [0; BLOCK],
            crosses: vec![[0.0; BLOCK]; widths.crosses],
            places: vec![[0; BLOCK]; widths.places],
            inputs: vec![Encoded { number: f32::NAN, level: 0 }; BLOCK * widths.inputs],
            small: vec![SmallEight([0; SIDE_BY_SIDE]); BLOCK * widths.small],
            large: vec![LargeEight([0; SIDE_BY_SIDE]); BLOCK * widths.large],
        }
    }

    /// What the regression adds up to for each agent.
    #[inline(always)]
    fn linear(&self, context: f64, crosses: &[usize]) -> [f64; BLOCK] {
        let mut linear = self.linear.map(|own| context + own);
        for cross in crosses {
            for (sum, coefficient) in linear.iter_mut().zip(&self.crosses[*cross]) {
                *sum += f64::from(*coefficient);
            }
        }
        linear
    }

    fn holds(&self, widths: Widths, slot: usize, trained: Option<u32>, inputs: &[Encoded]) -> bool {
        let same = |(a, b): (&Encoded, &Encoded)| a.number.to_bits() == b.number.to_bits() && a.level == b.level;
        let own = &self.inputs[slot * widths.inputs..][..widths.inputs];
        self.present[slot] && self.trained[slot] == trained && own.iter().zip(inputs).all(same)
    }
}
