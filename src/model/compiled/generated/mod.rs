//! The compiled models. Written by the test of compiled/mod.rs; do not edit.

mod aeif_cond_exp;
mod alif;
mod diehl_cook;
mod hh_psc_alpha;
mod iaf_cond_alpha;
mod iaf_cond_exp;
mod iaf_psc_alpha;
mod iaf_psc_delta;
mod iaf_psc_exp;
mod izhikevich;
mod qif_psc_delta;
mod tsodyks2_synapse;

pub const ALL: &[super::Entry] = &[
    aeif_cond_exp::ENTRY,
    alif::ENTRY,
    diehl_cook::ENTRY,
    hh_psc_alpha::ENTRY,
    iaf_cond_alpha::ENTRY,
    iaf_cond_exp::ENTRY,
    iaf_psc_alpha::ENTRY,
    iaf_psc_delta::ENTRY,
    iaf_psc_exp::ENTRY,
    izhikevich::ENTRY,
    qif_psc_delta::ENTRY,
    tsodyks2_synapse::ENTRY,
];
