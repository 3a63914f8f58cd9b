//! tsodyks_synapse: the program of models/synapses/tsodyks_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: i32, c5: f32, c6: f32, c7: f32, c8: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: i32, c5: f32, c6: f32, c7: f32, c8: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, out: f32) -> (f32, f32, f32, f32) {
    let v6 = f_lt(x1, 1e30_f32);
    let v7 = f_neg(x1);
    let v9 = f_mul(v7, c1);
    let v10 = f_exp(v9);
    let v12 = f_mul(v7, c2);
    let v13 = f_exp(v12);
    let v15 = f_mul(x1, c7);
    let v16 = f_neg(v15);
    let v17 = f_exp(v16);
    let v19 = f_add(1.0_f32, v15);
    let v21 = f_mul(c8, v15);
    let v22 = f_mul(v21, v15);
    let v24 = f_sub(v15, 3.0_f32);
    let v25 = f_mul(v22, v24);
    let v26 = f_add(v19, v25);
    let v27 = f_mul(v17, v26);
    let v29 = f_mul(c5, v10);
    let v31 = f_mul(c6, v13);
    let v32 = f_sub(v29, v31);
    let v35 = i_eq(c4, 1_i32);
    let v36 = f_select(v35, v27, v32);
    let v37 = f_sub(1.0_f32, v36);
    let v38 = f_sub(1.0_f32, s1);
    let v39 = f_sub(v38, s2);
    let v41 = f_mul(v7, c3);
    let v42 = f_exp(v41);
    let v43 = f_mul(s0, v42);
    let v44 = f_mul(v37, s2);
    let v45 = f_add(s1, v44);
    let v46 = f_sub(1.0_f32, v10);
    let v47 = f_mul(v39, v46);
    let v48 = f_add(v45, v47);
    let v49 = f_mul(s2, v13);
    let v50 = f_select(v6, v43, s0);
    let v51 = f_select(v6, v48, s1);
    let v52 = f_select(v6, v49, s2);
    let v54 = f_sub(1.0_f32, v50);
    let v55 = f_mul(c0, v54);
    let v56 = f_add(v50, v55);
    let v57 = f_mul(v56, v51);
    let v58 = f_sub(v51, v57);
    let v59 = f_add(v52, v57);
    let v60 = f_mul(x0, v57);
    let v61 = f_flush(v56);
    let v62 = f_flush(v58);
    let v63 = f_flush(v59);
    (v61, v62, v63, v60)
}

crate::model::compiled::kernel! {
    "tsodyks_synapse", 0xd5bc900db60df3eb, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: i32, c5: f32, c6: f32, c7: f32, c8: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1),
    output: out: f32 = 3
}
