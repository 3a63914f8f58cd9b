//! Formats and services of the outside world that know nothing of what sharpwave does with them.

#![warn(missing_docs)]

pub mod http;
