//! Every kernel goes through the translators to Metal and Direct3D, which no machine of the tests has. What their compilers make of it is
//! not seen here; a construct that a translator does not know is.

use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use sharpwave::engine::gpu::{deliver_shader, source_shader, update_shader};
use sharpwave::model::library::Library;

/// The text of each kernel with its entry point.
fn kernels() -> Vec<(String, String, &'static str)> {
    let library = Library::built_in().unwrap();
    let mut all =
        vec![("sources".to_string(), source_shader(), "emit"), ("deliver".to_string(), deliver_shader(None), "deliver")];
    for model in library.neurons() {
        for owned in [false, true] {
            all.push((format!("{}, owned: {owned}", model.name), update_shader(model, owned), "step_neurons"));
        }
    }
    for model in library.synapses() {
        let text = deliver_shader(Some(model));
        let entries = ["deliver", "deliver_dynamic", "flush"].into_iter().filter(|entry| text.contains(&format!("fn {entry}(")));
        all.extend(entries.map(|entry| (model.name.clone(), text.clone(), entry)));
    }
    all
}

#[test]
fn kernels_go_through_every_translator() {
    let all = kernels();
    assert!(all.len() > 40, "{}", all.len());
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
