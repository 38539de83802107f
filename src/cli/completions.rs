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
    let mut script = String::from_utf8(script).context("cannot make the script")?;
    if command.shell == Shell::Bash {
        script = mended(script, &all);
    }
    output::page(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// clap_complete 4.6 takes the hyphen of a name for the step to a subcommand where it says what follows a command, and
/// not where it finds out which command stands there, so that bash would complete nothing.
fn mended(mut script: String, command: &clap::Command) -> String {
    let name = command.get_name();
    if name.contains('-') {
        script = script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
    }
    command.get_subcommands().fold(script, mended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bash_takes_for_a_command_is_what_it_knows_the_words_of() {
        let mut all = clap::Command::new("ici-scim")
            .subcommand(clap::Command::new("group").subcommand(clap::Command::new("add-member")));
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut all, "ici-scim", &mut script);
        let script = mended(String::from_utf8(script).unwrap(), &all);
        let taken: Vec<&str> =
            script.lines().filter_map(|line| line.trim().strip_prefix("cmd=\"")?.strip_suffix('"')).collect();
        assert!(taken.contains(&"ici__scim__subcmd__group__subcmd__add__member"), "{taken:?}");
        for command in taken.iter().filter(|command| !command.is_empty()) {
            assert!(script.contains(&format!("\n        {command})\n")), "{command}");
        }
    }
}
