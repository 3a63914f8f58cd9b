//! Formats that several modules read. Promises faults with file, line and remedy; knows nothing of what is read.

pub(crate) mod csv;
