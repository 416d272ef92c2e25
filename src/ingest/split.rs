//! Rows of separated text → where their values are.
//!
//! Rows without quoted values are split many at a time, sixty-four bytes a step; a row with one by itself.

/// Separators that are detected.
pub(super) const SEPARATORS: [u8; 4] = [b',', b'\t', b';', b'|'];
/// Rows that the detection of the separator looks at.
const SAMPLE_ROWS: usize = 100;
/// Bytes that are looked at together.
const STEP: usize = 64;

/// Where a value is in the buffer, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the buffer holds at most a row of max_row_bytes and a chunk")]
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// How a quoted value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Quoted,
    /// Quoted, with doubled quotes inside.
    Escaped,
    /// Something other than a separator or the row's end follows the closing quote.
    Malformed,
}

/// The bytes that end values and rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub separator: u8,
    pub newline: u8,
}

/// What [`Dialect::scan_row`] found.
pub(super) enum Scan {
    /// The row ends before this position.
    Row { end: usize },
    /// The buffer ends within the row; inside quotes that opened at this position.
    More { quote: Option<usize> },
}

/// A line that [`Dialect::plain_rows`] came to the end of.
pub(super) enum Line {
    Blank,
    /// A row of this many bytes, its line end included.
    Row(usize),
}

impl Dialect {
    /// Splits rows from `start` on until `take` wants no more, or up to a row with a quoted value, of more than
    /// `max_row_bytes`, or without an end in the buffer. Gives where that row starts. `take` hears of each line after
    /// its values are in `spans`, and how many spans there are.
    pub fn plain_rows(
        self,
        buffer: &[u8],
        start: usize,
        max_row_bytes: usize,
        spans: &mut Vec<Span>,
        mut take: impl FnMut(Line, usize) -> bool,
    ) -> usize {
        let (mut row, mut value, mut first_span) = (start, start, spans.len());
        let mut base = start;
        while base < buffer.len() {
            let mut marks = match buffer[base..].first_chunk::<STEP>() {
                Some(bytes) => self.marks(bytes),
                None => {
                    let mut bytes = [0; STEP];
                    bytes[..buffer.len() - base].copy_from_slice(&buffer[base..]);
                    self.marks(&bytes)
                }
            };
            while marks != 0 {
                let at = base + marks.trailing_zeros() as usize;
                marks &= marks - 1;
                let byte = buffer[at];
                if byte == self.separator {
                    spans.push(Span::new(value, at));
                    value = at + 1;
                } else if byte == self.newline {
                    let end = if at > value && buffer[at - 1] == b'\r' { at - 1 } else { at };
                    let line = if end == row {
                        Line::Blank
                    } else if at + 1 - row > max_row_bytes {
                        spans.truncate(first_span);
                        return row;
                    } else {
                        spans.push(Span::new(value, end));
                        Line::Row(at + 1 - row)
                    };
                    (row, value) = (at + 1, at + 1);
                    let more = take(line, spans.len());
                    first_span = spans.len();
                    if !more {
                        return row;
                    }
                } else if at == value {
                    spans.truncate(first_span);
                    return row;
                }
            }
            base += STEP;
        }
        spans.truncate(first_span);
        row
    }

    /// One bit a byte that is a separator, a line end or a quote. Plain code that compilers turn into vector
    /// instructions.
    #[inline]
    fn marks(self, bytes: &[u8; STEP]) -> u64 {
        let mut hits = [0u8; STEP];
        for (hit, byte) in hits.iter_mut().zip(bytes) {
            *hit = u8::from((*byte == self.separator) | (*byte == self.newline) | (*byte == b'"'));
        }
        // The lowest bits of eight bytes, gathered in the highest byte of a product.
        let gather = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        hits.as_chunks::<8>().0.iter().rev().fold(0, |bits, eight| bits << 8 | gather(eight))
    }

    /// Splits the row that starts at `start`. `quoted` gets the positions (in `spans`) of quoted values.
    pub fn scan_row(
        self,
        buffer: &[u8],
        start: usize,
        ended: bool,
        spans: &mut Vec<Span>,
        quoted: &mut Vec<(usize, Shape)>,
    ) -> Scan {
        let Self { separator, newline } = self;
        quoted.clear();
        let mut at = start;
        loop {
            if buffer.get(at) == Some(&b'"') {
                let open = at;
                let mut shape = Shape::Quoted;
                at += 1;
                let close = loop {
                    let Some(quote) = memchr::memchr(b'"', &buffer[at..]) else {
                        return Scan::More { quote: Some(open) };
                    };
                    at += quote + 1;
                    match buffer.get(at) {
                        Some(b'"') => {
                            shape = Shape::Escaped;
                            at += 1;
                        }
                        None if !ended => return Scan::More { quote: Some(open) },
                        _ => break at - 1,
                    }
                };
                let mut span_end = close;
                let end = match buffer.get(at) {
                    None => None,
                    Some(byte) if *byte == separator || *byte == newline => Some(at),
                    Some(b'\r') if newline == b'\n' && buffer.get(at + 1) == Some(&b'\n') => Some(at + 1),
                    Some(b'\r') if newline == b'\n' && at + 1 == buffer.len() => {
                        if !ended {
                            return Scan::More { quote: None };
                        }
                        None
                    }
                    Some(_) => {
                        shape = Shape::Malformed;
                        let end = self.find_end(buffer, at);
                        span_end = end.unwrap_or(buffer.len());
                        end
                    }
                };
                quoted.push((spans.len(), shape));
                spans.push(Span::new(open + 1, span_end));
                match end {
                    Some(end) if buffer[end] == separator => at = end + 1,
                    Some(end) => return Scan::Row { end: end + 1 },
                    None if ended => return Scan::Row { end: buffer.len() },
                    None => return Scan::More { quote: None },
                }
            } else {
                let end = match self.find_end(buffer, at) {
                    Some(end) => end,
                    None if ended => buffer.len(),
                    None => return Scan::More { quote: None },
                };
                if buffer.get(end) == Some(&separator) {
                    spans.push(Span::new(at, end));
                    at = end + 1;
                } else {
                    let text_end = if end > at && buffer[end - 1] == b'\r' { end - 1 } else { end };
                    spans.push(Span::new(at, text_end));
                    return Scan::Row { end: (end + 1).min(buffer.len()) };
                }
            }
        }
    }

    /// The first separator or line end at or after `at`.
    #[inline]
    fn find_end(self, buffer: &[u8], mut at: usize) -> Option<usize> {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let (separators, newlines) = (ONES * u64::from(self.separator), ONES * u64::from(self.newline));
        // Eight bytes at a time: a byte that equals is zero after the exclusive or, and only the lowest flagged byte,
        // which is exact, is used.
        while let Some(word) = buffer.get(at..at + 8) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or([0; 8]));
            let (a, b) = (word ^ separators, word ^ newlines);
            let hit = ((a.wrapping_sub(ONES) & !a) | (b.wrapping_sub(ONES) & !b)) & HIGH;
            if hit != 0 {
                return Some(at + (hit.trailing_zeros() / 8) as usize);
            }
            at += 8;
        }
        buffer.get(at..)?.iter().position(|byte| *byte == self.separator || *byte == self.newline).map(|i| at + i)
    }
}

/// The separator by which most of the first rows have the same number (more than one) of values.
pub(super) fn detect_separator(sample: &[u8], newline: u8, filename: &str) -> u8 {
    let by_name = if filename.to_ascii_lowercase().contains(".tsv") { b'\t' } else { b',' };
    let mut best = (0.0, by_name);
    let (mut spans, mut quoted) = (Vec::new(), Vec::new());
    for separator in SEPARATORS {
        let dialect = Dialect { separator, newline };
        let mut widths = Vec::new();
        let mut at = 0;
        while at < sample.len() && widths.len() < SAMPLE_ROWS {
            spans.clear();
            match dialect.scan_row(sample, at, false, &mut spans, &mut quoted) {
                Scan::Row { end, .. } => {
                    widths.push(spans.len());
                    at = end;
                }
                Scan::More { .. } => {
                    if widths.is_empty() {
                        widths.push(spans.len() + 1);
                    }
                    break;
                }
            }
        }
        let width = widths.first().copied().unwrap_or(1);
        if width < 2 {
            continue;
        }
        let equal = widths.iter().filter(|w| **w == width).count() as f64 / widths.len() as f64;
        // Equal rows count most; more columns decide between separators that both fit.
        let points = equal + (width as f64).min(1_000.0) / 10_000.0 + if separator == by_name { 0.05 } else { 0.0 };
        if points > best.0 {
            best = (points, separator);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Splitting many rows at a time gives what splitting them one by one gives.
        #[test]
        fn plain_rows_are_split_as_single_rows_are(text in "[ab,;\"\r\n]{0,400}", ended in proptest::bool::ANY) {
            let dialect = Dialect { separator: b',', newline: b'\n' };
            let buffer = text.as_bytes();
            let (mut many, mut single, mut quoted) = (Vec::new(), Vec::new(), Vec::new());
            let end = dialect.plain_rows(buffer, 0, usize::MAX, &mut many, |_, _| true);
            let mut at = 0;
            while at < end {
                match &buffer[at..] {
                    [b'\n', ..] => at += 1,
                    [b'\r', b'\n', ..] => at += 2,
                    _ => match dialect.scan_row(buffer, at, ended, &mut single, &mut quoted) {
                        Scan::Row { end } => {
                            prop_assert!(quoted.is_empty());
                            at = end;
                        }
                        Scan::More { .. } => prop_assert!(false, "the row at {at} has no end"),
                    },
                }
            }
            prop_assert_eq!(at, end);
            prop_assert_eq!(many, single);
        }
    }
}
