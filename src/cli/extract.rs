//! `sharpwave extract`: the scenario and models that a recording was made from, out of it again.

use clap::Args;
use sharpwave::error::{Error, Result, quoted};
use sharpwave::io::output;
use sharpwave::record::read::Recording;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct ExtractArguments {
    /// Recording of a run (HDF5)
    file: PathBuf,
    /// Folder for scenario.toml and, where own models were used, models/; without it the scenario is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

pub fn extract(a: &ExtractArguments) -> Result<ExitCode> {
    let info = Recording::open(&a.file)?.info;
    if info.resolved.is_empty() {
        let message = format!("{} does not hold what it was run from", a.file.display());
        return Err(Error::input(message, "name a recording that `sharpwave run --out` wrote"));
    }
    let Some(folder) = &a.out else {
        out!("{}", info.resolved.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let models = folder.join("models");
    let mut files = vec![(folder.join("scenario.toml"), &info.resolved)];
    for (k, (file, text)) in info.models.iter().enumerate() {
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Two folders may have had models in files of one name.
        let path = models.join(&name);
        let taken = files.iter().any(|(other, _)| *other == path);
        files.push((if taken { models.join(format!("{k}_{name}")) } else { path }, text));
    }
    files.iter().try_for_each(|(path, _)| output::check(path, a.force))?;
    files.iter().try_for_each(|(path, text)| output::write(path, text, a.force))?;
    files.iter().for_each(|(path, _)| out!("{}", path.display()));
    let own = if info.models.is_empty() { String::new() } else { format!(" --models {}", quoted(&models.to_string_lossy())) };
    note!("run it again with: sharpwave run {}{own}", quoted(&files[0].0.to_string_lossy()));
    Ok(ExitCode::SUCCESS)
}
