//! What a kernel's text says of itself, as naga reads it: which buffers it binds and how. And structs of shaders/ as the host writes them,
//! field by field: a test compares each with its text. Promises that nothing is laid out twice by position. Needs no device.

use super::device::Binding;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess};

/// How an entry point of a text sees the buffers of group 0, by number; None: not at all. Uniforms at 0 and 1 are the numbers of a window,
/// a batch or a pass, found at an offset that is chosen at each dispatch.
///
/// # Errors
/// What is wrong with the text.
pub fn bindings(text: &str, entry: &str) -> Result<Vec<Option<Binding>>, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(text))?;
    let own = module.entry_points.iter().position(|e| e.name == entry);
    let uses = info.get_entry_point(own.ok_or_else(|| format!("there is no entry point `{entry}`"))?);
    let mut seen = vec![];
    for (_, variable) in module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty()) {
        let Some(place) = &variable.binding else { continue };
        let number = place.binding as usize;
        let binding = match variable.space {
            AddressSpace::Uniform if number < 2 => {
                let bytes = module.types[variable.ty].inner.size(module.to_ctx());
                Binding::Window(u64::from(bytes).next_multiple_of(16))
            }
            AddressSpace::Uniform => Binding::Uniform,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Binding::ReadWrite,
            _ => Binding::Read,
        };
        seen.resize(seen.len().max(number + 1), None);
        seen[number] = Some(binding);
    }
    Ok(seen)
}

/// A struct of shaders/ as the host writes it: `"file" Name`, then its fields by their names there, in the same order.
macro_rules! mirrored {
    ($(#[$about:meta])* $vis:vis struct $name:ident = $file:literal $theirs:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        $vis struct $name {
            $(pub $field: $ty),*
        }

        impl $name {
            pub const WORDS: usize = size_of::<$name>() / 4;

            pub fn words(&self) -> &[u32; $name::WORDS] {
                bytemuck::cast_ref(self)
            }
        }

        #[cfg(test)]
        impl $name {
            pub const MIRROR: $crate::engine::gpu::reflect::Mirror = $crate::engine::gpu::reflect::Mirror {
                name: stringify!($theirs),
                text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file, ".wgsl")),
                fields: &[$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($ty))),*],
            };
        }
    };
}
pub(crate) use mirrored;

/// What the test compares: name and text of the struct in WGSL, and of each field on the host its name, offset in bytes and type.
#[cfg(test)]
#[derive(Clone)]
pub struct Mirror {
    pub name: &'static str,
    pub text: &'static str,
    pub fields: &'static [(&'static str, usize, &'static str)],
}

#[cfg(test)]
mod tests {
    use super::super::{batch, layout, learning, plastic};
    use super::*;
    use naga::{Scalar, TypeInner, VectorSize};

    /// The text of a struct, by itself.
    fn alone(mirror: &Mirror) -> String {
        let begin =
            mirror.text.find(&format!("struct {} {{", mirror.name)).unwrap_or_else(|| panic!("no struct {}", mirror.name));
        let end = begin + mirror.text[begin..].find("\n}").unwrap();
        format!("{}\n}}\n@group(0) @binding(0) var<storage, read> one: {};", &mirror.text[begin..end], mirror.name)
    }

    #[test]
    fn structs_are_written_as_they_are_read() {
        let all = [batch::MIRRORS, layout::MIRRORS, learning::MIRRORS, plastic::MIRRORS].concat();
        for mirror in &all {
            let text = alone(mirror);
            let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
            let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(mirror.name)).unwrap();
            let TypeInner::Struct { members, .. } = &ty.inner else { panic!("{} is no struct", mirror.name) };
            let found: Vec<(&str, usize, &str)> = members
                .iter()
                .map(|m| {
                    let ty = match module.types[m.ty].inner {
                        TypeInner::Scalar(Scalar::U32) => "u32",
                        TypeInner::Scalar(Scalar::I32) => "i32",
                        TypeInner::Scalar(Scalar::F32) => "f32",
                        TypeInner::Vector { size: VectorSize::Bi, scalar: Scalar::U32 } => "[u32; 2]",
                        _ => "another",
                    };
                    (m.name.as_deref().unwrap(), m.offset as usize, ty)
                })
                .collect();
            assert_eq!(found, mirror.fields, "{}", mirror.name);
        }
        // Every struct of shaders/ has a mirror, but what no host writes by its fields.
        let theirs = ["Mark", "Stretch"];
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for name in text.lines().filter_map(|l| l.strip_prefix("struct ")).map(|l| l.split(' ').next().unwrap()) {
                assert!(theirs.contains(&name) || all.iter().any(|m| m.name == name), "struct {name} has no mirror");
            }
        }
        // The kernel reads these two word by word.
        let update = layout::Population::MIRROR.text;
        assert!(update.contains(&format!("{}u * table_words", layout::Population::WORDS)));
        assert!(update.contains(&format!("{}u * which", layout::Drive::WORDS)));
    }

    #[test]
    fn bindings_are_those_that_an_entry_point_uses() {
        let text = "struct Pair { a: u32, b: f32 }
            @group(0) @binding(0) var<uniform> window: Pair;
            @group(0) @binding(2) var<storage, read> given: array<u32>;
            @group(0) @binding(3) var<storage, read_write> found: array<atomic<u32>>;
            @group(0) @binding(4) var<uniform> still: Pair;
            fn helped() -> u32 { return given[window.a]; }
            @compute @workgroup_size(1) fn one() { atomicStore(&found[0], helped()); }
            @compute @workgroup_size(1) fn two() { atomicStore(&found[1], still.a); }";
        let (window, read, write) = (Some(Binding::Window(16)), Some(Binding::Read), Some(Binding::ReadWrite));
        assert_eq!(bindings(text, "one").unwrap(), [window, None, read, write]);
        assert_eq!(bindings(text, "two").unwrap(), [None, None, None, write, Some(Binding::Uniform)]);
        assert!(bindings(text, "three").unwrap_err().contains("three"));
        assert!(bindings("fn f() -> i32 { return 1.5; }", "f").is_err());
    }
}
