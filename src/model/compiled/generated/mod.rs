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
mod stdp_nn_pre_centered_synapse;
mod stdp_nn_pre_centered_synapse_on_post;
mod stdp_nn_restr_synapse;
mod stdp_nn_restr_synapse_on_post;
mod stdp_nn_symm_synapse;
mod stdp_nn_symm_synapse_on_post;
mod stdp_pl_synapse_hom;
mod stdp_pl_synapse_hom_on_post;
mod stdp_synapse;
mod stdp_synapse_on_post;
mod stdp_triplet_synapse;
mod stdp_triplet_synapse_on_post;
mod tsodyks2_synapse;
mod vogels_sprekeler_synapse;
mod vogels_sprekeler_synapse_on_post;

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
    stdp_nn_pre_centered_synapse::ENTRY,
    stdp_nn_pre_centered_synapse_on_post::ENTRY,
    stdp_nn_restr_synapse::ENTRY,
    stdp_nn_restr_synapse_on_post::ENTRY,
    stdp_nn_symm_synapse::ENTRY,
    stdp_nn_symm_synapse_on_post::ENTRY,
    stdp_pl_synapse_hom::ENTRY,
    stdp_pl_synapse_hom_on_post::ENTRY,
    stdp_synapse::ENTRY,
    stdp_synapse_on_post::ENTRY,
    stdp_triplet_synapse::ENTRY,
    stdp_triplet_synapse_on_post::ENTRY,
    tsodyks2_synapse::ENTRY,
    vogels_sprekeler_synapse::ENTRY,
    vogels_sprekeler_synapse_on_post::ENTRY,
];
