//! The commands: arguments in, exit code out.
//!
//! Every command reads the same configuration file and works on the same files as the server. What a command
//! does lies in the layers below; what it prints goes through [`output`].
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Settings;
use crate::telemetry;
use crate::tenants::Overrides;
use crate::tenants::config_set::ConfigSet;

pub mod output;
pub mod serve;
pub mod quickstart;
pub mod token;
pub mod tenant;
pub mod user;
pub mod group;
pub mod entitlement;
pub mod backup;
pub mod restore;
pub mod progress;
pub mod transfer;
pub mod check;
pub mod health;
pub mod probe;
pub mod route;
pub mod completions;
pub mod man;
pub mod version;
pub mod session;
pub mod attributes;

const ABOUT: &str = "Self-hosted, multi-tenant SCIM 2.0 server: the provisioning side of ICI for Okta";

const GLOBAL: &str = "Options of every command";

const AFTER_HELP: &str = "\
A value is taken from the first of these that gives it: flag, environment variable, configuration file, default.

Examples:
  ici-scim quickstart                       try it on this machine
  ici-scim serve --config /etc/ici/tenants.toml
  ici-scim token new acme --name okta       a token for Okta's API Token field
  ici-scim user list acme

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration";

#[derive(Debug, Parser)]
#[command(name = "ici-scim", version = version::short(), long_version = version::long(), about = ABOUT, after_help = AFTER_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    /// The configuration file [default: tenants.toml in the current folder, or else
    /// /etc/ici-scim/tenants.toml]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "ICI_SCIM_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,

    /// The folder with the tenants' files [default: `data_dir` of the configuration]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", env = "ICI_SCIM_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// The address under which clients reach this server, such as `https://scim.example.com` [default:
    /// `public_url` of the configuration]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL", env = "ICI_SCIM_PUBLIC_URL", hide_env_values = true)]
    public_url: Option<String>,

    /// Print JSON for programs in place of tables for people
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,

    /// How much to log: error, warn, info, debug, trace, off, or a list such as info,ici_scim::tenants=debug
    /// [default: info for the server, warn for other commands]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "LEVEL", env = "ICI_SCIM_LOG", hide_env_values = true)]
    log: Option<String>,

    /// The form of the log, on stderr [default: text on a terminal, else json]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FORM", env = "ICI_SCIM_LOG_FORMAT", hide_env_values = true)]
    log_format: Option<LogFormat>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Command),
    Quickstart(quickstart::Command),
    /// Make, list and revoke the API tokens of a tenant
    #[command(subcommand)]
    Token(token::Command),
    /// List, add, pause and remove tenants
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// See and change the users of a tenant
    #[command(subcommand)]
    User(user::Command),
    /// See and change the groups of a tenant
    #[command(subcommand)]
    Group(group::Command),
    /// See and change which entitlements a tenant's users can be given
    #[command(subcommand)]
    Entitlement(entitlement::Command),
    /// See and change which roles a tenant's users can be given
    #[command(subcommand)]
    Role(entitlement::RoleCommand),
    Backup(backup::Command),
    Restore(restore::Command),
    /// Check the configuration and the tenants' files without starting the server
    Check(check::Command),
    /// Ask a running server whether it is well
    Health(health::Command),
    /// Play Okta against a server, this one or any other, and tell what Okta's administrator would see and why
    Probe(probe::Command),
    /// Make the configuration of a proxy that sends each tenant to its machine
    Route(route::Command),
    /// Print what a shell needs to complete commands and flags
    Completions(completions::Command),
    /// Print the manual page of a command, or write those of all
    Man(man::Command),
}

/// What every command is told.
#[derive(Debug, Clone)]
pub struct Globals {
    /// The configuration file, as given.
    pub config: PathBuf,
    /// Flags and environment variables that win over the configuration file.
    pub overrides: Overrides,
    /// Whether to print JSON in place of tables.
    pub json: bool,
}

impl Globals {
    /// The settings in force: the configuration file and those that it includes, with the overrides laid over it.
    ///
    /// # Errors
    /// When the file cannot be read, or it or an override is wrong: exit code 2.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let set = ConfigSet::read(&self.config).map_err(|error| session::unread(error, self))?;
        self.lay_over(set.settings()?)
    }

    /// These settings with the overrides laid over them.
    ///
    /// # Errors
    /// When an override is wrong: exit code 2.
    pub fn lay_over(&self, settings: Settings) -> anyhow::Result<Settings> {
        let laid = self.overrides.lay_over(settings, &self.config);
        Ok(laid.map_err(|error| output::Failure::usage(error.to_string()))?)
    }

    /// The folder with the tenants' files, as the server would use it; `settings` are those in force.
    pub fn data_dir(&self, settings: &Settings) -> PathBuf {
        settings.server.data_dir.clone()
    }
}

/// Reads the arguments, runs the command, reports its error: all of `main`.
pub fn run() -> ExitCode {
    run_command(Cli::parse()).unwrap_or_else(|error| output::report(&error))
}

/// The configuration in the folder in which a command is given.
const HERE: &str = "tenants.toml";

/// Where the Debian package keeps the configuration.
const INSTALLED: &str = "/etc/ici-scim/tenants.toml";

/// The file that is meant when none is named: the one here, or the installed one where there is none here.
///
/// Who `begins` makes a new one here, whatever is installed.
fn default_configuration(begins: bool, here: &Path, installed: &Path) -> PathBuf {
    // One that may not be looked at is there: better an error that says so than one that names another file.
    let is_installed = installed.try_exists().unwrap_or(true);
    if begins || here.exists() || !is_installed { here.to_owned() } else { installed.to_owned() }
}

fn run_command(cli: Cli) -> anyhow::Result<ExitCode> {
    let serves = matches!(cli.command, Command::Serve(_) | Command::Quickstart(_));
    let log = cli.log.as_deref().unwrap_or(if serves { "info" } else { "warn" });
    let format = cli.log_format.map(|format| match format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    });
    let writing = if serves { telemetry::Writing::Apart } else { telemetry::Writing::AtOnce };
    let _last_lines = telemetry::start(log, format, writing).map_err(output::Failure::usage)?;
    let begins = matches!(cli.command, Command::Quickstart(_));
    let globals = Globals {
        config: cli
            .config
            .unwrap_or_else(|| default_configuration(begins, Path::new(HERE), Path::new(INSTALLED))),
        overrides: Overrides { public_url: cli.public_url, data_dir: cli.data_dir, ..Overrides::default() },
        json: cli.json,
    };
    match cli.command {
        Command::Serve(command) => serve::run(command, &globals),
        Command::Quickstart(command) => quickstart::run(command, &globals),
        Command::Token(command) => token::run(command, &globals),
        Command::Tenant(command) => tenant::run(command, &globals),
        Command::User(command) => user::run(command, &globals),
        Command::Group(command) => group::run(command, &globals),
        Command::Entitlement(command) => entitlement::run(command, &globals),
        Command::Role(command) => entitlement::run_role(command, &globals),
        Command::Backup(command) => backup::run(command, &globals),
        Command::Restore(command) => restore::run(command, &globals),
        Command::Check(command) => check::run(command, &globals),
        Command::Health(command) => health::run(&command, &globals),
        Command::Probe(command) => probe::run(&command, &globals),
        Command::Route(command) => route::run(&command, &globals),
        Command::Completions(command) => completions::run(&command, Cli::command()),
        Command::Man(command) => man::run(&command, Cli::command(), &globals),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_global_flags_may_stand_before_and_after_the_command() {
        for arguments in
            [["ici-scim", "--config", "x.toml", "serve"], ["ici-scim", "serve", "--config", "x.toml"]]
        {
            assert_eq!(Cli::parse_from(arguments).config, Some(PathBuf::from("x.toml")));
        }
    }

    #[test]
    fn the_installed_configuration_is_taken_where_none_is_here_and_none_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let (here, installed) = (folder.path().join("here.toml"), folder.path().join("installed.toml"));
        assert_eq!(default_configuration(false, &here, &installed), here);
        std::fs::write(&installed, "").unwrap();
        assert_eq!(default_configuration(false, &here, &installed), installed);
        assert_eq!(default_configuration(true, &here, &installed), here);
        std::fs::write(&here, "").unwrap();
        assert_eq!(default_configuration(false, &here, &installed), here);
    }
}
