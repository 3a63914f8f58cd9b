//! The compiled models. Written by the test of compiled/mod.rs; do not edit.

mod iaf_psc_exp;
mod tsodyks2_synapse;

pub const ALL: &[super::Entry] = &[
    iaf_psc_exp::ENTRY,
    tsodyks2_synapse::ENTRY,
];
