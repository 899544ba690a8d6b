//! Documents of a column of a Parquet file.
//!
//! Row group by row group and page by page: what is held is a page, and a few hundred rows of it.

use super::{Counts, Next, Reading, utf8};
use crate::Error;
use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows decoded at a time.
const ROWS: usize = 64;

/// A column that is read from its first row to its last.
pub(super) struct Column {
    path: PathBuf,
    file: SerializedFileReader<File>,
    /// Its place in the schema.
    column: usize,
    /// The definition level of a row that has a value.
    level: i16,
    group: usize,
    /// The next row of the group.
    row: u64,
    reader: Option<ColumnReader>,
    rows: VecDeque<Option<ByteArray>>,
    skip_bad: bool,
    lossy: bool,
    done: Arc<AtomicU64>,
    /// Bytes of the file that row groups have not accounted for.
    left: u64,
}

impl Column {
    pub fn open(path: &Path, reading: &Reading, done: &Arc<AtomicU64>) -> Result<Self, Error> {
        let wrong = |place: &str, reason: String| Error::Parquet {
            path: path.to_owned(),
            place: place.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(Error::file(path))?;
        let bytes = file.metadata().map_err(Error::file(path))?.len();
        let file = guarded(|| SerializedFileReader::new(file))
            .map_err(|reason| wrong("the footer", reason))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let columns = schema.columns();
        let names = || columns.iter().map(|c| c.path().string()).collect::<Vec<_>>();
        let place = columns.iter().position(|column| column.path().string() == reading.field);
        let column = place.ok_or_else(|| {
            let names = shortened(&names());
            wrong("the schema", format!("no column `{}` (--field): it has {names}", reading.field))
        })?;
        let description = &columns[column];
        suits(description).map_err(|reason| wrong("the schema", reason))?;
        Ok(Self {
            path: path.to_owned(),
            level: description.max_def_level(),
            file,
            column,
            group: 0,
            row: 0,
            reader: None,
            rows: VecDeque::new(),
            skip_bad: reading.skip_bad,
            lossy: reading.lossy,
            done: Arc::clone(done),
            left: bytes,
        })
    }

    pub fn next(&mut self, counts: &mut Counts) -> Next {
        loop {
            if let Some(row) = self.rows.pop_front() {
                self.row += 1;
                let Some(bytes) = row else {
                    counts.empty += 1;
                    continue;
                };
                match utf8(&self.path, bytes.data(), 0, self.lossy, counts) {
                    Err(_) if self.skip_bad => counts.bad += 1,
                    Err(Error::NotUtf8 { position, .. }) => {
                        let reason =
                            format!("not UTF-8 text: byte {position} of the value is wrong");
                        return Some(Err(self.wrong(self.row, reason)));
                    }
                    text => return Some(text),
                }
                continue;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(reason) => return Some(Err(self.wrong(self.row + 1, reason))),
            }
        }
    }

    /// Decodes some rows; whether there are any more.
    fn fill(&mut self) -> Result<bool, String> {
        let groups = self.file.num_row_groups();
        if self.group == groups {
            self.done.fetch_add(std::mem::take(&mut self.left), Ordering::Relaxed);
            return Ok(false);
        }
        let metadata = self.file.metadata().row_group(self.group);
        let rows_in_group = u64::try_from(metadata.num_rows()).unwrap_or_default();
        if self.reader.is_none() {
            self.row = 0;
            let reader =
                guarded(|| self.file.get_row_group(self.group)?.get_column_reader(self.column))?;
            self.reader = Some(reader);
        }
        let Some(ColumnReader::ByteArrayColumnReader(reader)) = &mut self.reader else {
            return Err("the column does not hold text".to_owned());
        };
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let wanted = (self.level > 0).then_some(&mut levels);
        let (rows, ..) = guarded(|| reader.read_records(ROWS, wanted, None, &mut values))?;
        if rows == 0 {
            if self.row != rows_in_group {
                return Err(format!(
                    "the row group ends here, and should have {rows_in_group} rows"
                ));
            }
            let share = u64::try_from(metadata.compressed_size()).unwrap_or_default();
            let share = share.min(self.left);
            self.left -= share;
            self.done.fetch_add(share, Ordering::Relaxed);
            self.reader = None;
            self.group += 1;
            return Ok(true);
        }
        let mut values = values.into_iter();
        let mut row = |present: bool| match present {
            true => values.next().map(Some).ok_or("a value is missing"),
            false => Ok(None),
        };
        for index in 0..rows {
            let present = self.level == 0 || levels.get(index) == Some(&self.level);
            self.rows.push_back(row(present)?);
        }
        Ok(true)
    }

    fn wrong(&self, row: u64, reason: String) -> Error {
        let place = format!("row group {}, row {row}", self.group + 1);
        Error::Parquet { path: self.path.clone(), place, reason }
    }
}

fn suits(column: &ColumnDescriptor) -> Result<(), String> {
    let name = column.path().string();
    if column.max_rep_level() > 0 {
        return Err(format!("column `{name}` holds lists; one text in a row is expected"));
    }
    match column.physical_type() {
        Type::BYTE_ARRAY => Ok(()),
        other => Err(format!("column `{name}` holds {other}; text (BYTE_ARRAY) is expected")),
    }
}

/// Names for people, not all of them if there are many.
fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(20);
    let list: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    match more {
        0 => list.join(", "),
        _ => format!("{} and {more} more", list.join(", ")),
    }
}

/// Calls the library, which panics at some damaged files where it should fail.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("damaged: {}", text.unwrap_or("it cannot be decoded")))
        }
    }
}
