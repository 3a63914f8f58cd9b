//! The compiled models. Written by the test of compiled/mod.rs; do not edit.

mod aeif_cond_alpha;
mod aeif_cond_alpha_multisynapse;
mod aeif_cond_exp;
mod aeif_psc_alpha;
mod aeif_psc_delta_clopath;
mod aeif_psc_exp;
mod alif;
mod bcm_synapse;
mod bcm_synapse_on_post;
mod clopath_synapse;
mod clopath_synapse_on_post;
mod covariance_synapse;
mod covariance_synapse_on_post;
mod diehl_cook;
mod diehl_cook_synapse;
mod diehl_cook_synapse_on_post;
mod hh_psc_alpha;
mod iaf_cond_alpha;
mod iaf_cond_exp;
mod iaf_psc_alpha;
mod iaf_psc_alpha_multisynapse;
mod iaf_psc_delta;
mod iaf_psc_exp;
mod iaf_psc_exp_multisynapse;
mod if_soft_reset;
mod izhikevich;
mod oja_synapse;
mod oja_synapse_on_post;
mod parrot_neuron;
mod qif_psc_delta;
mod rstdp_synapse;
mod rstdp_synapse_on_modulator;
mod rstdp_synapse_on_post;
mod soft_wta_synapse;
mod soft_wta_synapse_on_post;
mod stdp_dopamine_synapse;
mod stdp_dopamine_synapse_on_modulator;
mod stdp_dopamine_synapse_on_post;
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
mod tsodyks_synapse;
mod vogels_sprekeler_synapse;
mod vogels_sprekeler_synapse_on_post;

pub const ALL: &[super::Entry] = &[
    aeif_cond_alpha::ENTRY,
    aeif_cond_alpha_multisynapse::ENTRY,
    aeif_cond_exp::ENTRY,
    aeif_psc_alpha::ENTRY,
    aeif_psc_delta_clopath::ENTRY,
    aeif_psc_exp::ENTRY,
    alif::ENTRY,
    bcm_synapse::ENTRY,
    bcm_synapse_on_post::ENTRY,
    clopath_synapse::ENTRY,
    clopath_synapse_on_post::ENTRY,
    covariance_synapse::ENTRY,
    covariance_synapse_on_post::ENTRY,
    diehl_cook::ENTRY,
    diehl_cook_synapse::ENTRY,
    diehl_cook_synapse_on_post::ENTRY,
    hh_psc_alpha::ENTRY,
    iaf_cond_alpha::ENTRY,
    iaf_cond_exp::ENTRY,
    iaf_psc_alpha::ENTRY,
    iaf_psc_alpha_multisynapse::ENTRY,
    iaf_psc_delta::ENTRY,
    iaf_psc_exp::ENTRY,
    iaf_psc_exp_multisynapse::ENTRY,
    if_soft_reset::ENTRY,
    izhikevich::ENTRY,
    oja_synapse::ENTRY,
    oja_synapse_on_post::ENTRY,
    parrot_neuron::ENTRY,
    qif_psc_delta::ENTRY,
    rstdp_synapse::ENTRY,
    rstdp_synapse_on_modulator::ENTRY,
    rstdp_synapse_on_post::ENTRY,
    soft_wta_synapse::ENTRY,
    soft_wta_synapse_on_post::ENTRY,
    stdp_dopamine_synapse::ENTRY,
    stdp_dopamine_synapse_on_modulator::ENTRY,
    stdp_dopamine_synapse_on_post::ENTRY,
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
    tsodyks_synapse::ENTRY,
    vogels_sprekeler_synapse::ENTRY,
    vogels_sprekeler_synapse_on_post::ENTRY,
];
