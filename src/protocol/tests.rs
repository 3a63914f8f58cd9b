//! Protocols on a small made-up data set.
