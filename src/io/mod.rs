//! Formats and services of the outside world that know nothing of what sharpwave does with them. Promises faults with file, line and remedy.

pub(crate) mod csv;
#[cfg(feature = "hdf5")]
pub mod hdf5;
#[cfg(not(feature = "hdf5"))]
#[path = "no_hdf5.rs"]
pub mod hdf5;
pub mod http;

/// Whether a group or data set of a file can have that name; else what to do.
pub(crate) fn storable(name: &str) -> std::result::Result<(), &'static str> {
    match name.trim().is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        true => Err("use a name without '/', other than '.' and '..'"),
        false => Ok(()),
    }
}
