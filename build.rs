//! Lists the model files of models/neurons, models/synapses and models/modifiers, and the protocols of models/scenarios/learning, so
//! that a new file there is all that a new model or protocol takes; and the scenarios, which the benchmark suite carries along.

use std::fmt::Write;
use std::path::Path;

fn main() {
    write("models.rs", "FILES", &["models/neurons", "models/synapses", "models/modifiers"]);
    write("protocols.rs", "PROTOCOLS", &["models/scenarios/learning"]);
    write("scenarios.rs", "SCENARIOS", &["models/scenarios"]);
}

fn write(file: &str, constant: &str, folders: &[&str]) {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let mut list = format!("pub const {constant}: &[(&str, &str)] = &[\n");
    for folder in folders {
        println!("cargo:rerun-if-changed={folder}");
        let entries = std::fs::read_dir(Path::new(&root).join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.ends_with(".toml")).collect();
        names.sort();
        for name in names {
            let path = format!("{root}/{folder}/{name}");
            writeln!(list, "    ({:?}, include_str!({path:?})),", format!("{folder}/{name}")).expect("writing to a string");
        }
    }
    list.push_str("];\n");
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join(file), list).expect("cargo's output folder is writable");
}
