//! `bedsided`: the daemon that runs on a cart, and its client.
//!
//! * [`config`]: its one file; [`daemon`]: the session and all that stands around it
//! * [`desk`]: what may be done to the session; [`link`]: by pedals and buttons, with lamp and buzzer;
//!   [`control`]: by programs, over a Unix socket
//! * [`snapshot`]: pictures that a person keeps; [`failure`]: exit codes

mod config;
mod control;
mod daemon;
mod desk;
mod failure;
mod gpio;
mod link;
mod snapshot;
mod update;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bedside::{Options, Precision};
use bedside_live::{settle_notes, tell};
use clap::{Args, Parser, Subcommand};

use config::{Config, SOCKET};
use control::Request;
use failure::Failure;

/// Annotate a cart's live video, with lamp, buzzer, pedals and freeze button.
///
/// Research use only. Not a medical device. Not for clinical decisions.
#[derive(Debug, Parser)]
#[command(name = "bedsided", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bedside/bedsided.toml"
    )]
    config: PathBuf,

    /// Check the configuration, prompts included, and end
    #[arg(long)]
    check_config: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done, or ended by a signal
  1  something outside the configuration failed; systemd starts the daemon again
  2  the command line or the configuration is wrong; systemd does not";

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a running daemon
    Ctl {
        /// Its control socket
        #[arg(long, value_name = "PATH", default_value = SOCKET)]
        socket: PathBuf,

        #[command(subcommand)]
        request: Request,
    },
    /// The model of the daemon, which starts this by itself
    #[command(hide = true)]
    ModelProcess(ModelProcess),
}

/// The options of [`bedside_live::model_command`].
#[derive(Debug, Args)]
struct ModelProcess {
    #[arg(long)]
    bundle: PathBuf,
    #[arg(long)]
    digest: String,
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    #[arg(long)]
    side: Option<u32>,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    backend: Option<String>,
    #[arg(long)]
    cache: Option<PathBuf>,
    #[arg(long)]
    memory: Option<u64>,
    #[arg(long)]
    require_device: bool,
}

fn precision(name: &str) -> Result<Precision, String> {
    [Precision::F32, Precision::F16, Precision::Int8]
        .into_iter()
        .find(|precision| precision.to_string() == name)
        .ok_or_else(|| "not a precision".to_owned())
}

impl ModelProcess {
    fn run(self) -> Result<(), Failure> {
        let mut options = Options::default().with_require_device(self.require_device);
        options.precision = self.precision;
        options.side = self.side;
        options.threads = Some(self.threads);
        options.backend = self.backend;
        options.cache = self.cache;
        let (bundle, digest) = (&self.bundle, &self.digest);
        Ok(bedside_live::serve_bundle(
            bundle,
            digest,
            options,
            self.memory,
        )?)
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Some(Command::Ctl { socket, request }) => {
            let answer = control::ask(&socket, &request)?;
            print(&format!("{answer:#}\n"))
        }
        Some(Command::ModelProcess(args)) => args.run(),
        None => {
            let config = Config::read(&cli.config)?;
            if cli.check_config {
                daemon::model(&config)?;
                return print("the configuration is sound\n");
            }
            daemon::run(&config)
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|e| Failure::new(format!("standard output: {e}")))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    bedside_live::withhold_panics(tell);
    let ended = run(cli);
    let code = match &ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&format!(
                "error: {}\n",
                bedside_live::harmless(&failure.to_string())
            ));
            failure.code()
        }
    };
    settle_notes(Duration::from_millis(100));
    code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
