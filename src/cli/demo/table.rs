//! Tables for a terminal.

/// Rows under a header; the first column is left-aligned, all others are right-aligned.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Indented lines, with a rule under the header.
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(
                    |(column, (cell, width))| {
                        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                    },
                )
                .collect();
            format!("   {}", cells.join("   ").trim_end())
        };
        let mut lines: Vec<String> = self.rows.iter().map(line).collect();
        let rule = widths.iter().sum::<usize>() + 3 * widths.len().saturating_sub(1);
        lines.insert(1.min(lines.len()), format!("   {}", "─".repeat(rule)));
        lines
    }
}

/// `0.1234` as `12.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["model", "AUC"]);
        table.row(vec!["GLOBAL".to_owned(), "0.70".to_owned()]);
        table.row(vec!["HYBRID ½".to_owned(), "0.7123".to_owned()]);
        let lines = table.lines();
        assert_eq!(lines[0], "   model         AUC");
        assert_eq!(lines[2], "   GLOBAL       0.70");
        assert_eq!(lines[3], "   HYBRID ½   0.7123");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.0567), "5.7 %");
    }
}
