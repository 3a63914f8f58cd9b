//! `sharpwave plot`.

use clap::Args;
use sharpwave::error::Result;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct PlotArguments {
    /// Recording of a run (HDF5)
    file: PathBuf,
    /// Folder for the figures (default: beside the recording)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace existing figures
    #[arg(long)]
    force: bool,
}

pub fn plot(arguments: &PlotArguments) -> Result<ExitCode> {
    for file in sharpwave::plot::report(&arguments.file, arguments.out.as_deref(), arguments.force)? {
        out!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
