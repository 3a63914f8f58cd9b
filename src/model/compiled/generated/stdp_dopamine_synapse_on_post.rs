//! stdp_dopamine_synapse_on_post: the program of models/synapses/stdp_dopamine_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    let v5 = f_mul(x5, c7);
    let v8 = f_mul(x3, c6);
    let v9 = f_neg(v8);
    let v10 = f_exp(v9);
    let v12 = f_sub(1.0_f32, v10);
    let v14 = f_mul(v8, 0.008333334_f32);
    let v16 = f_sub(0.041666668_f32, v14);
    let v17 = f_mul(v8, v16);
    let v19 = f_sub(0.16666667_f32, v17);
    let v20 = f_mul(v8, v19);
    let v22 = f_sub(0.5_f32, v20);
    let v23 = f_mul(v8, v22);
    let v24 = f_sub(1.0_f32, v23);
    let v25 = f_mul(v8, v24);
    let v27 = f_lt(v8, 0.1_f32);
    let v28 = f_select(v27, v25, v12);
    let v29 = f_mul(v5, v28);
    let v32 = f_mul(x3, c5);
    let v33 = f_neg(v32);
    let v34 = f_exp(v33);
    let v35 = f_sub(1.0_f32, v34);
    let v36 = f_mul(v32, 0.008333334_f32);
    let v37 = f_sub(0.041666668_f32, v36);
    let v38 = f_mul(v32, v37);
    let v39 = f_sub(0.16666667_f32, v38);
    let v40 = f_mul(v32, v39);
    let v41 = f_sub(0.5_f32, v40);
    let v42 = f_mul(v32, v41);
    let v43 = f_sub(1.0_f32, v42);
    let v44 = f_mul(v32, v43);
    let v45 = f_lt(v32, 0.1_f32);
    let v46 = f_select(v45, v44, v35);
    let v47 = f_mul(c8, v46);
    let v48 = f_sub(v29, v47);
    let v49 = f_mul(s1, v48);
    let v50 = f_add(s0, v49);
    let v52 = f_max(v50, c2);
    let v54 = f_min(v52, c3);
    let v55 = f_neg(x3);
    let v56 = f_mul(v55, c5);
    let v57 = f_exp(v56);
    let v58 = f_mul(s1, v57);
    let v60 = f_mul(c0, s2);
    let v62 = f_neg(x1);
    let v64 = f_mul(v62, c4);
    let v65 = f_exp(v64);
    let v66 = f_mul(v60, v65);
    let v67 = f_add(v58, v66);
    (v54, v67, s2, out)
}

crate::model::compiled::kernel! {
    "stdp_dopamine_synapse_on_post", 0xf4790894747bdc16, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 3
}
