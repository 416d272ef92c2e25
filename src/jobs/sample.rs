//! Which rows stay when all of them do not fit into memory: that depends on a seed and on each row's place alone, so
//! the same data, seed and limit give the same rows.

/// A sample that shrinks while rows come.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    seed: u64,
    /// Rows whose number is below it are in.
    below: u64,
    /// The numbers of the rows that are in, in the order of the rows.
    numbers: Vec<u64>,
    /// Rows that have come.
    seen: u64,
}

impl Sample {
    /// Every row, so far.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, below: u64::MAX, numbers: Vec::new(), seen: 0 }
    }

    pub(super) fn rows(&self) -> u64 {
        self.numbers.len() as u64
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Which of the next rows are in.
    pub(super) fn admit(&mut self, rows: usize) -> Vec<bool> {
        let flags = (0..rows as u64).map(|row| {
            let number = scrambled(self.seed, self.seen + row);
            let is_in = number < self.below;
            if is_in {
                self.numbers.push(number);
            }
            is_in
        });
        let flags = flags.collect();
        self.seen += rows as u64;
        flags
    }

    /// Lets about a quarter of the rows go; which of those that were in stay.
    pub(super) fn shrink(&mut self) -> Vec<bool> {
        self.below -= self.below / 4;
        let flags: Vec<bool> = self.numbers.iter().map(|number| *number < self.below).collect();
        self.numbers.retain(|number| *number < self.below);
        flags
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): evenly spread, and the same everywhere.
fn scrambled(seed: u64, row: u64) -> u64 {
    let mut bits = seed.wrapping_add(row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rows_stay_however_they_come() {
        let kept = |pieces: &[usize]| {
            let mut sample = Sample::new(7);
            let mut rows: Vec<usize> = Vec::new();
            let mut next = 0;
            for piece in pieces {
                let flags = sample.admit(*piece);
                rows.extend((next..next + piece).zip(flags).filter(|(_, is_in)| *is_in).map(|(row, _)| row));
                next += piece;
                while sample.rows() > 1_000 {
                    let flags = sample.shrink();
                    rows = rows.into_iter().zip(flags).filter(|(_, stays)| *stays).map(|(row, _)| row).collect();
                }
            }
            assert_eq!((rows.len() as u64, sample.seen()), (sample.rows(), 10_000));
            rows
        };
        let rows = kept(&[10_000]);
        assert_eq!(rows, kept(&[1, 9_000, 999]));
        assert!((700..=1_000).contains(&rows.len()), "{}", rows.len());
        // From everywhere, not from one end.
        let early = rows.iter().filter(|row| **row < 5_000).count();
        assert!((rows.len() * 2 / 5..rows.len() * 3 / 5).contains(&early), "{early} of {}", rows.len());
    }
}
