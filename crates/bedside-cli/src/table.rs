//! Tables of text: aligned columns that read well without colour and paste well into a mail.

use std::fmt;

/// Side to which a column's cells are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a head. Cells beyond the head's columns are not shown.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; a title that starts with `>` makes its column right-aligned.
    pub(crate) fn new<'a>(titles: impl IntoIterator<Item = &'a str>) -> Self {
        let columns = titles
            .into_iter()
            .map(|title| match title.strip_prefix('>') {
                Some(title) => (title.to_owned(), Align::Right),
                None => (title.to_owned(), Align::Left),
            })
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Add a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
        let mut line = String::new();
        for (((_, align), width), cell) in self.columns.iter().zip(widths).zip(cells) {
            let cell = match align {
                Align::Left => format!("{cell:<width$}  "),
                Align::Right => format!("{cell:>width$}  "),
            };
            line.push_str(&cell);
        }
        writeln!(f, "{}", line.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|(title, _)| title.clone())
            .collect();
        let mut widths: Vec<usize> = titles.iter().map(|t| t.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        self.line(f, &titles, &widths)?;
        self.line(f, &rules, &widths)?;
        self.rows
            .iter()
            .try_for_each(|row| self.line(f, row, &widths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_without_blanks() {
        let mut table = Table::new(["object", ">area", "box"]);
        table.row(["polyp", "7", "é"]);
        table.row(["fetal head", "12345", ""]);
        assert_eq!(
            table.to_string(),
            "object       area  box\n\
             ----------  -----  ---\n\
             polyp           7  é\n\
             fetal head  12345\n"
        );
    }
}
