//! The straight-line program a model's code is lowered to.

/// Lowered code of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {}
