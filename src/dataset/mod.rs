//! Data sets: where they are found or fetched from, and the files that they come as. Knows no network.

pub mod fetch;
pub mod idx;
