//! `bedside completions` and `bedside man`: what a package installs beside the command, made from
//! the command's own arguments.

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Cli;
use crate::failure::{Exit, Failure};
use crate::output::{Folder, NewFile};
use crate::ui::Ui;

/// Arguments of `bedside completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside completions bash > ~/.local/share/bash-completion/completions/bedside
  bedside completions zsh > ~/.zfunc/_bedside")]
pub(crate) struct CompletionsArgs {
    /// Shell to write for
    shell: Shell,
}

/// Arguments of `bedside man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Folder for the pages, one a command
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bedside", &mut script);
    let written = std::io::stdout().write_all(&script);
    written.map_err(|error| Failure::new(Exit::Output, format!("stdout: {error}")))
}

pub(crate) fn man(args: &ManArgs, ui: Ui) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Internal, error.to_string());
    let mut command = Cli::command().disable_help_subcommand(true);
    // Sub-commands get their full names, such as `bedside-segment`.
    command.build();
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    let pages = std::iter::once(&command).chain(shown);
    let pages = pages.map(|command| {
        let man = clap_mangen::Man::new(command.clone());
        let mut bytes = Vec::new();
        man.render(&mut bytes).map_err(failed)?;
        let name = man.get_filename();
        Ok(NewFile { name, bytes })
    });
    let pages = pages.collect::<Result<Vec<_>, Failure>>()?;
    let count = pages.len();
    Folder::new(&args.folder).write(&pages)?;
    ui.note(format_args!("{count} pages in {}", args.folder.display()));
    Ok(())
}
