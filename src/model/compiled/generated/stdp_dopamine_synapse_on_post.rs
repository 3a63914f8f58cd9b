//! stdp_dopamine_synapse_on_post: the program of models/synapses/stdp_dopamine_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, s0: f32, s1: f32, s2: f32, s3: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32, f32) {
    (s0, s1, s2, s3, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, s0: f32, s1: f32, s2: f32, s3: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32, f32) {
    let v7 = f_mul(x5, c9);
    let v9 = f_max(v7, 1.0_f32);
    let v10 = f_log(v9);
    let v11 = f_mul(c10, v10);
    let v13 = f_min(v11, x3);
    let v15 = f_mul(x5, c7);
    let v17 = f_mul(v13, c6);
    let v18 = f_neg(v17);
    let v19 = f_exp(v18);
    let v20 = f_sub(1.0_f32, v19);
    let v22 = f_mul(v17, 0.008333334_f32);
    let v24 = f_sub(0.041666668_f32, v22);
    let v25 = f_mul(v17, v24);
    let v27 = f_sub(0.16666667_f32, v25);
    let v28 = f_mul(v17, v27);
    let v30 = f_sub(0.5_f32, v28);
    let v31 = f_mul(v17, v30);
    let v32 = f_sub(1.0_f32, v31);
    let v33 = f_mul(v17, v32);
    let v35 = f_lt(v17, 0.1_f32);
    let v36 = f_select(v35, v33, v20);
    let v37 = f_mul(v15, v36);
    let v40 = f_mul(v13, c5);
    let v41 = f_neg(v40);
    let v42 = f_exp(v41);
    let v43 = f_sub(1.0_f32, v42);
    let v44 = f_mul(v40, 0.008333334_f32);
    let v45 = f_sub(0.041666668_f32, v44);
    let v46 = f_mul(v40, v45);
    let v47 = f_sub(0.16666667_f32, v46);
    let v48 = f_mul(v40, v47);
    let v49 = f_sub(0.5_f32, v48);
    let v50 = f_mul(v40, v49);
    let v51 = f_sub(1.0_f32, v50);
    let v52 = f_mul(v40, v51);
    let v53 = f_lt(v40, 0.1_f32);
    let v54 = f_select(v53, v52, v43);
    let v55 = f_mul(c8, v54);
    let v56 = f_sub(v37, v55);
    let v57 = f_mul(x3, c6);
    let v58 = f_neg(v57);
    let v59 = f_exp(v58);
    let v60 = f_sub(1.0_f32, v59);
    let v61 = f_mul(v57, 0.008333334_f32);
    let v62 = f_sub(0.041666668_f32, v61);
    let v63 = f_mul(v57, v62);
    let v64 = f_sub(0.16666667_f32, v63);
    let v65 = f_mul(v57, v64);
    let v66 = f_sub(0.5_f32, v65);
    let v67 = f_mul(v57, v66);
    let v68 = f_sub(1.0_f32, v67);
    let v69 = f_mul(v57, v68);
    let v70 = f_lt(v57, 0.1_f32);
    let v71 = f_select(v70, v69, v60);
    let v72 = f_mul(v15, v71);
    let v73 = f_mul(x3, c5);
    let v74 = f_neg(v73);
    let v75 = f_exp(v74);
    let v76 = f_sub(1.0_f32, v75);
    let v77 = f_mul(v73, 0.008333334_f32);
    let v78 = f_sub(0.041666668_f32, v77);
    let v79 = f_mul(v73, v78);
    let v80 = f_sub(0.16666667_f32, v79);
    let v81 = f_mul(v73, v80);
    let v82 = f_sub(0.5_f32, v81);
    let v83 = f_mul(v73, v82);
    let v84 = f_sub(1.0_f32, v83);
    let v85 = f_mul(v73, v84);
    let v86 = f_lt(v73, 0.1_f32);
    let v87 = f_select(v86, v85, v76);
    let v88 = f_mul(c8, v87);
    let v89 = f_sub(v72, v88);
    let v90 = f_mul(s1, v56);
    let v91 = f_add(v90, s3);
    let v92 = f_add(s0, v91);
    let v95 = f_max(v92, c2);
    let v96 = f_min(v95, c3);
    let v97 = f_sub(v96, s0);
    let v98 = f_sub(v91, v97);
    let v99 = f_eq(v96, c2);
    let v100 = f_eq(v96, c3);
    let v101 = b_or(v99, v100);
    let v103 = f_select(v101, 0.0_f32, v98);
    let v104 = f_sub(v89, v56);
    let v105 = f_mul(s1, v104);
    let v106 = f_add(v105, v103);
    let v107 = f_add(v96, v106);
    let v108 = f_max(v107, c2);
    let v109 = f_min(v108, c3);
    let v110 = f_sub(v109, v96);
    let v111 = f_sub(v106, v110);
    let v112 = f_eq(v109, c2);
    let v113 = f_eq(v109, c3);
    let v114 = b_or(v112, v113);
    let v115 = f_select(v114, 0.0_f32, v111);
    let v116 = f_mul(s1, v87);
    let v117 = f_sub(s1, v116);
    let v119 = f_mul(c0, s2);
    let v121 = f_neg(x1);
    let v123 = f_mul(v121, c4);
    let v124 = f_exp(v123);
    let v125 = f_mul(v119, v124);
    let v126 = f_add(v117, v125);
    let v127 = f_flush(v109);
    let v128 = f_flush(v126);
    let v129 = f_flush(v115);
    (v127, v128, s2, v129, out)
}

crate::model::compiled::kernel! {
    "stdp_dopamine_synapse_on_post", 0xbbc0ef4f88385015, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 4
}
