//! The assignment of interactions to agents that maximises the total score.
//!
//! Shortest augmenting paths with potentials (Jonker & Volgenant, Computing 38, 1987; the rectangular form follows
//! Crouse, IEEE Transactions on Aerospace and Electronic Systems 52, 2016): exact, O(n² m) for n ≤ m.

/// For each row the column that it is given, or none; each column is used at most once.
/// `scores` is row-major; `None` is a pair that must not be made. As many pairs as possible are made, and among those
/// choices the one with the greatest total. Scores must be finite.
pub fn maximize(scores: &[Option<f64>], rows: usize, columns: usize) -> Vec<Option<usize>> {
    assert_eq!(scores.len(), rows * columns, "one score a pair");
    if rows == 0 || columns == 0 {
        return vec![None; rows];
    }
    // A forbidden pair costs more than any number of allowed ones can gain, so it is used only when unavoidable.
    let (low, high) = scores
        .iter()
        .flatten()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), score| (low.min(*score), high.max(*score)));
    if low > high {
        return vec![None; rows];
    }
    let forbidden = (high - low + 1.0) * (rows.min(columns) as f64 + 1.0);
    let cost = |row: usize, column: usize| scores[row * columns + column].map_or(forbidden, |score| high - score);
    let assigned = if rows <= columns {
        minimize(rows, columns, cost)
    } else {
        let by_column = minimize(columns, rows, |column, row| cost(row, column));
        let mut by_row = vec![usize::MAX; rows];
        for (column, row) in by_column.into_iter().enumerate() {
            by_row[row] = column;
        }
        by_row
    };
    assigned
        .into_iter()
        .enumerate()
        .map(|(row, column)| (column < columns && scores[row * columns + column].is_some()).then_some(column))
        .collect()
}

/// The column of each row, `rows <= columns`, at the least total cost.
fn minimize(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    const FREE: usize = usize::MAX;
    let mut row_potential = vec![0.0; rows];
    // One more column than there are: the place where each new row starts.
    let mut column_potential = vec![0.0; columns + 1];
    let mut row_of = vec![FREE; columns + 1];
    for row in 0..rows {
        row_of[columns] = row;
        let mut reached = columns;
        let mut distance = vec![f64::INFINITY; columns];
        let mut came_from = vec![columns; columns];
        let mut done = vec![false; columns + 1];
        while row_of[reached] != FREE {
            done[reached] = true;
            let from = row_of[reached];
            let (mut nearest, mut step) = (columns, f64::INFINITY);
            for column in (0..columns).filter(|column| !done[*column]) {
                let reduced = cost(from, column) - row_potential[from] - column_potential[column];
                if reduced < distance[column] {
                    distance[column] = reduced;
                    came_from[column] = reached;
                }
                if distance[column] < step {
                    (nearest, step) = (column, distance[column]);
                }
            }
            for column in 0..=columns {
                if done[column] {
                    row_potential[row_of[column]] += step;
                    column_potential[column] -= step;
                } else {
                    distance[column] -= step;
                }
            }
            reached = nearest;
        }
        while reached != columns {
            let before = came_from[reached];
            row_of[reached] = row_of[before];
            reached = before;
        }
    }
    let mut assigned = vec![FREE; rows];
    for (column, row) in row_of.iter().take(columns).enumerate().filter(|(_, row)| **row != FREE) {
        assigned[*row] = column;
    }
    assigned
}
