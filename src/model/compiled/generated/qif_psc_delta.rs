//! qif_psc_delta: the program of models/neurons/qif_psc_delta.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: i32, s0: f32, s1: i32, x0: f32, x1: f32, out: bool) -> (f32, i32, bool) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: i32, s0: f32, s1: i32, x0: f32, x1: f32, out: bool) -> (f32, i32, bool) {
    let v3 = i_eq(s1, 0_i32);
    let v7 = f_mul(x1, c0);
    let v8 = f_add(c1, v7);
    let v10 = f_mul(v8, c4);
    let v11 = f_mul(v10, c4);
    let v12 = f_abs(v11);
    let v14 = f_max(v12, 1e-12_f32);
    let v15 = f_sqrt(v14);
    let v17 = f_mul(v11, 0.053968254_f32);
    let v19 = f_add(0.13333333_f32, v17);
    let v20 = f_mul(v11, v19);
    let v22 = f_add(0.33333334_f32, v20);
    let v23 = f_mul(v11, v22);
    let v25 = f_add(1.0_f32, v23);
    let v26 = f_tanh(v15);
    let v28 = f_min(v15, 1.5707_f32);
    let v29 = f_tan(v28);
    let v31 = f_lt(0.0_f32, v11);
    let v32 = f_select(v31, v29, v26);
    let v33 = f_div(v32, v15);
    let v35 = f_lt(v12, 0.01_f32);
    let v36 = f_select(v35, v25, v33);
    let v37 = f_mul(c4, v36);
    let v38 = f_mul(s0, v37);
    let v39 = f_sub(1.0_f32, v38);
    let v40 = f_lt(0.0_f32, v39);
    let v42 = f_lt(v11, 2.4672_f32);
    let v43 = b_and(v40, v42);
    let v44 = f_mul(v8, v37);
    let v45 = f_add(s0, v44);
    let v46 = f_select(v43, v39, 1.0_f32);
    let v47 = f_div(v45, v46);
    let v48 = b_not(v43);
    let v50 = f_le(c2, v47);
    let v51 = b_or(v48, v50);
    let v53 = f_add(v47, x0);
    let v54 = f_le(c2, v53);
    let v55 = b_or(v51, v54);
    let v57 = i_sub(s1, 1_i32);
    let v58 = f_select(v3, v53, s0);
    let v59 = i_select(v3, s1, v57);
    let v60 = b_and(v3, v55);
    let v63 = f_select(v60, c3, v58);
    let v64 = i_select(v60, c5, v59);
    let v65 = f_flush(v63);
    (v65, v64, v60)
}

crate::model::compiled::kernel! {
    "qif_psc_delta", 0x12b9420388b27a10, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: i32 = 1),
    inputs: (x0, x1),
    output: out: bool = 2
}
