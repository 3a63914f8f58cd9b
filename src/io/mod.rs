//! Formats and services of the outside world that know nothing of what sharpwave does with them.

pub mod http;
