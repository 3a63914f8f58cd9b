//! Built-in models whose programs are also kept as Rust, so that a whole step stays in vector registers. Promises the interpreter's
//! bits. The files in generated/ are written by this module's test (`SHARPWAVE_BLESS=1 cargo test --lib model::compiled`), one a
//! model, and found by the hash of the program, so a file that a user changes never meets code made from another.

#[cfg(test)]
mod emit;
#[rustfmt::skip]
#[allow(clippy::all, unused_imports, unused_parens, unused_unsafe, unused_variables)]
mod generated;

use super::kernel::{Kernel, Operand};
use super::ops::Uniform;
use super::program::Program;
use crate::simd::{self, Level};
use std::sync::Arc;

/// A compiled program.
pub(super) struct Entry {
    #[cfg(test)]
    pub model: &'static str,
    pub hash: u64,
    pub make: fn(Level) -> Arc<dyn Kernel>,
}

/// The compiled form of a program, where there is one.
pub(super) fn find(program: &Program) -> Option<Arc<dyn Kernel>> {
    at_level(program, simd::level())
}

/// The same for given vector instructions, which this processor must have.
pub(super) fn at_level(program: &Program, level: Level) -> Option<Arc<dyn Kernel>> {
    let hash = program.hash();
    generated::ALL.iter().find(|e| e.hash == hash).map(|e| (e.make)(level))
}

/// The constants as numbers, when all are uniform.
fn uniform<const N: usize>(constants: &[Operand]) -> Option<[Uniform; N]> {
    let mut words = [Uniform(0); N];
    assert_eq!(constants.len(), N);
    for (word, constant) in words.iter_mut().zip(constants) {
        match constant {
            Operand::Uniform(w) => *word = Uniform(*w),
            Operand::Lanes(_) => return None,
        }
    }
    Some(words)
}

/// The constants as lanes; uniform ones are spread out in `room`.
fn spread<'a, const N: usize>(constants: &[Operand<'a>], n: usize, room: &'a mut Vec<u32>) -> [&'a [u32]; N] {
    assert_eq!(constants.len(), N);
    room.resize((N * n).max(room.len()), 0);
    for (chunk, constant) in room.chunks_exact_mut(n.max(1)).zip(constants) {
        if let Operand::Uniform(word) = constant {
            chunk.fill(*word);
        }
    }
    std::array::from_fn(|k| match constants[k] {
        Operand::Lanes(words) => &words[..n],
        Operand::Uniform(_) => &room[k * n..][..n],
    })
}

/// Loops over lanes around a generated file's `integrate` and `update`, built for every level of vector instructions.
macro_rules! kernel {
    ($model:literal, $hash:literal, integrate: $integrates:literal, constants: ($($c:ident: $ct:ty),*), exponents: ($($e:ident),*),
     states: ($($s:ident: $st:ty = $si:tt),*), inputs: ($($x:ident),*), output: $out:ident: $ot:ty = $oi:tt) => {
        use crate::model::kernel::{Kernel, Lanes, Scratch};
        use crate::model::ops::{Source, Uniform, Word};
        use crate::simd::Level;

        pub const ENTRY: crate::model::compiled::Entry =
            crate::model::compiled::Entry { #[cfg(test)] model: $model, hash: $hash, make: |level| std::sync::Arc::new(Compiled { level }) };

        struct Compiled {
            level: Level,
        }

        #[inline(always)]
        fn sweep<const PLAIN: bool, C: Source>($($c: C,)* $($s: &mut [u32],)* $($x: &[f32],)* $out: &mut [u32], substeps: u32) {
            let n = $out.len();
            $(let $s = &mut $s[..n];)*
            $(let $x = &$x[..n];)*
            assert!(true $(&& $c.holds(n))*);
            if $integrates {
                $out.fill(0);
                for _ in 0..substeps {
                    for i in 0..n {
                        // SAFETY: i is below n, which the constants hold.
                        let next = unsafe {
                            integrate::<PLAIN>($(<$ct>::from_word($c.at(i)),)* $(<$st>::from_word($s[i]),)* $($x[i],)* <$ot>::from_word($out[i]))
                        };
                        $($s[i] = next.$si.word();)*
                        $out[i] = next.$oi.word();
                    }
                }
            }
            for i in 0..n {
                // SAFETY: i is below n, which the constants hold.
                let next = unsafe {
                    update::<PLAIN>($(<$ct>::from_word($c.at(i)),)* $(<$st>::from_word($s[i]),)* $($x[i],)* <$ot>::from_word($out[i]))
                };
                $($s[i] = next.$si.word();)*
                $out[i] = next.$oi.word();
            }
        }

        // The arrays are arguments of their own so that the compiler knows that they do not overlap.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
        fn sweep_avx512<const PLAIN: bool, C: Source>($($c: C,)* $($s: &mut [u32],)* $($x: &[f32],)* $out: &mut [u32], substeps: u32) {
            sweep::<PLAIN, C>($($c,)* $($s,)* $($x,)* $out, substeps);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn sweep_avx2<const PLAIN: bool, C: Source>($($c: C,)* $($s: &mut [u32],)* $($x: &[f32],)* $out: &mut [u32], substeps: u32) {
            sweep::<PLAIN, C>($($c,)* $($s,)* $($x,)* $out, substeps);
        }

        #[inline(never)]
        fn sweep_portable<const PLAIN: bool, C: Source>($($c: C,)* $($s: &mut [u32],)* $($x: &[f32],)* $out: &mut [u32], substeps: u32) {
            sweep::<PLAIN, C>($($c,)* $($s,)* $($x,)* $out, substeps);
        }

        impl Compiled {
            fn at_level<const PLAIN: bool, C: Source>(&self, $($c: C,)* $($s: &mut [u32],)* $($x: &[f32],)* $out: &mut [u32], substeps: u32) {
                match self.level {
                    // SAFETY: the level was detected on this processor.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => unsafe { sweep_avx512::<PLAIN, C>($($c,)* $($s,)* $($x,)* $out, substeps) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => unsafe { sweep_avx2::<PLAIN, C>($($c,)* $($s,)* $($x,)* $out, substeps) },
                    Level::Portable => sweep_portable::<PLAIN, C>($($c,)* $($s,)* $($x,)* $out, substeps),
                }
            }
        }

        impl Kernel for Compiled {
            fn run(&self, lanes: &mut Lanes, substeps: u32, scratch: &mut Scratch) {
                let (n, constants) = (lanes.n, lanes.constants);
                let [$($s),*] = &mut *lanes.states else { panic!("{} takes other states", $model) };
                let [$($x),*] = *lanes.inputs else { panic!("{} takes other inputs", $model) };
                let $out = &mut lanes.output[..n];
                match crate::model::compiled::uniform(constants) {
                    Some([$($c),*]) => {
                        // Only where the code has exponents is the second form built at all.
                        const EXPONENTS: &[&str] = &[$(stringify!($e)),*];
                        if !EXPONENTS.is_empty() && [$($e),*].iter().all(|e: &Uniform| e.is_plain()) {
                            self.at_level::<true, Uniform>($($c,)* $($s,)* $($x,)* $out, substeps);
                        } else {
                            self.at_level::<false, Uniform>($($c,)* $($s,)* $($x,)* $out, substeps);
                        }
                    }
                    None => {
                        let [$($c),*] = crate::model::compiled::spread(constants, n, &mut scratch.words);
                        self.at_level::<false, &[u32]>($($c,)* $($s,)* $($x,)* $out, substeps);
                    }
                }
            }

            fn describe(&self) -> &str {
                match self.level {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => "compiled (AVX-512)",
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => "compiled (AVX2)",
                    Level::Portable => "compiled (portable)",
                }
            }
        }
    };
}
use kernel;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::library::Library;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Name, file and program of every built-in model that has one.
    fn programs() -> Vec<(String, String, Arc<Program>)> {
        let library = Library::built_in().unwrap_or_else(|e| panic!("{e}"));
        let neurons = library.neurons().map(|m| (m.name.clone(), m.place.file.clone(), m.program.clone()));
        let synapses = library.synapses().filter_map(|m| Some((m.name.clone(), m.place.file.clone(), m.program.clone()?)));
        let post = library.synapses().flat_map(|m| {
            let parts = m.plasticity.iter().flat_map(|p| [("on_post", &p.on_post), ("on_modulator", &p.on_modulator)]);
            let found =
                parts.filter_map(|(part, program)| Some((format!("{}_{part}", m.name), m.place.file.clone(), program.clone()?)));
            found.collect::<Vec<_>>()
        });
        neurons.chain(synapses).chain(post).collect()
    }

    /// The generated files are what the models give now. `SHARPWAVE_BLESS=1` writes them; a model that was added without is
    /// interpreted, and reported here.
    #[test]
    fn generated_files_are_up_to_date() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/compiled/generated");
        let mut files: BTreeMap<String, String> =
            programs().iter().map(|(name, file, program)| (format!("{name}.rs"), emit::source(name, file, program))).collect();
        let bless = std::env::var_os("SHARPWAVE_BLESS").is_some();
        let there = |name: &str| folder.join(name).exists();
        let kept: Vec<String> =
            files.keys().filter(|f| bless || there(f)).map(|f| f.trim_end_matches(".rs").to_string()).collect();
        let mut list = String::from("//! The compiled models. Written by the test of compiled/mod.rs; do not edit.\n\n");
        kept.iter().for_each(|name| list.push_str(&format!("mod {name};\n")));
        list.push_str("\npub const ALL: &[super::Entry] = &[\n");
        kept.iter().for_each(|name| list.push_str(&format!("    {name}::ENTRY,\n")));
        list.push_str("];\n");
        files.insert("mod.rs".into(), list);
        for (name, text) in &files {
            if bless {
                std::fs::write(folder.join(name), text).unwrap();
            } else if there(name) {
                let found = std::fs::read_to_string(folder.join(name)).unwrap();
                assert!(found == *text, "{name} is out of date: run SHARPWAVE_BLESS=1 cargo test --lib model::compiled");
            } else {
                eprintln!("{name} is not compiled, only interpreted: SHARPWAVE_BLESS=1 cargo test --lib model::compiled adds it");
            }
        }
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if !files.contains_key(&name) && bless {
                std::fs::remove_file(entry.path()).unwrap();
            } else {
                assert!(
                    files.contains_key(&name),
                    "{name} belongs to no model: run SHARPWAVE_BLESS=1 cargo test --lib model::compiled"
                );
            }
        }
    }

    /// The last that a program does with a state of f32 is to flush it, and the GPU's text says the same, of each state that it writes.
    #[test]
    fn states_are_flushed_where_they_are_written() {
        use crate::model::Ty;
        use crate::model::ops::Un;
        use crate::model::program::{Op, Slot};
        let mut flushed = 0;
        for (name, _, program) in programs() {
            for part in [&program.integrate, &program.update] {
                let integrates = std::ptr::eq(part, &program.integrate);
                for (slot, value) in &part.stores {
                    let Slot::State(s) = slot else { continue };
                    if program.states[*s as usize] == Ty::F32 && !integrates {
                        let kept = match part.ops[*value as usize] {
                            Op::Un(Un::FFlush, _) => true,
                            Op::Literal(_, word) => Un::FFlush.eval([word]) == word,
                            _ => false,
                        };
                        assert!(kept, "{name}: state {s}\n{program}");
                        flushed += 1;
                    }
                }
            }
            let left = |slot: &Slot| program.update.stores.iter().any(|(other, _)| other == slot);
            let float = |slot: &Slot| matches!(slot, Slot::State(s) if program.states[*s as usize] == Ty::F32);
            assert!(program.integrate.stores.iter().all(|(slot, _)| !float(slot) || left(slot)), "{name}");
        }
        assert!(flushed > 60, "{flushed}");
        let library = Library::built_in().unwrap_or_else(|e| panic!("{e}"));
        for model in library.neurons() {
            let lines = |s: &str| {
                model.wgsl.matches(&format!("{s} = select({s}, 0.0, (bitcast<u32>({s}) & 0x70000000u) == 0u);")).count()
            };
            for (s, state) in model.states.iter().enumerate() {
                let wanted = state.ty == Ty::F32 && model.program.writes(s);
                assert_eq!(lines(&state.name), wanted as usize, "{}: {}", model.name, state.name);
            }
        }
    }

    /// What is compiled is found by the program of the model it names.
    #[test]
    fn entries_belong_to_their_models() {
        for entry in generated::ALL {
            let (_, _, program) = programs().into_iter().find(|p| p.0 == entry.model).expect("a model of that name");
            assert_eq!(program.hash(), entry.hash, "{}", entry.model);
            assert!(find(&program).is_some_and(|k| k.describe().starts_with("compiled")));
        }
        let mut other = (*programs()[0].2).clone();
        other.inputs += 1;
        assert!(find(&other).is_none());
    }
}
