//! izhikevich: the program of models/neurons/izhikevich.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, s0: f32, s1: f32, x0: f32, x1: f32, out: bool) -> (f32, f32, bool) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, s0: f32, s1: f32, x0: f32, x1: f32, out: bool) -> (f32, f32, bool) {
    let v4 = f_add(x1, c3);
    let v5 = f_sub(v4, s1);
    let v8 = f_lt(0.5_f32, c2);
    let v11 = f_mul(0.04_f32, s0);
    let v12 = f_mul(v11, s0);
    let v13 = f_add(v12, v5);
    let v14 = f_mul(c7, v13);
    let v15 = f_add(s0, v14);
    let v17 = f_add(v15, x0);
    let v20 = f_mul(c0, s0);
    let v21 = f_sub(v20, s1);
    let v22 = f_mul(c9, v21);
    let v23 = f_add(s1, v22);
    let v25 = f_add(v13, x0);
    let v26 = f_mul(c8, v25);
    let v27 = f_add(s0, v26);
    let v28 = f_mul(0.04_f32, v27);
    let v29 = f_mul(v28, v27);
    let v30 = f_add(v29, v5);
    let v31 = f_add(v30, x0);
    let v32 = f_mul(c8, v31);
    let v33 = f_add(v27, v32);
    let v34 = f_mul(c0, v33);
    let v35 = f_sub(v34, s1);
    let v36 = f_mul(c9, v35);
    let v37 = f_add(s1, v36);
    let v38 = f_select(v8, v17, v33);
    let v39 = f_select(v8, v23, v37);
    let v41 = f_max(v38, c5);
    let v43 = f_le(c4, v41);
    let v46 = f_add(v39, c1);
    let v47 = f_select(v43, c6, v41);
    let v48 = f_select(v43, v46, v39);
    let v50 = f_lt(c10, v47);
    let v51 = b_not(v50);
    let v54 = u_select(v50, 0_u32, 2143289344_u32);
    let v55 = u_as_f(v54);
    let v56 = b_or(v43, v51);
    let v57 = f_select(v50, v47, v55);
    let v58 = f_flush(v57);
    let v59 = f_flush(v48);
    (v58, v59, v56)
}

crate::model::compiled::kernel! {
    "izhikevich", 0x5b826482e61d24a1, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1),
    output: out: bool = 2
}
