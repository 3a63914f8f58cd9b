//! `sharpwave help`, `sharpwave completions` and `sharpwave man`: what the program says about itself, made from its own arguments
//! and keys.

use super::Arguments;
use clap::{Args, Command, CommandFactory};
use sharpwave::error::{Error, Result, nearest};
use sharpwave::io::output;
use sharpwave::scenario::reference;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct HelpArguments {
    /// A command (`help run`), or `scenario` and a section (`help scenario rules`): the language of scenarios
    topic: Vec<String>,
}

pub fn help(arguments: &HelpArguments) -> Result<ExitCode> {
    let topic: Vec<&str> = arguments.topic.iter().map(String::as_str).collect();
    if let ["scenario", rest @ ..] = &topic[..] {
        if let [_, other, ..] = rest {
            return Err(Error::input(format!("`{other}` is one section too many"), "ask for one at a time"));
        }
        out!("{}", reference::markdown(rest.first().copied())?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = built();
    for word in topic {
        let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_string()).collect();
        let Some(found) = command.find_subcommand(word) else {
            let all = names.iter().map(String::as_str).chain(["scenario"]);
            let near = nearest(word, all.clone()).map(|near| format!("did you mean `{near}`?"));
            let remedy = near.unwrap_or_else(|| format!("there are {}", all.collect::<Vec<_>>().join(", ")));
            return Err(Error::input(format!("there is no help about `{word}`"), remedy));
        };
        command = found.clone();
    }
    out!("{}", command.render_help().to_string().trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The program's arguments, with the names of subcommands in full.
fn built() -> Command {
    let mut command = Arguments::command();
    command.build();
    command
}

#[derive(Args)]
pub struct CompletionsArguments {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn completions(arguments: &CompletionsArguments) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "sharpwave", &mut text);
    out!("{}", String::from_utf8_lossy(&text).trim_end());
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
pub struct ManArguments {
    /// A command; without one the page of the program
    command: Vec<String>,
    /// Write the pages of the program and of all commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
    /// Replace pages that are there
    #[arg(long)]
    force: bool,
}

pub fn man(arguments: &ManArguments) -> Result<ExitCode> {
    let mut command = built();
    if let Some(folder) = &arguments.out {
        return pages(&command, folder, arguments.force).map(|()| ExitCode::SUCCESS);
    }
    for word in &arguments.command {
        let Some(found) = command.find_subcommand(word) else {
            return Err(Error::input(format!("there is no command `{word}`"), "`sharpwave help` lists them"));
        };
        command = found.clone();
    }
    out!("{}", page(&command)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn page(command: &Command) -> Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text).map_err(|e| Error::file("the page", e))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// `sharpwave.1`, `sharpwave-run.1` and so on.
fn pages(command: &Command, folder: &Path, force: bool) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.1"));
    output::write(&file, page(command)?, force)?;
    out!("{}", file.display());
    command.get_subcommands().try_for_each(|sub| pages(sub, folder, force))
}
