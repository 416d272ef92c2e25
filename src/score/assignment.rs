//! The assignment of interactions to agents that maximises the total score.
//!
//! Shortest augmenting paths with potentials (Jonker & Volgenant, Computing 38, 1987; the rectangular form follows
//! Crouse, IEEE Transactions on Aerospace and Electronic Systems 52, 2016): exact, O(n² m) for n ≤ m. The potentials bound from above what
//! any assignment could reach, also when they are not finished: whoever stops early knows how much may be missing.

/// Steps of about a nanosecond after which no further row is assigned exactly: enough for 1,000 rows on 2,000 columns at worst.
pub const USUAL_STEPS: u64 = 1_000_000_000;

const FREE: usize = usize::MAX;

/// The scores of all pairs, row by row; NaN is a pair that must not be made, all others are finite.
#[derive(Debug, Clone)]
pub struct Pairs {
    rows: usize,
    columns: usize,
    scores: Vec<f64>,
}

/// Who gets what.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// For each row the column that it is given, or none; each column is used at most once.
    pub column_of: Vec<Option<usize>>,
    /// How far the total may be below the greatest possible one, at most. 0: it is the greatest.
    pub gap: f64,
}

impl Pairs {
    /// No pair may be made yet.
    pub fn none(rows: usize, columns: usize) -> Self {
        Self { rows, columns, scores: vec![f64::NAN; rows * columns] }
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.scores[row * self.columns..(row + 1) * self.columns]
    }

    pub fn score(&self, row: usize, column: usize) -> Option<f64> {
        Some(self.scores[row * self.columns + column]).filter(|score| !score.is_nan())
    }

    fn transposed(&self) -> Self {
        let (rows, columns) = (self.rows, self.columns);
        let scores = (0..self.scores.len()).map(|at| self.scores[at % rows * columns + at / rows]).collect();
        Self { rows: columns, columns: rows, scores }
    }
}

/// As many pairs as possible, and among those choices the one with the greatest total. Rows that are left after this many steps get the
/// best column that is still free.
pub fn maximize(pairs: &Pairs, most_steps: u64) -> Assignment {
    let (rows, columns) = (pairs.rows, pairs.columns);
    if rows <= columns {
        return maximize_wide(pairs, most_steps);
    }
    let turned = maximize_wide(&pairs.transposed(), most_steps);
    let mut column_of = vec![None; rows];
    for (column, row) in turned.column_of.into_iter().enumerate() {
        if let Some(row) = row {
            column_of[row] = Some(column);
        }
    }
    Assignment { column_of, gap: turned.gap }
}

/// For at least as many columns as rows.
fn maximize_wide(pairs: &Pairs, most_steps: u64) -> Assignment {
    let (rows, columns) = (pairs.rows, pairs.columns);
    let known = || pairs.scores.iter().filter(|score| !score.is_nan());
    let (low, high) =
        known().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), score| (low.min(*score), high.max(*score)));
    if low > high {
        return Assignment { column_of: vec![None; rows], gap: 0.0 };
    }
    // A forbidden pair costs more than any number of allowed ones can gain, so it is used only when unavoidable.
    let forbidden = (high.abs() + high - low + 1.0) * (rows as f64 + 1.0);
    let costs = pairs.scores.iter().map(|score| if score.is_nan() { forbidden } else { high - score }).collect();
    let solved = Solver::new(costs, rows, columns).solve(most_steps);

    let row_of_column = |row: usize, column: usize| pairs.score(row, column).map(|_| column);
    let column_of: Vec<Option<usize>> =
        solved.column_of.iter().enumerate().map(|(row, column)| row_of_column(row, *column)).collect();
    let gap = match solved.least_cost {
        None => 0.0,
        // Nor can anybody get more than each row's best.
        Some(least_cost) => {
            let total: f64 = (0..rows).filter_map(|row| pairs.score(row, column_of[row]?)).sum();
            let best = |row: usize| (0..columns).filter_map(|column| pairs.score(row, column)).reduce(f64::max);
            let most = (0..rows).filter_map(best).sum::<f64>();
            (solved.cost - least_cost).min(most - total).max(0.0)
        }
    };
    Assignment { column_of, gap }
}

struct Solver {
    costs: Vec<f64>,
    columns: usize,
    row_potential: Vec<f64>,
    /// At most 0; 0 for a column that nobody has.
    column_potential: Vec<f64>,
    row_of: Vec<usize>,
    column_of: Vec<usize>,
}

struct Solved {
    column_of: Vec<usize>,
    cost: f64,
    /// What every assignment costs at least; none when this one is known to be the cheapest.
    least_cost: Option<f64>,
}

impl Solver {
    fn new(costs: Vec<f64>, rows: usize, columns: usize) -> Self {
        Self {
            costs,
            columns,
            row_potential: vec![0.0; rows],
            column_potential: vec![0.0; columns],
            row_of: vec![FREE; columns],
            column_of: vec![FREE; rows],
        }
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.costs[row * self.columns..(row + 1) * self.columns]
    }

    fn solve(mut self, most_steps: u64) -> Solved {
        let rows = self.column_of.len();
        let mut steps = 0;
        let mut search = Search::new(self.columns);
        let exact = (0..rows).find(|row| {
            let goes_on = steps < most_steps;
            if goes_on {
                steps += search.augment(&mut self, *row);
            }
            !goes_on
        });
        let least_cost = exact.map(|first_left| self.finish(first_left));
        let cost = (0..rows).map(|row| self.row(row)[self.column_of[row]]).sum();
        Solved { column_of: self.column_of, cost, least_cost }
    }

    /// Gives the rows from this one on what is free, and tells what every assignment costs at least.
    fn finish(&mut self, first_left: usize) -> f64 {
        let rows = self.column_of.len();
        for row in first_left..rows {
            let reduced = self.row(row).iter().zip(&self.column_potential).map(|(cost, potential)| cost - potential);
            self.row_potential[row] = reduced.fold(f64::INFINITY, f64::min);
            let free = (0..self.columns).filter(|column| self.row_of[*column] == FREE);
            let cheapest = free.min_by(|a, b| self.row(row)[*a].total_cmp(&self.row(row)[*b]));
            let column = cheapest.expect("there are at least as many columns as rows");
            (self.column_of[row], self.row_of[column]) = (column, row);
        }
        self.row_potential.iter().sum::<f64>() + self.column_potential.iter().sum::<f64>()
    }
}

/// The search for the cheapest way to give one more row a column, others making room; its room is used again by each row.
struct Search {
    /// The cheapest known way to each column; -∞ once the column is settled.
    distance: Vec<f64>,
    came_from: Vec<usize>,
    /// Settled columns with what the way to them costs.
    settled: Vec<(usize, f64)>,
}

impl Search {
    fn new(columns: usize) -> Self {
        Self { distance: vec![0.0; columns], came_from: vec![FREE; columns], settled: Vec::new() }
    }

    /// Returns how many pairs it looked at.
    fn augment(&mut self, solver: &mut Solver, start: usize) -> u64 {
        self.distance.fill(f64::INFINITY);
        self.settled.clear();
        let (mut row, mut way) = (start, 0.0);
        let mut steps = 0;
        let end = loop {
            let nearest = self.look(solver, row, way);
            steps += solver.columns as u64;
            way = self.distance[nearest];
            self.settled.push((nearest, way));
            self.distance[nearest] = f64::NEG_INFINITY;
            row = solver.row_of[nearest];
            if row == FREE {
                break nearest;
            }
        };
        solver.row_potential[start] += way;
        for (column, cost) in &self.settled {
            if let Some(potential) = solver.row_potential.get_mut(solver.row_of[*column]) {
                *potential += way - cost;
            }
            solver.column_potential[*column] -= way - cost;
        }
        let mut column = end;
        loop {
            let row = self.came_from[column];
            solver.row_of[column] = row;
            std::mem::swap(&mut solver.column_of[row], &mut column);
            if row == start {
                return steps;
            }
        }
    }

    /// Ways by a row, which itself costs `way` to reach; the nearest column that is not settled.
    fn look(&mut self, solver: &Solver, row: usize, way: f64) -> usize {
        let base = way - solver.row_potential[row];
        let (mut nearest, mut least) = (FREE, f64::INFINITY);
        let columns = solver.row(row).iter().zip(&solver.column_potential);
        let known = self.distance.iter_mut().zip(&mut self.came_from);
        for (column, ((cost, potential), (distance, came_from))) in columns.zip(known).enumerate() {
            let by_row = base + (cost - potential);
            if by_row < *distance {
                (*distance, *came_from) = (by_row, row);
            }
            if *distance < least && *distance > f64::NEG_INFINITY {
                (nearest, least) = (column, *distance);
            }
        }
        nearest
    }
}
