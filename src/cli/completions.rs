//! `ici-scim completions`: what a shell needs to complete commands and flags.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap_complete::Shell;

use crate::cli::output;

const EXAMPLES: &str = "\
The Debian package installs those of bash, fish and zsh.

Examples:
  ici-scim completions bash > ici-scim.bash   # to ~/.local/share/bash-completion/completions
  ici-scim completions fish > ici-scim.fish   # to ~/.config/fish/completions
  ici-scim completions zsh > _ici-scim        # to a folder of fpath";

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The shell
    shell: Shell,
}

/// Prints the script; `all` is the whole command line.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(command: &Command, mut all: clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut all, "ici-scim", &mut script);
    output::page(&String::from_utf8(script).context("cannot make the script")?)?;
    Ok(ExitCode::SUCCESS)
}
