//! Formats and services of the outside world that know nothing of what sharpwave does with them. Promises faults with file, line and remedy.

pub(crate) mod csv;
pub mod http;
