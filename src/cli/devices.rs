//! `sharpwave devices`: what the gpu engine could run on.

use clap::Args;
use sharpwave::error::Result;
use std::process::ExitCode;

#[derive(Args)]
pub struct DevicesArguments {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "gpu")]
pub fn devices(arguments: &DevicesArguments) -> Result<ExitCode> {
    let devices = sharpwave::engine::gpu::devices();
    if arguments.json {
        let list: Vec<_> = (0..)
            .zip(&devices)
            .map(|(i, d): (usize, _)| {
                serde_json::json!({
                    "index": i, "name": d.name, "type": d.kind, "backend": d.backend, "driver": d.driver,
                    "largest_binding_bytes": d.max_binding, "usable": d.usable.is_ok(), "real": d.real,
                    "reason": d.usable.as_ref().err(),
                })
            })
            .collect();
        out!("{}", serde_json::Value::from(list));
        return Ok(ExitCode::SUCCESS);
    }
    if devices.is_empty() {
        out!(
            "no GPU and no software driver found (on Debian: apt install mesa-vulkan-drivers); the cpu and event engines need none"
        );
    }
    for (i, d) in devices.iter().enumerate() {
        let state = d.usable.as_ref().map_or_else(|why| format!("not usable: {why}"), |()| "usable".into());
        out!("{i}  {}  [{}, {}, {}]", d.name, d.kind, d.backend, d.driver);
        out!("   largest binding {} MiB; {state}", d.max_binding >> 20);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "gpu"))]
pub fn devices(arguments: &DevicesArguments) -> Result<ExitCode> {
    out!("{}", if arguments.json { "[]" } else { "this binary was built without the gpu engine" });
    Ok(ExitCode::SUCCESS)
}
