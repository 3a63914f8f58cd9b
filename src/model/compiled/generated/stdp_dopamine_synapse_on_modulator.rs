//! stdp_dopamine_synapse_on_modulator: the program of models/synapses/stdp_dopamine_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    let v4 = f_mul(x5, c7);
    let v7 = f_mul(x3, c6);
    let v8 = f_neg(v7);
    let v9 = f_exp(v8);
    let v11 = f_sub(1.0_f32, v9);
    let v13 = f_mul(v7, 0.008333334_f32);
    let v15 = f_sub(0.041666668_f32, v13);
    let v16 = f_mul(v7, v15);
    let v18 = f_sub(0.16666667_f32, v16);
    let v19 = f_mul(v7, v18);
    let v21 = f_sub(0.5_f32, v19);
    let v22 = f_mul(v7, v21);
    let v23 = f_sub(1.0_f32, v22);
    let v24 = f_mul(v7, v23);
    let v26 = f_lt(v7, 0.1_f32);
    let v27 = f_select(v26, v24, v11);
    let v28 = f_mul(v4, v27);
    let v31 = f_mul(x3, c5);
    let v32 = f_neg(v31);
    let v33 = f_exp(v32);
    let v34 = f_sub(1.0_f32, v33);
    let v35 = f_mul(v31, 0.008333334_f32);
    let v36 = f_sub(0.041666668_f32, v35);
    let v37 = f_mul(v31, v36);
    let v38 = f_sub(0.16666667_f32, v37);
    let v39 = f_mul(v31, v38);
    let v40 = f_sub(0.5_f32, v39);
    let v41 = f_mul(v31, v40);
    let v42 = f_sub(1.0_f32, v41);
    let v43 = f_mul(v31, v42);
    let v44 = f_lt(v31, 0.1_f32);
    let v45 = f_select(v44, v43, v34);
    let v46 = f_mul(c8, v45);
    let v47 = f_sub(v28, v46);
    let v48 = f_mul(s1, v47);
    let v49 = f_add(s0, v48);
    let v51 = f_max(v49, c2);
    let v53 = f_min(v51, c3);
    let v54 = f_neg(x3);
    let v55 = f_mul(v54, c5);
    let v56 = f_exp(v55);
    let v57 = f_mul(s1, v56);
    (v53, v57, s2, out)
}

crate::model::compiled::kernel! {
    "stdp_dopamine_synapse_on_modulator", 0x19cb3f3105a8fcb5, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 3
}
