//! stdp_dopamine_synapse_on_modulator: the program of models/synapses/stdp_dopamine_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, s0: f32, s1: f32, s2: f32, s3: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32, f32) {
    (s0, s1, s2, s3, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, s0: f32, s1: f32, s2: f32, s3: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32, f32) {
    let v6 = f_mul(x5, c9);
    let v8 = f_max(v6, 1.0_f32);
    let v9 = f_log(v8);
    let v10 = f_mul(c10, v9);
    let v12 = f_min(v10, x3);
    let v14 = f_mul(x5, c7);
    let v16 = f_mul(v12, c6);
    let v17 = f_neg(v16);
    let v18 = f_exp(v17);
    let v19 = f_sub(1.0_f32, v18);
    let v21 = f_mul(v16, 0.008333334_f32);
    let v23 = f_sub(0.041666668_f32, v21);
    let v24 = f_mul(v16, v23);
    let v26 = f_sub(0.16666667_f32, v24);
    let v27 = f_mul(v16, v26);
    let v29 = f_sub(0.5_f32, v27);
    let v30 = f_mul(v16, v29);
    let v31 = f_sub(1.0_f32, v30);
    let v32 = f_mul(v16, v31);
    let v34 = f_lt(v16, 0.1_f32);
    let v35 = f_select(v34, v32, v19);
    let v36 = f_mul(v14, v35);
    let v39 = f_mul(v12, c5);
    let v40 = f_neg(v39);
    let v41 = f_exp(v40);
    let v42 = f_sub(1.0_f32, v41);
    let v43 = f_mul(v39, 0.008333334_f32);
    let v44 = f_sub(0.041666668_f32, v43);
    let v45 = f_mul(v39, v44);
    let v46 = f_sub(0.16666667_f32, v45);
    let v47 = f_mul(v39, v46);
    let v48 = f_sub(0.5_f32, v47);
    let v49 = f_mul(v39, v48);
    let v50 = f_sub(1.0_f32, v49);
    let v51 = f_mul(v39, v50);
    let v52 = f_lt(v39, 0.1_f32);
    let v53 = f_select(v52, v51, v42);
    let v54 = f_mul(c8, v53);
    let v55 = f_sub(v36, v54);
    let v56 = f_mul(x3, c6);
    let v57 = f_neg(v56);
    let v58 = f_exp(v57);
    let v59 = f_sub(1.0_f32, v58);
    let v60 = f_mul(v56, 0.008333334_f32);
    let v61 = f_sub(0.041666668_f32, v60);
    let v62 = f_mul(v56, v61);
    let v63 = f_sub(0.16666667_f32, v62);
    let v64 = f_mul(v56, v63);
    let v65 = f_sub(0.5_f32, v64);
    let v66 = f_mul(v56, v65);
    let v67 = f_sub(1.0_f32, v66);
    let v68 = f_mul(v56, v67);
    let v69 = f_lt(v56, 0.1_f32);
    let v70 = f_select(v69, v68, v59);
    let v71 = f_mul(v14, v70);
    let v72 = f_mul(x3, c5);
    let v73 = f_neg(v72);
    let v74 = f_exp(v73);
    let v75 = f_sub(1.0_f32, v74);
    let v76 = f_mul(v72, 0.008333334_f32);
    let v77 = f_sub(0.041666668_f32, v76);
    let v78 = f_mul(v72, v77);
    let v79 = f_sub(0.16666667_f32, v78);
    let v80 = f_mul(v72, v79);
    let v81 = f_sub(0.5_f32, v80);
    let v82 = f_mul(v72, v81);
    let v83 = f_sub(1.0_f32, v82);
    let v84 = f_mul(v72, v83);
    let v85 = f_lt(v72, 0.1_f32);
    let v86 = f_select(v85, v84, v75);
    let v87 = f_mul(c8, v86);
    let v88 = f_sub(v71, v87);
    let v89 = f_mul(s1, v55);
    let v90 = f_add(v89, s3);
    let v91 = f_add(s0, v90);
    let v94 = f_max(v91, c2);
    let v95 = f_min(v94, c3);
    let v96 = f_sub(v95, s0);
    let v97 = f_sub(v90, v96);
    let v98 = f_eq(v95, c2);
    let v99 = f_eq(v95, c3);
    let v100 = b_or(v98, v99);
    let v102 = f_select(v100, 0.0_f32, v97);
    let v103 = f_sub(v88, v55);
    let v104 = f_mul(s1, v103);
    let v105 = f_add(v104, v102);
    let v106 = f_add(v95, v105);
    let v107 = f_max(v106, c2);
    let v108 = f_min(v107, c3);
    let v109 = f_sub(v108, v95);
    let v110 = f_sub(v105, v109);
    let v111 = f_eq(v108, c2);
    let v112 = f_eq(v108, c3);
    let v113 = b_or(v111, v112);
    let v114 = f_select(v113, 0.0_f32, v110);
    let v115 = f_mul(s1, v86);
    let v116 = f_sub(s1, v115);
    let v117 = f_flush(v108);
    let v118 = f_flush(v116);
    let v119 = f_flush(v114);
    (v117, v118, s2, v119, out)
}

crate::model::compiled::kernel! {
    "stdp_dopamine_synapse_on_modulator", 0xf3c12f308dd2ae7e, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 4
}
