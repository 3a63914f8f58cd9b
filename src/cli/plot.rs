//! `sharpwave plot`.

use clap::Args;
use sharpwave::error::Result;
use sharpwave::plot::{Format, Options};
use sharpwave::units::milliseconds;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct PlotArguments {
    /// Recording of a run (HDF5)
    file: PathBuf,
    /// Folder for the figures (default: beside the recording)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show and count nothing before this time, for instance "500 ms"
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Show and count nothing after this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Width of the bins of the rates, for instance "5 ms"
    #[arg(long, value_name = "TIME")]
    bin: Option<String>,
    /// Show this population; may be repeated (default: all)
    #[arg(long, value_name = "NAME")]
    population: Vec<String>,
    /// svg, png or pdf; may be repeated, or separated by commas (default: svg and png)
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    format: Vec<String>,
    /// Replace existing figures
    #[arg(long)]
    force: bool,
}

pub fn plot(arguments: &PlotArguments) -> Result<ExitCode> {
    let time = |option, text: &Option<String>| text.as_deref().map(|text| milliseconds(option, text)).transpose();
    let options = Options {
        from: time("--from", &arguments.from)?,
        to: time("--to", &arguments.to)?,
        bin: time("--bin", &arguments.bin)?,
        populations: arguments.population.clone(),
        formats: arguments.format.iter().map(|word| word.parse::<Format>()).collect::<Result<_>>()?,
        force: arguments.force,
    };
    for file in sharpwave::plot::report(&arguments.file, arguments.out.as_deref(), &options)? {
        out!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
