//! `ici-scim man`: a manual page for every command, made from its help.
//!
//! What a command does is told in its help and nowhere else; here it only gets the form of a manual page.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use crate::cli::output::{self, Failure};
use crate::cli::{Globals, version};

const EXAMPLES: &str = "\
The Debian package installs all pages: man ici-scim, man ici-scim-token-new.

Examples:
  ici-scim man token new > token-new.1   # then: man ./token-new.1
  ici-scim man --to man1                 # all pages, one file each";

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The command whose page is printed [default: ici-scim itself]
    #[arg(value_name = "COMMAND", conflicts_with = "to")]
    command: Vec<String>,

    /// Write the pages of all commands into this folder, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Prints one page or writes all; `all` is the whole command line.
///
/// # Errors
/// When there is no such command (exit code 2), or a page cannot be written.
pub fn run(command: &Command, all: clap::Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    // What `help` prints is what the pages are.
    let mut all = all.disable_help_subcommand(true);
    all.build();
    match &command.to {
        Some(folder) => write_all(&all, folder, globals)?,
        None => output::page(&page(find(&all, &command.command)?, &all)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(all: &'a clap::Command, words: &[String]) -> anyhow::Result<&'a clap::Command> {
    let mut found = all;
    for word in words {
        found = found.find_subcommand(word).ok_or_else(|| {
            Failure::usage(format!("there is no command {}", words.join(" ")))
                .hint("ici-scim --help lists the commands")
        })?;
    }
    Ok(found)
}

fn write_all(all: &clap::Command, folder: &Path, globals: &Globals) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut files = Vec::new();
    let mut waiting = vec![all];
    while let Some(command) = waiting.pop() {
        let file = folder.join(format!("{}.1", name(command)));
        std::fs::write(&file, page(command, all)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        files.push(file.display().to_string());
        waiting.extend(shown(command));
    }
    files.sort();
    if globals.json {
        return output::json(&json!({ "files": files }));
    }
    output::note(&format!("{} pages are in {}", files.len(), folder.display()));
    Ok(())
}

fn shown(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

/// `ici-scim-token-new`.
fn name(command: &clap::Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of a command, as troff source (groff's man(7)).
fn page(command: &clap::Command, all: &clap::Command) -> anyhow::Result<String> {
    let man = Man::new(command.clone())
        .date(version::date().unwrap_or_default())
        .source(format!("ici-scim {}", crate::version::NUMBER))
        .manual("ICI SCIM");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    let mut notes = Roff::new();
    let mut rest = Roff::new();
    tell(command, &mut notes, &mut rest);
    notes.to_writer(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    add_exit_status(&mut rest);
    add_see_also(command, all, &mut rest);
    rest.to_writer(&mut text)?;
    String::from_utf8(text).context("cannot make the page")
}

/// What stands below the flags in the help: paragraphs become part of the description, examples a section.
fn tell(command: &clap::Command, notes: &mut Roff, rest: &mut Roff) {
    let help = command.get_after_long_help().or_else(|| command.get_after_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    for block in help.split("\n\n").filter(|block| !block.trim().is_empty()) {
        match block.strip_prefix("Examples:\n") {
            Some(examples) => {
                rest.control("SH", ["EXAMPLES"]);
                verbatim(examples, rest);
            }
            // Told once for all commands, below.
            None if is_exit_status_of_all(block) => {}
            None => {
                notes.control("PP", []);
                // Lines of their own in the help are so on the page.
                for (number, line) in block.lines().enumerate() {
                    if number > 0 {
                        notes.control("br", []);
                    }
                    notes.text([roman(line.trim())]);
                }
            }
        }
    }
}

fn is_exit_status_of_all(block: &str) -> bool {
    block.starts_with("Exit codes: 0 done, 1 failed, 2 wrong usage or configuration")
}

/// Lines as they stand, without their common indentation.
fn verbatim(text: &str, roff: &mut Roff) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
}

fn add_exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in [("0", "done"), ("1", "failed"), ("2", "wrong usage or configuration")] {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning)]);
    }
}

/// The page above and those beside it; the first page has its list of commands for that.
fn add_see_also(command: &clap::Command, all: &clap::Command, roff: &mut Roff) {
    let own = name(command);
    let mut pages = Vec::new();
    if let Some(above) = above(own, all) {
        pages.push(name(above));
        pages.extend(shown(above).map(name).filter(|name| *name != own));
    }
    pages.extend(shown(command).map(name));
    roff.control("SH", ["SEE ALSO"]);
    for (number, page) in pages.iter().enumerate() {
        let end = if number + 1 < pages.len() { "," } else { "" };
        roff.control("BR", [*page, &format!("(1){end}")]);
    }
    roff.control("PP", []);
    roff.text([roman("The documents of the Debian package lie in /usr/share/doc/ici-scim.")]);
}

fn above<'a>(own: &str, all: &'a clap::Command) -> Option<&'a clap::Command> {
    let mut waiting = vec![all];
    while let Some(command) = waiting.pop() {
        if shown(command).any(|sub| name(sub) == own) {
            return Some(command);
        }
        waiting.extend(shown(command));
    }
    None
}
