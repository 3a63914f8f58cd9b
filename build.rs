//! Lists the model files of models/neurons, models/synapses and models/modifiers, and the protocols of models/scenarios/learning, so
//! that a new file there is all that a new model or protocol takes; and the scenarios, with the files that they read.

use std::fmt::Write;
use std::path::Path;

fn main() {
    let texts = |folders: &[&str], constant: &str| list(constant, "str", "include_str", folders, ".toml");
    write("models.rs", &texts(&["models/neurons", "models/synapses", "models/modifiers"], "FILES"));
    write("protocols.rs", &texts(&["models/scenarios/learning"], "PROTOCOLS"));
    let data = list("SCENARIO_DATA", "[u8]", "include_bytes", &["models/scenarios"], "-ubyte");
    write("scenarios.rs", &(texts(&["models/scenarios"], "SCENARIOS") + &data));
}

/// The files of some folders whose names end so, as a constant: (path, content).
fn list(constant: &str, content: &str, include: &str, folders: &[&str], ending: &str) -> String {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let mut list = format!("pub const {constant}: &[(&str, &{content})] = &[\n");
    for folder in folders {
        println!("cargo:rerun-if-changed={folder}");
        let entries = std::fs::read_dir(Path::new(&root).join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.ends_with(ending)).collect();
        names.sort();
        for name in names {
            let path = format!("{root}/{folder}/{name}");
            writeln!(list, "    ({:?}, {include}!({path:?})),", format!("{folder}/{name}")).expect("writing to a string");
        }
    }
    list.push_str("];\n");
    list
}

fn write(file: &str, list: &str) {
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join(file), list).expect("cargo's output folder is writable");
}
