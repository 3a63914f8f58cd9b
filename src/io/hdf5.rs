//! The only file that knows the HDF5 library: a store of groups, attributes, arrays and growing tables. Promises: a missing,
//! foreign, truncated or mistyped file becomes an error that names the file and what to do; between two flushes the file on disk
//! stays as the first left it, so that a run that is killed leaves a readable file. Knows nothing of what is stored.
//!
//! How the second promise is kept: the file has the oldest superblock (no mark that a writer had it open); metadata stays in the
//! library's cache until the flush (evictions off); tables are not compressed, so a chunk never moves; a growing table only ever
//! writes beyond the rows that the metadata on disk speaks of. What remains is the flush itself, about a millisecond of small
//! writes: a process killed within it can leave a column that cannot be read. Files that are being written may be read.

use crate::error::{Error, Result};
use hdf5::file::{CacheDecreaseMode, CacheIncreaseMode, FlashIncreaseMode, LibraryVersion, MetadataCacheConfig};
use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use std::io::{Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Values of a row that are stored together where its width is not known when the table is made.
const UNKNOWN_WIDTH: usize = 1 << 12;

const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// What can be an element of an array: fixed-size numbers (and [`Sorting`]).
pub(crate) trait Element: hdf5::H5Type + Copy + Default {}
impl<T: hdf5::H5Type + Copy + Default> Element for T {}

/// SONATA's enumeration of how spikes are sorted.
#[derive(hdf5::H5Type, Clone, Copy, Debug, Default, PartialEq)]
#[repr(u8)]
#[allow(non_camel_case_types, dead_code)]
pub(crate) enum Sorting {
    #[default]
    none = 0,
    by_id = 1,
    by_time = 2,
}

/// Error about a file with a remedy.
pub(crate) fn file_error(path: &Path, message: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::File { path: path.to_path_buf(), message: message.into(), remedy: Some(remedy.into()) }
}

/// What the library says, in its own innermost words.
fn cause(error: &hdf5::Error) -> String {
    error.stack().and_then(|s| s.last().map(|frame| frame.desc().to_string())).unwrap_or_else(|| error.to_string())
}

/// A write that failed; a full disk is said plainly.
fn write_error(path: &Path, error: &hdf5::Error) -> Error {
    let frames: Vec<String> = error.stack().map_or(vec![error.to_string()], |s| s.iter().map(|f| f.desc().to_string()).collect());
    let full = |errno: i32| frames.iter().any(|text| text.contains(&format!("errno = {errno},")));
    if full(libc::ENOSPC) || full(libc::EDQUOT) || full(libc::EFBIG) {
        let remedy = "free some space or choose another place with --out; what was written before the last flush can be read";
        return file_error(path, "the disk is full (or a size limit is reached)", remedy);
    }
    file_error(path, format!("cannot be written: {}", cause(error)), "check the disk and the permissions")
}

/// True when the file starts with (or has, after a user block) the HDF5 signature.
fn has_signature(path: &Path) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut at = 0u64;
    while at + 8 <= size {
        let mut bytes = [0u8; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        if bytes == SIGNATURE {
            return Ok(true);
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    Ok(false)
}

/// Opens an HDF5 file for reading.
///
/// # Errors
/// A missing, foreign, truncated or locked file, with a remedy.
fn open(path: &Path) -> Result<hdf5::File> {
    match has_signature(path) {
        Err(e) => return Err(file_error(path, format!("cannot be read: {e}"), "check the path and the permissions")),
        Ok(false) => return Err(file_error(path, "this is not an HDF5 file", "give a file that starts with the HDF5 signature")),
        Ok(true) => {}
    }
    let opened = hdf5::File::with_options().with_fapl(|access| access.file_locking(false)).open(path);
    opened.map_err(|e| {
        let text = cause(&e);
        let remedy = if text.contains("truncated") {
            "the file was cut off while it was copied or written: copy it again or make it anew"
        } else {
            "the file is damaged: copy it again or make it anew"
        };
        file_error(path, format!("cannot be opened as HDF5: {text}"), remedy)
    })
}

/// A named dataset of an open file, or an error that lists what there is beside it.
fn dataset(path: &Path, group: &hdf5::Group, name: &str) -> Result<hdf5::Dataset> {
    group.dataset(name).map_err(|_| {
        let mut there = Vec::new();
        list_datasets(group, "", &mut there, 0);
        let hint = match crate::error::nearest(name, there.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if there.is_empty() => "the file holds no dataset there".to_string(),
            None => format!("it has {}", there.iter().take(12).map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ")),
        };
        file_error(path, format!("has no dataset \"{name}\""), hint)
    })
}

/// Paths of the datasets below a group (a few levels, for messages).
fn list_datasets(group: &hdf5::Group, prefix: &str, into: &mut Vec<String>, depth: usize) {
    for name in group.member_names().unwrap_or_default() {
        if into.len() >= 64 {
            return;
        }
        let full = format!("{prefix}{name}");
        if let Ok(inner) = group.group(&name) {
            if depth < 4 {
                list_datasets(&inner, &format!("{full}/"), into, depth + 1);
            }
        } else if group.dataset(&name).is_ok() {
            into.push(full);
        }
    }
}

/// Reads a whole dataset, converted to `T`.
fn read_all<T: Element>(path: &Path, set: &hdf5::Dataset) -> Result<Vec<T>> {
    let damaged = |text: String| {
        let remedy = "the file is damaged or cut off: copy it again or make it anew";
        file_error(path, format!("dataset \"{}\" cannot be read: {text}", set.name()), remedy)
    };
    let n = set.space().map_err(|e| damaged(cause(&e)))?.size();
    let mut values: Vec<T> = Vec::new();
    values.try_reserve_exact(n).map_err(|_| damaged(format!("{n} values do not fit in memory")))?;
    values.resize(n, T::default());
    if n > 0 {
        set.as_reader().read_into_raw(&mut values).map_err(|e| damaged(cause(&e)))?;
    }
    Ok(values)
}

/// A text attribute of a dataset, of fixed or variable length; None where there is none.
fn text_attribute(path: &Path, set: &hdf5::Dataset, name: &str) -> Result<Option<String>> {
    let Ok(attribute) = set.attr(name) else { return Ok(None) };
    let text = match attribute.dtype().and_then(|t| t.to_descriptor()) {
        Ok(TypeDescriptor::VarLenUnicode) => attribute.read_scalar::<VarLenUnicode>().ok().map(|t| t.to_string()),
        Ok(TypeDescriptor::VarLenAscii) => attribute.read_scalar::<VarLenAscii>().ok().map(|t| t.to_string()),
        Ok(TypeDescriptor::FixedUnicode(_)) => attribute.read_scalar::<FixedUnicode<64>>().ok().map(|t| t.to_string()),
        Ok(TypeDescriptor::FixedAscii(_)) => attribute.read_scalar::<FixedAscii<64>>().ok().map(|t| t.to_string()),
        _ => None,
    };
    text.map(Some).ok_or_else(|| {
        let message = format!("the attribute \"{name}\" of dataset \"{}\" is not a text", set.name());
        file_error(path, message, "write it as one string, for instance \"ms\"")
    })
}

/// The same of quantities, in `unit`: where the dataset has an attribute `units`, as SONATA asks for, its numbers are in those.
///
/// # Errors
/// As [`read_column_f64`]; units that are not known, or measure something else.
pub fn read_quantity(path: impl AsRef<Path>, name: &str, unit: &str) -> Result<Vec<f64>> {
    let path = path.as_ref();
    let mut values = read_column_f64(path, name)?;
    let file = open(path)?;
    let written = text_attribute(path, &dataset(path, &file, name)?, "units")?.unwrap_or_default();
    if !written.trim().is_empty() {
        let factor = crate::units::factor(&written, unit).map_err(|(message, remedy)| {
            file_error(path, format!("the attribute \"units\" of dataset \"{name}\": {message}"), remedy)
        })?;
        values.iter_mut().for_each(|value| *value *= factor);
    }
    Ok(values)
}

/// A one-dimensional numeric dataset of any integer or float type, as f64.
///
/// # Errors
/// `path` is missing, foreign or truncated; there is no such dataset; it is not one-dimensional or not numeric.
pub fn read_column_f64(path: impl AsRef<Path>, name: &str) -> Result<Vec<f64>> {
    let path = path.as_ref();
    let file = open(path)?;
    let set = dataset(path, &file, name)?;
    let shape = set.shape();
    if shape.len() != 1 {
        let found = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let found = if shape.is_empty() { "one number".to_string() } else { found };
        return Err(file_error(
            path,
            format!("dataset \"{name}\" must be one-dimensional, it is {found}"),
            "store one column of numbers",
        ));
    }
    let numeric = set.dtype().and_then(|t| t.to_descriptor());
    if !matches!(numeric, Ok(TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) | TypeDescriptor::Float(_))) {
        let found = numeric.map_or("of a type unknown here".to_string(), |t| format!("{t}"));
        return Err(file_error(
            path,
            format!("dataset \"{name}\" is not numeric, it is {found}"),
            "store integers or floating-point numbers",
        ));
    }
    read_all(path, &set)
}

/// An open file.
pub(crate) struct Store {
    file: hdf5::File,
    path: PathBuf,
    /// Keeps other writers off.
    _claim: Option<std::fs::File>,
}

/// Claims a file for writing until the handle is dropped: fails while another process does so. The claim is a shared lock that was
/// once exclusive, because readers of HDF5 files ask for a shared lock and shall get it. Where locks are unknown there is none.
#[cfg(unix)]
fn claim(path: &Path) -> Result<Option<std::fs::File>> {
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            let remedy = "wait for the program that has it open, or choose another --out";
            Err(file_error(path, "another program is using the file", remedy))
        }
        Err(_) => Ok(None),
        Ok(()) => Ok(file.unlock().and_then(|()| file.lock_shared()).is_ok().then_some(file)),
    }
}
#[cfg(not(unix))]
fn claim(_: &Path) -> Result<Option<std::fs::File>> {
    Ok(None)
}

/// How a file that will be written is opened.
fn writer() -> hdf5::FileBuilder {
    let mut builder = hdf5::File::with_options();
    builder.with_fapl(|access| {
        access
            .libver_bounds(LibraryVersion::Earliest, LibraryVersion::latest())
            .mdc_config(&MetadataCacheConfig {
                evictions_enabled: false,
                incr_mode: CacheIncreaseMode::Off,
                flash_incr_mode: FlashIncreaseMode::Off,
                decr_mode: CacheDecreaseMode::Off,
                ..Default::default()
            })
            // Whole chunks are buffered by the caller: the library need not keep them too.
            .chunk_cache(1, 0, 1.0)
            // The library's own lock would keep readers off, and would outlive us in a child process.
            .file_locking(false)
    });
    builder
}

impl Store {
    /// A new file; an error when there is one already.
    pub fn create(path: &Path) -> Result<Self> {
        let file = writer().create_excl(path).map_err(|e| match path.exists() {
            true => file_error(path, "exists already", "give --force to replace it, or another --out"),
            false => write_error(path, &e),
        })?;
        Ok(Store { file, path: path.to_path_buf(), _claim: claim(path)? })
    }

    /// A new file that is written in one go and of no use before it is closed.
    pub fn create_scratch(path: &Path) -> Result<Self> {
        let file = hdf5::File::with_options().with_fapl(|access| access.file_locking(false)).create_excl(path);
        Ok(Store { file: file.map_err(|e| write_error(path, &e))?, path: path.to_path_buf(), _claim: None })
    }

    /// An existing file, to read.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Store { file: open(path)?, path: path.to_path_buf(), _claim: None })
    }

    /// An existing file, to read and write.
    pub fn open_to_write(path: &Path) -> Result<Self> {
        drop(open(path)?);
        let claim = claim(path)?;
        let file = writer().open_rw(path).map_err(|e| write_error(path, &e))?;
        Ok(Store { file, path: path.to_path_buf(), _claim: claim })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file has another name now.
    pub fn renamed(&mut self, to: &Path) {
        self.path = to.to_path_buf();
    }

    /// Everything written so far can be read from now on, whatever becomes of this process.
    pub fn flush(&self) -> Result<()> {
        self.file.flush().map_err(|e| write_error(&self.path, &e))
    }

    /// Flushes and closes.
    pub fn close(self) -> Result<()> {
        self.flush()?;
        self.file.close().map_err(|e| write_error(&self.path, &e))
    }

    /// Names in a group, sorted; empty when there is no such group.
    pub fn members(&self, group: &str) -> Vec<String> {
        self.file.group(group).and_then(|g| g.member_names()).unwrap_or_default()
    }

    pub fn has(&self, object: &str) -> bool {
        object
            .split('/')
            .filter(|s| !s.is_empty())
            .try_fold(String::new(), |upto, name| {
                let full = format!("{upto}/{name}");
                self.file.link_exists(&full).then_some(full)
            })
            .is_some()
    }

    /// Makes a group and those above it, where absent.
    pub fn group(&self, name: &str) -> Result<()> {
        let mut upto = String::new();
        for part in name.split('/').filter(|s| !s.is_empty()) {
            upto = format!("{upto}/{part}");
            if !self.file.link_exists(&upto) {
                self.file.create_group(&upto).map_err(|e| write_error(&self.path, &e))?;
            }
        }
        Ok(())
    }

    fn parent(&self, object: &str) -> Result<()> {
        object.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.group(parent))
    }

    /// A second name in the same group for a dataset.
    pub fn alias(&self, object: &str, alias: &str) -> Result<()> {
        self.file.link_hard(object, alias).map_err(|e| write_error(&self.path, &e))
    }

    /// The error for something this file should hold.
    pub fn foreign(&self, message: impl Into<String>) -> Error {
        file_error(&self.path, message, "give a file that sharpwave wrote, whole and unchanged")
    }

    fn location(&self, object: &str) -> Result<hdf5::Location> {
        let group = self.file.group(object).map(|g| (*g).clone());
        group
            .or_else(|_| self.file.dataset(object).map(|d| (**d).clone()))
            .map_err(|_| self.foreign(format!("has no \"{object}\"")))
    }

    /// Writes a number (or flag, or enumeration) as an attribute, replacing an earlier one of the same type.
    pub fn set<T: Element>(&self, object: &str, name: &str, value: T) -> Result<()> {
        let at = self.location(object)?;
        let attribute = at.attr(name).or_else(|_| at.new_attr::<T>().create(name));
        attribute.and_then(|a| a.write_scalar(&value)).map_err(|e| write_error(&self.path, &e))
    }

    pub fn set_text(&self, object: &str, name: &str, text: &str) -> Result<()> {
        let at = self.location(object)?;
        let attribute = at.attr(name).or_else(|_| at.new_attr::<VarLenUnicode>().create(name));
        attribute.and_then(|a| a.write_scalar(&unicode(text))).map_err(|e| write_error(&self.path, &e))
    }

    pub fn get<T: Element>(&self, object: &str, name: &str) -> Result<T> {
        let value = self.location(object)?.attr(name).and_then(|a| a.read_scalar::<T>());
        value.map_err(|_| self.foreign(format!("\"{object}\" has no usable attribute \"{name}\"")))
    }

    pub fn get_text(&self, object: &str, name: &str) -> Result<String> {
        let value = self.location(object)?.attr(name).and_then(|a| a.read_scalar::<VarLenUnicode>());
        value.map(|v| v.to_string()).map_err(|_| self.foreign(format!("\"{object}\" has no attribute \"{name}\" that is text")))
    }

    /// A dataset that is one text.
    pub fn write_text(&self, object: &str, text: &str) -> Result<()> {
        self.parent(object)?;
        let made = self.file.new_dataset::<VarLenUnicode>().create(object);
        made.and_then(|d| d.write_scalar(&unicode(text))).map_err(|e| write_error(&self.path, &e))
    }

    pub fn read_text(&self, object: &str) -> Result<String> {
        let text = dataset(&self.path, &self.file, object)?.read_scalar::<VarLenUnicode>();
        text.map(|v| v.to_string()).map_err(|_| self.foreign(format!("\"{object}\" is not text")))
    }

    /// A dataset of fixed size, one column.
    pub fn write<T: Element>(&self, object: &str, values: &[T]) -> Result<()> {
        self.parent(object)?;
        let made = match values {
            [] => self.file.new_dataset::<T>().shape(0).create(object),
            _ => self.file.new_dataset_builder().with_data(values).create(object),
        };
        made.map(|_| ()).map_err(|e| write_error(&self.path, &e))
    }

    /// A dataset of fixed size and any shape, row-major.
    pub fn write_shaped<T: Element>(&self, object: &str, shape: &[usize], values: &[T]) -> Result<()> {
        self.parent(object)?;
        let made = self.file.new_dataset::<T>().shape(shape).create(object);
        made.and_then(|d| if values.is_empty() { Ok(()) } else { d.write_raw(values) }).map_err(|e| write_error(&self.path, &e))
    }

    /// Lengths of a dataset's dimensions.
    pub fn shape(&self, object: &str) -> Result<Vec<usize>> {
        Ok(dataset(&self.path, &self.file, object)?.shape())
    }

    /// True for a dataset of just this type of elements.
    pub fn holds<T: Element>(&self, object: &str) -> bool {
        let found = self.file.dataset(object).and_then(|d| d.dtype()).and_then(|t| t.to_descriptor());
        found.is_ok_and(|found| found == T::type_descriptor())
    }

    /// Replaces the values of a dataset of fixed size.
    pub fn rewrite<T: Element>(&self, object: &str, values: &[T]) -> Result<()> {
        let set = dataset(&self.path, &self.file, object)?;
        set.write_raw(values).map_err(|e| write_error(&self.path, &e))
    }

    pub fn read<T: Element>(&self, object: &str) -> Result<Vec<T>> {
        read_all(&self.path, &dataset(&self.path, &self.file, object)?)
    }

    /// A new growing table of rows of `width` values (`None`: a plain column; 0: not known yet), stored in chunks of about `chunk`
    /// rows.
    pub fn table<T: Element>(&self, object: &str, width: Option<usize>, chunk: usize) -> Result<Table<T>> {
        self.parent(object)?;
        let builder = self.file.new_dataset::<T>().fill_time(hdf5::plist::dataset_create::FillTime::Never);
        let made = match width {
            None => builder.chunk(chunk).shape(hdf5::SimpleExtents::resizable([0])).create(object),
            Some(n) => {
                let columns = if n == 0 { UNKNOWN_WIDTH } else { n.min(1 << 16) };
                builder.chunk((chunk, columns)).shape(hdf5::SimpleExtents::resizable([0, n])).create(object)
            }
        };
        let set = made.map_err(|e| write_error(&self.path, &e))?;
        Ok(Table { set, path: self.path.clone(), rows: 0, kept: 0, width, of: PhantomData })
    }

    /// A table as it stands in the file.
    pub fn open_table<T: Element>(&self, object: &str) -> Result<Table<T>> {
        let set = dataset(&self.path, &self.file, object)?;
        let (rows, width) = match set.shape()[..] {
            [rows] => (rows, None),
            [rows, width] => (rows, Some(width)),
            _ => return Err(self.foreign(format!("\"{object}\" is not a table"))),
        };
        if set.dtype().ok().and_then(|t| t.conv_to::<T>()).is_none() {
            return Err(self.foreign(format!("\"{object}\" does not hold numbers")));
        }
        Ok(Table { set, path: self.path.clone(), rows, kept: rows, width, of: PhantomData })
    }
}

/// Text as the library takes it: without NUL.
fn unicode(text: &str) -> VarLenUnicode {
    text.replace('\0', "").parse().unwrap_or_default()
}

/// A dataset that grows by rows.
pub(crate) struct Table<T> {
    set: hdf5::Dataset,
    path: PathBuf,
    rows: usize,
    /// Rows at the last [`Table::keep`].
    kept: usize,
    width: Option<usize>,
    of: PhantomData<T>,
}

impl<T: Element> Table<T> {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width.unwrap_or(1)
    }

    /// Sets the width of a table that has no rows yet.
    pub fn set_width(&mut self, width: usize) -> Result<()> {
        self.width = Some(width);
        self.resize(self.rows)
    }

    /// Appends whole rows.
    pub fn append(&mut self, values: &[T]) -> Result<()> {
        let more = values.len() / self.width().max(1);
        if more == 0 {
            return Ok(());
        }
        let (from, to) = (self.rows, self.rows + more);
        self.resize(to)?;
        let written = match self.width {
            None => self.set.write_slice(values, from..to),
            Some(width) => match ndarray::ArrayView2::from_shape((more, width), &values[..more * width]) {
                Ok(view) => self.set.write_slice(view, (from..to, ..)),
                Err(e) => Err(hdf5::Error::from(e.to_string())),
            },
        };
        written.map_err(|e| write_error(&self.path, &e))
    }

    /// Notes that the rows so far were flushed.
    pub fn keep(&mut self) {
        self.kept = self.rows;
    }

    /// Drops what came after the last [`Table::keep`]; for after a failed write.
    pub fn take_back(&mut self) {
        let _ = self.resize(self.kept);
    }

    /// Keeps the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) -> Result<()> {
        self.resize(rows.min(self.rows))
    }

    fn resize(&mut self, rows: usize) -> Result<()> {
        let resized = match self.width {
            None => self.set.resize(rows),
            Some(width) => self.set.resize((rows, width)),
        };
        resized.map_err(|e| write_error(&self.path, &e))?;
        self.rows = rows;
        Ok(())
    }

    /// Values of some rows, converted to `T`.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<T>> {
        let rows = rows.start.min(self.rows)..rows.end.min(self.rows);
        if rows.is_empty() || self.width() == 0 {
            return Ok(Vec::new());
        }
        let values = match self.width {
            None => self.set.read_slice_1d::<T, _>(rows).map(|a| a.into_raw_vec_and_offset().0),
            Some(_) => self.set.read_slice_2d::<T, _>((rows, ..)).map(|a| a.into_raw_vec_and_offset().0),
        };
        values.map_err(|e| {
            let message = format!("dataset \"{}\" cannot be read: {}", self.set.name(), cause(&e));
            file_error(&self.path, message, "the file is damaged or cut off: copy it again or make it anew")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: Error) -> String {
        format!("{error} | {}", error.remedy().unwrap_or("no remedy"))
    }

    #[test]
    fn columns_of_every_numeric_type_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let file = hdf5::File::create(&path).unwrap();
        file.new_dataset_builder().with_data(&[1u8, 2, 255]).create("u8").unwrap();
        file.new_dataset_builder().with_data(&[-1i64, 1 << 40]).create("i64").unwrap();
        file.new_dataset_builder().with_data(&[0.5f32, -2.25]).create("f32").unwrap();
        file.create_group("g").unwrap().new_dataset_builder().with_data(&[1e-300f64]).create("f64").unwrap();
        file.new_dataset::<f64>().shape(0).create("none").unwrap();
        file.close().unwrap();
        assert_eq!(read_column_f64(&path, "u8").unwrap(), [1.0, 2.0, 255.0]);
        assert_eq!(read_column_f64(&path, "i64").unwrap(), [-1.0, (1u64 << 40) as f64]);
        assert_eq!(read_column_f64(&path, "f32").unwrap(), [0.5, -2.25]);
        assert_eq!(read_column_f64(&path, "/g/f64").unwrap(), [1e-300]);
        assert_eq!(read_column_f64(&path, "none").unwrap(), [] as [f64; 0]);
    }

    /// Units as different programs write them: of fixed and variable length, ASCII and UTF-8.
    #[test]
    fn units_are_honoured_or_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let file = hdf5::File::create(&path).unwrap();
        let set = |name: &str| file.new_dataset_builder().with_data(&[5.0f64, 7.25]).create(name).unwrap();
        set("plain");
        let text = |name: &str, units: &str| {
            let units: VarLenUnicode = units.parse().unwrap();
            set(name).new_attr::<VarLenUnicode>().create("units").unwrap().write_scalar(&units).unwrap();
        };
        [("s", "s"), ("us", "us"), ("long", "milliseconds"), ("fortnight", "fortnight"), ("volt", "mV"), ("empty", " ")]
            .iter()
            .for_each(|(name, units)| text(name, units));
        let ascii = VarLenAscii::from_ascii("s").unwrap();
        set("ascii").new_attr::<VarLenAscii>().create("units").unwrap().write_scalar(&ascii).unwrap();
        let fixed = FixedAscii::<1>::from_ascii("s").unwrap();
        set("fixed").new_attr::<FixedAscii<1>>().create("units").unwrap().write_scalar(&fixed).unwrap();
        let fixed: FixedUnicode<12> = "s".parse().unwrap();
        set("unicode").new_attr::<FixedUnicode<12>>().create("units").unwrap().write_scalar(&fixed).unwrap();
        set("number").new_attr::<f64>().create("units").unwrap().write_scalar(&3.0).unwrap();
        file.close().unwrap();
        for (name, factor) in [("plain", 1.0), ("empty", 1.0), ("long", 1.0), ("us", 1e-3), ("s", 1e3), ("ascii", 1e3)] {
            assert_eq!(read_quantity(&path, name, "ms").unwrap(), [5.0 * factor, 7.25 * factor], "{name}");
        }
        for name in ["fixed", "unicode"] {
            assert_eq!(read_quantity(&path, name, "ms").unwrap(), [5000.0, 7250.0], "{name}");
        }
        for (name, part) in [("fortnight", "unknown unit `fortnight`"), ("volt", "a voltage (`mV`)"), ("number", "is not a text")]
        {
            let error = message(read_quantity(&path, name, "ms").unwrap_err());
            assert!(error.contains("a.h5") && error.contains(part) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn wrong_files_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        assert!(message(read_column_f64(&path, "x").unwrap_err()).contains("cannot be read"));
        std::fs::write(&path, "time,source\n1,2\n").unwrap();
        assert!(message(read_column_f64(&path, "x").unwrap_err()).contains("not an HDF5 file"));
        std::fs::write(&path, "").unwrap();
        assert!(message(read_column_f64(&path, "x").unwrap_err()).contains("not an HDF5 file"));
        assert!(read_column_f64(dir.path(), "x").is_err());

        let file = hdf5::File::create(&path).unwrap();
        file.new_dataset_builder().with_data(&vec![1.5f64; 4000]).create("weights").unwrap();
        let text: hdf5::types::FixedUnicode<8> = "no".parse().unwrap();
        file.new_dataset_builder().with_data(&[text]).create("text").unwrap();
        file.new_dataset::<f64>().shape((2, 3)).create("matrix").unwrap();
        file.close().unwrap();
        let near = message(read_column_f64(&path, "weigths").unwrap_err());
        assert!(near.contains("did you mean \"weights\""), "{near}");
        assert!(message(read_column_f64(&path, "text").unwrap_err()).contains("not numeric"));
        assert!(message(read_column_f64(&path, "matrix").unwrap_err()).contains("2 x 3"));

        let whole = std::fs::read(&path).unwrap();
        for keep in [9, 100, 600, 2000, whole.len() - 1] {
            std::fs::write(&path, &whole[..keep]).unwrap();
            let error = message(read_column_f64(&path, "weights").unwrap_err());
            assert!(error.contains("cut off") || error.contains("damaged"), "{keep}: {error}");
        }
    }
}
