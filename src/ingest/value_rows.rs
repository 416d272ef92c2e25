//! The rows of each value of a column, in the order of the values' hashes: what Bloom filters and postings are made of.

use super::columns::Values;
use super::encode::Order;
use super::values::MISSING;
use crate::domain::column::MISSING_CODE;
use crate::sketch::hash_integer;

/// Rows (in the order in which they are written) grouped by value.
pub(super) struct ValueRows {
    /// A value's hash and where its rows end in `rows`, sorted by hash.
    values: Vec<(u64, u32)>,
    rows: Vec<u32>,
}

impl ValueRows {
    /// Of texts or integers; empty for other types.
    pub fn of(values: &Values, order: Order<'_>) -> Self {
        match values {
            Values::Text { codes, texts } => Self::by_code(codes, order, texts.len(), |code| texts.hash(code)),
            Values::Integer(values) => Self::by_hash(values, order),
            _ => Self { values: Vec::new(), rows: Vec::new() },
        }
    }

    /// Hashes of the values, sorted.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.values.iter().map(|(hash, _)| *hash)
    }

    /// How many rows have a value.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, std::slice::Iter<'_, u32>)> + '_ {
        let starts = std::iter::once(0).chain(self.values.iter().map(|(_, end)| *end));
        self.values
            .iter()
            .zip(starts)
            .map(|((hash, end), start)| (*hash, self.rows[start as usize..*end as usize].iter()))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a segment has far fewer rows than 2^32")]
    fn by_code(codes: &[u32], order: Order<'_>, distinct: usize, hash: impl Fn(u32) -> u64) -> Self {
        let mut ends = vec![0u32; distinct];
        codes.iter().filter(|code| **code != MISSING_CODE).for_each(|code| ends[*code as usize] += 1);
        let mut by_hash: Vec<(u64, u32)> =
            (0..).zip(&ends).filter(|(_, count)| **count > 0).map(|(code, _)| (hash(code), code)).collect();
        sort_by_hash(&mut by_hash);
        // From counts to the places where the next row of each code goes.
        let mut total = 0;
        for (_, code) in &by_hash {
            total += std::mem::replace(&mut ends[*code as usize], total);
        }
        let mut rows = vec![0; total as usize];
        for at in 0..order.rows {
            let code = codes[order.row(at)];
            if code != MISSING_CODE {
                let place = &mut ends[code as usize];
                rows[*place as usize] = at as u32;
                *place += 1;
            }
        }
        let values = by_hash.into_iter().map(|(hash, code)| (hash, ends[code as usize])).collect();
        Self { values, rows }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a segment has far fewer rows than 2^32")]
    fn by_hash(values: &[i64], order: Order<'_>) -> Self {
        let mut pairs: Vec<(u64, u32)> = Vec::with_capacity(order.rows);
        for at in 0..order.rows {
            let value = values[order.row(at)];
            if value != MISSING {
                pairs.push((hash_integer(value), at as u32));
            }
        }
        sort_by_hash(&mut pairs);
        let mut grouped: Vec<(u64, u32)> = Vec::new();
        for (end, (hash, _)) in (1..).zip(&pairs) {
            match grouped.last_mut() {
                Some(last) if last.0 == *hash => last.1 = end,
                _ => grouped.push((*hash, end)),
            }
        }
        Self { values: grouped, rows: pairs.into_iter().map(|(_, row)| row).collect() }
    }
}

/// Sorts by hash, then by the number beside it. Hashes are spread evenly: their upper bits put each pair nearly into its
/// place, and what is left to sort are a few neighbours.
fn sort_by_hash(pairs: &mut Vec<(u64, u32)>) {
    let bits = pairs.len().checked_ilog2().unwrap_or(0).saturating_sub(2);
    if bits < 6 {
        pairs.sort_unstable();
        return;
    }
    let bucket = |hash: u64| (hash >> (64 - bits)) as usize;
    let mut places = vec![0u32; (1 << bits) + 1];
    pairs.iter().for_each(|(hash, _)| places[bucket(*hash) + 1] += 1);
    for at in 1..places.len() {
        places[at] += places[at - 1];
    }
    let mut sorted = vec![(0u64, 0u32); pairs.len()];
    for pair in pairs.iter() {
        let place = &mut places[bucket(pair.0)];
        sorted[*place as usize] = *pair;
        *place += 1;
    }
    // Now each place is its bucket's end.
    let mut start = 0;
    for end in &places[..1 << bits] {
        sorted[start..*end as usize].sort_unstable();
        start = *end as usize;
    }
    *pairs = sorted;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::interner::Interner;

    #[test]
    fn every_value_has_its_rows_in_order() {
        let texts: Vec<Option<u64>> = (0..30_000u64).map(|row| (row % 11 != 0).then_some(row * row % 7_919)).collect();
        let mut known = Interner::default();
        let codes = texts.iter().map(|text| match text {
            None => MISSING_CODE,
            Some(text) => known.intern(text.to_string().as_bytes()),
        });
        let codes: Vec<u32> = codes.collect();
        let integers = texts.iter().map(|text| text.map_or(MISSING, |value| value as i64)).collect();
        let reversed: Vec<u32> = (0..30_000).rev().collect();
        for order in [None, Some(reversed.as_slice())] {
            let order = Order { rows: texts.len(), order };
            let text_values = Values::Text { codes: codes.clone(), texts: std::mem::take(&mut known) };
            let by_text = ValueRows::of(&text_values, order);
            let Values::Text { texts: back, .. } = text_values else { unreachable!() };
            known = back;
            let by_integer = ValueRows::of(&Values::Integer(Vec::clone(&integers)), order);
            let hash_of_text = |value: u64| crate::sketch::hash_text(value.to_string().as_bytes());
            for (found, hash) in
                [(&by_text, &hash_of_text as &dyn Fn(u64) -> u64), (&by_integer, &|v| hash_integer(v as i64))]
            {
                assert!(found.hashes().is_sorted_by(|a, b| a < b));
                let mut rows_of = std::collections::HashMap::<u64, Vec<u32>>::new();
                for at in 0..order.rows {
                    if let Some(value) = texts[order.row(at)] {
                        rows_of.entry(hash(value)).or_default().push(at as u32);
                    }
                }
                assert_eq!(found.len(), rows_of.values().map(Vec::len).sum::<usize>());
                assert_eq!(found.hashes().len(), rows_of.len());
                for (hash, rows) in found.iter() {
                    assert_eq!(rows.as_slice(), rows_of[&hash]);
                }
            }
        }
    }
}
