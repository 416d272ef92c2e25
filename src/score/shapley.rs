//! What each feature adds to a forest's sum: Shapley values of the trees.
//!
//! TreeSHAP, path-dependent (Lundberg, Erion, Lee: Consistent Individualized Feature Attribution for Tree Ensembles,
//! 2018, algorithm 2): a feature that is not in a coalition sends a row down both ways of a split, in the shares of
//! training rows that went there. Tree inputs that come from one field are one player, so that a field has one value.
//! Cost: leaves × depth² a tree, some microseconds.

use super::forest::{Forest, LEAF};

/// One player on the way from the root: the shares of training rows, and of the explained row (0 or 1), that go this way.
#[derive(Debug, Clone, Copy)]
struct Step {
    player: usize,
    absent: f64,
    present: f64,
    /// Weight of the coalitions with so many players.
    weight: f64,
}

/// Before any player.
const ROOT: usize = usize::MAX;

impl Forest {
    /// The mean of the trees' sum over the training rows.
    pub(super) fn expected(&self) -> f64 {
        (0..self.trees()).map(|tree| self.mean_below(self.starts[tree] as usize, 0)).sum()
    }

    fn mean_below(&self, start: usize, node: usize) -> f64 {
        let at = start + node;
        if self.inputs[at] == LEAF {
            return f64::from(self.values[at]);
        }
        let below = |child: u16| self.share(start, node, child as usize) * self.mean_below(start, child as usize);
        below(self.left[at]) + below(self.right[at])
    }

    /// The share of a node's training rows that went to a child.
    fn share(&self, start: usize, node: usize, child: usize) -> f64 {
        let at = start + node;
        let weight = |child: u16| f64::from(self.weights[start + child as usize]);
        f64::from(self.weights[start + child]) / (weight(self.left[at]) + weight(self.right[at]))
    }

    /// Adds to `values` what each player adds to the trees' sum for one row. `players` names the player of each tree
    /// input, an index into `values`. Together with [`Forest::expected`] they add up to [`Forest::sum`].
    pub(super) fn add_shapley(&self, tree_inputs: &[f32], players: &[usize], values: &mut [f64]) {
        for tree in 0..self.trees() {
            let walk = Walk { forest: self, start: self.starts[tree] as usize, tree_inputs, players };
            walk.visit(0, Vec::new(), Step { player: ROOT, absent: 1.0, present: 1.0, weight: 0.0 }, values);
        }
    }
}

struct Walk<'a> {
    forest: &'a Forest,
    start: usize,
    tree_inputs: &'a [f32],
    players: &'a [usize],
}

impl Walk<'_> {
    fn visit(&self, node: usize, mut path: Vec<Step>, step: Step, values: &mut [f64]) {
        extend(&mut path, step);
        let (forest, at) = (self.forest, self.start + node);
        if forest.inputs[at] == LEAF {
            for (place, step) in path.iter().enumerate().skip(1) {
                values[step.player] +=
                    weight_without(&path, place) * (step.present - step.absent) * f64::from(forest.values[at]);
            }
            return;
        }
        let value = self.tree_inputs[forest.inputs[at] as usize];
        let player = self.players[forest.inputs[at] as usize];
        let (left, right) = (forest.left[at] as usize, forest.right[at] as usize);
        let taken = if value.is_nan() {
            forest.missing[at] as usize
        } else if value < forest.values[at] {
            left
        } else {
            right
        };
        // A player that decided above is one player still.
        let (mut absent, mut present) = (1.0, 1.0);
        if let Some(place) = path.iter().position(|step| step.player == player) {
            (absent, present) = (path[place].absent, path[place].present);
            remove(&mut path, place);
        }
        for child in [left, right] {
            let share = forest.share(self.start, node, child);
            let present = if child == taken { present } else { 0.0 };
            self.visit(child, path.clone(), Step { player, absent: absent * share, present, weight: 0.0 }, values);
        }
    }
}

/// Adds a player to the coalitions.
fn extend(path: &mut Vec<Step>, step: Step) {
    let length = path.len();
    path.push(Step { weight: if length == 0 { 1.0 } else { 0.0 }, ..step });
    let players = (length + 1) as f64;
    for at in (0..length).rev() {
        let weight = path[at].weight;
        path[at + 1].weight += step.present * weight * (at + 1) as f64 / players;
        path[at].weight = step.absent * weight * (length - at) as f64 / players;
    }
}

/// Takes a player out again: the reverse of [`extend`].
fn remove(path: &mut Vec<Step>, place: usize) {
    let weights = weights_without(path, place);
    path.remove(place);
    for (step, weight) in path.iter_mut().zip(weights) {
        step.weight = weight;
    }
}

fn weight_without(path: &[Step], place: usize) -> f64 {
    weights_without(path, place).iter().sum()
}

/// The weights of the coalitions of the other players.
fn weights_without(path: &[Step], place: usize) -> Vec<f64> {
    let last = path.len() - 1;
    let players = path.len() as f64;
    let Step { absent, present, .. } = path[place];
    let mut weights = vec![0.0; last];
    let mut next = path[last].weight;
    for at in (0..last).rev() {
        if present == 0.0 {
            weights[at] = path[at].weight * players / (absent * (last - at) as f64);
        } else {
            weights[at] = next * players / ((at + 1) as f64 * present);
            next = path[at].weight - weights[at] * absent * (last - at) as f64 / players;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible draws (xorshift, Marsaglia 2003).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) as usize % limit
        }

        /// On a grid, so that a value may equal a threshold.
        fn number(&mut self) -> f32 {
            self.below(9) as f32 - 4.0
        }
    }

    /// A random tree; inputs may repeat on a path.
    fn tree(dice: &mut Dice, inputs: usize, leaves: usize) -> Forest {
        let mut forest = Forest { starts: vec![0], ..Forest::default() };
        forest.push_leaf(0.0, 1.0);
        let mut open = vec![0];
        for _ in 1..leaves {
            let node = open.swap_remove(dice.below(open.len()));
            let (left, right) = (forest.inputs.len(), forest.inputs.len() + 1);
            forest.inputs[node] = dice.below(inputs) as u16;
            forest.values[node] = dice.number();
            (forest.left[node], forest.right[node]) = (left as u16, right as u16);
            forest.missing[node] = if dice.below(2) == 0 { left } else { right } as u16;
            for child in [left, right] {
                forest.push_leaf(dice.number(), 1.0 + dice.below(50) as f32);
                open.push(child);
            }
        }
        forest.starts.push(forest.inputs.len() as u32);
        forest
    }

    /// The mean of the tree when only some players are known.
    fn value_of(forest: &Forest, node: usize, row: &[f32], players: &[usize], known: u32) -> f64 {
        if forest.inputs[node] == LEAF {
            return f64::from(forest.values[node]);
        }
        let input = forest.inputs[node] as usize;
        let children = [forest.left[node] as usize, forest.right[node] as usize];
        if known & (1 << players[input]) != 0 {
            let taken = if row[input].is_nan() {
                forest.missing[node] as usize
            } else {
                children[usize::from(row[input] >= forest.values[node])]
            };
            return value_of(forest, taken, row, players, known);
        }
        children.iter().map(|child| forest.share(0, node, *child) * value_of(forest, *child, row, players, known)).sum()
    }

    #[test]
    fn values_are_those_of_the_definition_over_all_coalitions() {
        let mut dice = Dice(7);
        // Inputs 3 and 4 are one player.
        let players = [0, 1, 2, 3, 3];
        let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
        for round in 0..40 {
            let forest = tree(&mut dice, players.len(), 2 + round % 12);
            let row: Vec<f32> =
                players.iter().map(|_| if dice.below(5) == 0 { f32::NAN } else { dice.number() }).collect();
            let mut found = vec![0.0; 4];
            forest.add_shapley(&row, &players, &mut found);
            for player in 0..4u32 {
                let others = (0..16u32).filter(|set| set & (1 << player) == 0);
                let expected: f64 = others
                    .map(|set| {
                        let size = set.count_ones();
                        let weight = factorial(size) * factorial(3 - size) / factorial(4);
                        let with = value_of(&forest, 0, &row, &players, set | (1 << player));
                        weight * (with - value_of(&forest, 0, &row, &players, set))
                    })
                    .sum();
                assert!((found[player as usize] - expected).abs() < 1e-9, "round {round}, player {player}");
            }
            let sum = forest.expected() + found.iter().sum::<f64>();
            assert!((sum - forest.sum(&row)).abs() < 1e-9, "round {round}");
        }
    }
}
