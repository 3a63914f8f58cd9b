//! `sharpwave model pull`: get a model.

use super::progress::Download;
use clap::Args;
use sharpwave::error::{Error, Result};
use sharpwave::transformer::bert::Bert;
use sharpwave::transformer::config::is_bert;
use sharpwave::transformer::pull::{Model, Servers, names, pull as get};
use sharpwave::transformer::{BUILT_IN, Source};
use std::path::PathBuf;

#[derive(Args)]
pub struct PullArguments {
    #[arg(help = format!("{}, or a repository of the hub: OWNER/NAME", names()))]
    model: String,
    /// Folder for its files (default: models/NAME in $SHARPWAVE_DATA, else in sharpwave in the user's data folder)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Branch, tag or commit (default: the main branch)
    #[arg(long, value_name = "R")]
    revision: Option<String>,
    /// Replace files that are there and differ from the published ones
    #[arg(long)]
    force: bool,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

pub fn pull(arguments: &PullArguments) -> Result<()> {
    if arguments.model.eq_ignore_ascii_case(BUILT_IN) {
        note!("{BUILT_IN} is built in: there is nothing to get");
        return Ok(());
    }
    let model = Model::named(&arguments.model)?;
    let usual = || sharpwave::io::http::folders(None).first().map(|data| model.folder(data));
    let folder = arguments.out.clone().or_else(usual).ok_or_else(|| {
        Error::input("there is no folder for models: neither SHARPWAVE_DATA nor HOME is set", "name one with --out")
    })?;
    let bar = Download::new(arguments.quiet);
    let servers = Servers::of_environment();
    let pulled = get(&model, arguments.revision.as_deref(), &folder, arguments.force, &servers, &mut |file, done, total| {
        bar.show(file, done, total);
        Ok(())
    });
    bar.clear();
    let pulled = pulled?;
    if let Some(why) = &pulled.instead {
        note!("{why}; taken from {} instead", pulled.origin);
    }
    let path = folder.display().to_string();
    match std::fs::read_to_string(folder.join("config.json")).is_ok_and(|config| is_bert(&config)) {
        true => drop(Bert::open(&path)?),
        false => drop(Source::open(&path)?),
    }
    out!("{path}");
    Ok(())
}
