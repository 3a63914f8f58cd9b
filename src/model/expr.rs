//! Host expressions: arithmetic in f64 over named values, for defaults, derived constants, recordables and closed forms.

/// A parsed expression. Names are resolved to slots when it is bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub text: String,
}
