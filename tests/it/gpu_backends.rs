//! Every kernel is validated and goes through the translators to Vulkan, Metal and Direct3D; of the last two no machine of the tests has
//! one. What their compilers make of it is not seen here; a construct that a translator does not know is.

use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use sharpwave::engine::gpu::kernels;
use sharpwave::model::library::Library;
use std::path::Path;

/// Names of the entry points in shaders/.
fn entry_points() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let texts = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let names = |text: String| {
        let parts: Vec<String> = text.split("@compute").skip(1).map(str::to_string).collect();
        parts.into_iter().map(|part| part.split("fn ").nth(1).unwrap().split('(').next().unwrap().trim().to_string())
    };
    texts.flat_map(names).collect()
}

#[test]
fn kernels_go_through_every_translator() {
    let all = kernels(&Library::built_in().unwrap());
    let entries = entry_points();
    assert!(entries.len() > 20, "{entries:?}");
    for entry in &entries {
        assert!(all.iter().any(|(_, _, own)| own == entry), "no kernel enters at {entry}");
    }
    for (name, text, entry) in all {
        let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
        let mut constants = PipelineConstants::default();
        for (_, value) in module.overrides.iter() {
            let truth = module.types[value.ty].inner == naga::TypeInner::Scalar(naga::Scalar::BOOL);
            let name = value.name.clone().unwrap();
            let number = if name == "lanes" { 64.0 } else { 8.0 };
            constants.insert(name, if truth { 0.0 } else { number });
        }
        let stage = Some((naga::ShaderStage::Compute, entry));
        let (module, info) =
            pipeline_constants::process_overrides(&module, &info, stage, &constants).unwrap_or_else(|e| panic!("{name}: {e}"));

        let to_vulkan = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: entry.to_string() };
        let words =
            spv::write_vec(&module, &info, &spv::Options::default(), Some(&to_vulkan)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(words.len() > 50, "{name}");

        let metal = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
        let (source, _) =
            msl::write_string(&module, &info, &metal, &Default::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(source.contains(entry), "{name}");

        let direct3d = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let (mut source, pipeline) = (String::new(), hlsl::PipelineOptions::default());
        let written = hlsl::Writer::new(&mut source, &direct3d, &pipeline).write(&module, &info, None);
        written.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(source.contains("numthreads"), "{name}");
    }
}
