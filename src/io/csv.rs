//! Tables of numbers in text files: the one reader of parameters, positions, edges and spike trains. Promises that every number is
//! read as it stands, that every line has as many values as the first, and that a fault is shown with its line, column and remedy.
//! Knows nothing of what the columns mean, and guesses none.
//!
//! A table is separated by commas, semicolons or tabs: whichever its first line has, semicolons before tabs before commas, so that
//! `1,5;2` is refused as a number and not read as three. A first line without any number names the columns. Blank lines, and lines
//! that start with #, are passed over; so is the mark that some programs put before UTF-8.

use crate::error::{Error, Place, Result, nearest};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Columns under these names hold the ids of what the other columns are about.
pub(crate) const IDS: [&str; 4] = ["id", "ids", "neuron", "node_id"];

/// A file whose columns are known.
pub(crate) struct Table {
    path: PathBuf,
    separator: u8,
    /// Names of the columns, where the first line has them.
    header: Option<Vec<String>>,
    columns: usize,
    /// Bytes of the first line that is not blank nor a comment.
    first: Range<usize>,
}

/// Its lines one after another.
pub(crate) struct Rows<'t> {
    table: &'t Table,
    reader: csv::Reader<File>,
    record: csv::ByteRecord,
    header: bool,
}

/// A line.
pub(crate) struct Row<'r> {
    table: &'r Table,
    record: &'r csv::ByteRecord,
}

impl Table {
    /// Reads the first line.
    ///
    /// # Errors
    /// The file cannot be read, or holds nothing.
    pub fn open(path: &Path) -> Result<Table> {
        let broken = |e: std::io::Error| Error::File {
            path: path.into(),
            message: format!("cannot be read: {e}"),
            remedy: Some("check the path and the permissions".into()),
        };
        let mut reader = BufReader::new(File::open(path).map_err(broken)?);
        let (mut at, mut line) = (0, Vec::new());
        let (start, text) = loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(broken)?;
            let text = String::from_utf8_lossy(&line);
            let (mark, text) = text.strip_prefix('\u{feff}').map_or((0, &*text), |rest| (3, rest));
            if length == 0 || !(text.trim().is_empty() || text.trim_start().starts_with('#')) {
                break (at + mark, text.trim_end().to_string());
            }
            at += length;
        };
        let first = start..start + text.len();
        let separator = [b';', b'\t', b','].into_iter().find(|s| text.contains(*s as char)).unwrap_or(b',');
        let fields: Vec<&str> = text.split(separator as char).map(|f| f.trim().trim_matches('"').trim()).collect();
        let named = !text.is_empty() && fields.iter().all(|f| f.parse::<f64>().is_err());
        let header = named.then(|| fields.iter().map(|f| f.to_string()).collect());
        let table = Table { path: path.into(), separator, header, columns: fields.len(), first };
        if text.is_empty() {
            return Err(table.fault("there is nothing in this file", "write one line for each value, or for each edge or spike"));
        }
        Ok(table)
    }

    /// Names of the columns, where the first line has them.
    pub fn header(&self) -> Option<&[String]> {
        self.header.as_deref()
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The column of that name, in letters of any case.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.header()?.iter().position(|h| h.eq_ignore_ascii_case(name))
    }

    /// The column of ids, by its name.
    pub fn ids(&self) -> Option<usize> {
        IDS.iter().find_map(|name| self.find(name))
    }

    /// A refusal of the first line.
    pub fn fault(&self, message: impl Into<String>, remedy: impl Into<String>) -> Error {
        self.at(self.first.clone(), message, remedy)
    }

    /// The column of that name, which must be there.
    pub fn need(&self, name: &str, example: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            let names = self.header().unwrap_or(&[]).iter().map(String::as_str);
            let remedy = match nearest(name, names) {
                Some(near) => format!("did you mean `{near}`? The first line must name the columns, as in: {example}"),
                None => format!("the first line must name the columns, as in: {example}"),
            };
            self.fault(format!("there is no column `{name}`"), remedy)
        })
    }

    /// A refusal at a range of bytes; the text is read again only to show it.
    fn at(&self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Error {
        let text: Arc<str> = String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into();
        let clamp = |x: usize| (0..=x.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let span = clamp(span.start)..clamp(span.end);
        Error::at(Place { file: self.path.display().to_string(), text, span }, message, remedy)
    }

    /// All lines after the names.
    pub fn rows(&self) -> Result<Rows<'_>> {
        let reader = csv::ReaderBuilder::new()
            .delimiter(self.separator)
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .from_path(&self.path)
            .map_err(|e| Error::file(&self.path, e))?;
        Ok(Rows { table: self, reader, record: csv::ByteRecord::new(), header: self.header.is_some() })
    }

    /// The bytes of value `column` (None: of all) of the record that begins at `start`, after blank and comment lines before it.
    fn span(&self, start: usize, column: Option<usize>) -> Range<usize> {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let line = |at: usize| bytes[at..].split(|&b| b == b'\n').next().unwrap_or(&[]);
        let mut at = start.min(bytes.len());
        while at < bytes.len() && (line(at).trim_ascii().is_empty() || line(at).trim_ascii_start().starts_with(b"#")) {
            at += line(at).len() + 1;
        }
        let mut from = at.min(bytes.len());
        let whole = line(from);
        let Some(column) = column else { return from..from + whole.trim_ascii_end().len().max(1) };
        for (i, value) in whole.split(|b| *b == self.separator).enumerate() {
            if i == column {
                let lead = value.len() - value.trim_ascii_start().len();
                return from + lead..from + lead + value.trim_ascii().len().max(1);
            }
            from += value.len() + 1;
        }
        at..at + 1
    }
}

impl Rows<'_> {
    /// The next line; None at the end.
    ///
    /// # Errors
    /// A line that cannot be read, or has another number of values than the first.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        loop {
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(e) => {
                    let start = e.position().map_or(0, |p| p.byte() as usize);
                    let span = self.table.span(start, None);
                    return Err(self.table.at(span, "this line cannot be read as a table", "save the file as CSV"));
                }
            }
            let first = self.record.get(0).unwrap_or(&[]);
            if self.record.len() == 1 && first.is_empty() || first.starts_with(b"#") {
                continue;
            }
            if std::mem::take(&mut self.header) {
                continue;
            }
            break;
        }
        let row = Row { table: self.table, record: &self.record };
        if self.record.len() != self.table.columns {
            let (found, wanted) = (self.record.len(), self.table.columns);
            return Err(row.fault(
                None,
                format!("{found} values where {wanted} columns are"),
                "give every line one value a column",
            ));
        }
        Ok(Some(row))
    }
}

impl Row<'_> {
    fn text(&self, column: usize) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.record.get(column).unwrap_or(&[]))
    }

    /// A finite number; `what` names it in refusals.
    pub fn number(&self, column: usize, what: &str) -> Result<f64> {
        let text = self.text(column);
        let what = if what.is_empty() { String::new() } else { format!("{what} ") };
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(value) => Err(self.fault(Some(column), format!("{what}{value} is not a finite number"), "replace it")),
            Err(_) => {
                let remedy = match self.table.separator {
                    b',' => "write numbers as 1.5 or 2e-3, separated by commas, semicolons or tabs",
                    _ => "write numbers as 1.5 or 2e-3, with a point and not a comma",
                };
                Err(self.fault(Some(column), format!("{what}`{text}` is not a number"), remedy))
            }
        }
    }

    /// A whole number from 0 and below `end`; `what` names it in refusals.
    pub fn id(&self, column: usize, what: &str, end: u64) -> Result<u32> {
        let value = self.number(column, what)?;
        match value >= 0.0 && value.fract() == 0.0 && value < u32::MAX as f64 {
            false => {
                Err(self.fault(Some(column), format!("{what} {value} is not an id"), "ids are whole numbers and count from 0"))
            }
            true if value >= end as f64 => Err(self.fault(
                Some(column),
                format!("{what} {value} is out of range: there are {end}"),
                format!("ids are local to the population and count from 0 to {}", end.saturating_sub(1)),
            )),
            true => Ok(value as u32),
        }
    }

    /// A refusal of a value, or of the whole line.
    pub fn fault(&self, column: Option<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Error {
        let start = self.record.position().map_or(0, |p| p.byte() as usize);
        self.table.at(self.table.span(start, column), message, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<(Option<Vec<String>>, Vec<Vec<f64>>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let table = Table::open(&path)?;
        let (mut rows, mut found) = (table.rows()?, vec![]);
        while let Some(row) = rows.next()? {
            found.push((0..table.columns()).map(|c| row.number(c, "")).collect::<Result<_>>()?);
        }
        Ok((table.header().map(<[String]>::to_vec), found))
    }

    #[test]
    fn every_separator_and_what_is_passed_over() {
        let names = || Some(vec!["a".to_string(), "b".to_string()]);
        let numbers = vec![vec![1.0, 2.5], vec![-3.0, 4e2]];
        for s in [",", ";", "\t"] {
            let body = format!("1{s}2.5\n\n  \n# note{s}x\n  # indented\n -3 {s}\"4e2\"\r\n");
            assert_eq!(all(&format!("a{s}b\n{body}")).unwrap(), (names(), numbers.clone()), "{s:?}");
            assert_eq!(all(&format!("\u{feff}# first\n\n\"a\"{s} b \n{body}")).unwrap(), (names(), numbers.clone()), "{s:?}");
            assert_eq!(all(&body).unwrap(), (None, numbers.clone()), "{s:?}");
        }
        assert_eq!(all("\u{feff}7\n8").unwrap(), (None, vec![vec![7.0], vec![8.0]]));
        assert_eq!(all("I_e\n").unwrap(), (Some(vec!["I_e".to_string()]), vec![]));
    }

    #[test]
    fn faults_name_line_and_column() {
        for (text, said) in [
            ("1,2\n3\n", "t.csv:2:1: 1 values where 2 columns are"),
            ("1,2\n\n# c\n3,4,5\n", "t.csv:4:1: 3 values where 2 columns are"),
            ("1;2\n1,5;2\n", "t.csv:2:1: `1,5` is not a number"),
            ("1\n1 2\n", "t.csv:2:1: `1 2` is not a number"),
            ("a\tb\n1\tx\n", "t.csv:2:3: `x` is not a number"),
            ("1\n nan\n", "t.csv:2:2: NaN is not a finite number"),
            ("1\n-inf\n", "t.csv:2:1: -inf is not a finite number"),
            ("1\n1e999\n", "t.csv:2:1: inf is not a finite number"),
            ("", "t.csv:1:1: there is nothing in this file"),
            ("# only\n\n", "there is nothing in this file"),
        ] {
            let shown = all(text).expect_err(text).to_string();
            assert!(shown.contains(said), "{text:?}: {shown}, wanted {said}");
        }
        assert!(Table::open(Path::new("nowhere.csv")).is_err_and(|e| e.to_string().contains("nowhere.csv")));
    }

    proptest::proptest! {
        /// Any text is a table or a refusal.
        #[test]
        fn no_text_panics(text in "[0-9a-z,;\t\n\r\"#. \u{feff}é-]{0,60}") {
            let _ = all(&text);
        }
    }
}
