//! `tenant pause` and `tenant resume`: one key of the configuration, and waiting until the server has taken it.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::Globals;
use crate::cli::output::{self, Failure};
use crate::cli::session;
use crate::clock::Stopwatch;
use crate::config::{self, Pause, TenantName};
use crate::tenants::{Told, told};

pub(super) const PAUSE_EXAMPLES: &str = "\
The tenant's clients are answered 503 with Retry-After, whoever has no valid token 401 as ever. The tenant's file is \
closed: when this returns, requests that were being answered are done, nothing that a client sent can be written any \
more, and the file may be copied or moved. \
Your own commands still change it.

Okta repeats by itself what is answered 429, for half a day (--answer 429). What was answered 503 fails, and is \
sent again from Okta's Tasks page.

Examples:
  ici-scim tenant pause acme
  ici-scim tenant pause acme --answer 429
  ici-scim tenant pause acme --wait 300
  ici-scim tenant resume acme";

pub(super) const RESUME_EXAMPLES: &str = "\
Examples:
  ici-scim tenant resume acme
  ici-scim tenant resume acme --no-wait";

/// Longest time that can be waited, in seconds.
const WAIT_S_MAX: u64 = 86_400;
/// A fault that is told so soon may be that of the configuration before.
const FAULT_COUNTS_AFTER: Duration = Duration::from_secs(3);
/// How often the server's word is looked for.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// How long to wait for the server.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Wait {
    /// How long to wait for the running server, in seconds: it finishes the requests that it has begun
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_value_t = 60, default_missing_value = "60", value_parser = clap::value_parser!(u64).range(0..=WAIT_S_MAX))]
    wait: u64,
    /// Change the configuration and do not wait for the server
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

/// Arguments of `tenant pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The tenant's name
    #[arg(value_name = "NAME")]
    tenant: TenantName,
    /// What its clients are answered: 503, or 429, which Okta repeats by itself
    #[arg(long, value_name = "STATUS", default_value = "503", value_parser = ["503", "429"])]
    answer: String,
    #[command(flatten)]
    wait: Wait,
}

/// Arguments of `tenant resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The tenant's name
    #[arg(value_name = "NAME")]
    tenant: TenantName,
    #[command(flatten)]
    wait: Wait,
}

pub(super) fn pause(arguments: &PauseArgs, globals: &Globals) -> anyhow::Result<()> {
    let pause = if arguments.answer == "429" { Pause::TooManyRequests } else { Pause::Unavailable };
    set(&arguments.tenant, Some(pause), arguments.wait, globals)
}

pub(super) fn resume(arguments: &ResumeArgs, globals: &Globals) -> anyhow::Result<()> {
    set(&arguments.tenant, None, arguments.wait, globals)
}

fn set(tenant: &TenantName, pause: Option<Pause>, wait: Wait, globals: &Globals) -> anyhow::Result<()> {
    session::edit(globals, tenant, |text| config::edit::set_paused(text, tenant, pause))?;
    let data_dir = globals.settings()?.server.data_dir;
    let state = if pause.is_some() { "paused" } else { "resumed" };
    let server = wait.until(&data_dir, tenant, pause.is_none())?;
    output::note(&match server {
        Server::HasTakenIt if pause.is_some() => {
            format!("tenant {tenant} is paused: the server has closed its file and writes nothing more to it")
        }
        Server::HasTakenIt => format!("tenant {tenant} is resumed and in service"),
        Server::IsNone => format!("tenant {tenant} is {state}; no server serves {} now", data_dir.display()),
        Server::IsNotAsked => {
            format!(
                "tenant {tenant} is {state} in the configuration; a running server takes that within a second"
            )
        }
    });
    if globals.json {
        return output::json(&json!({
            "tenant": tenant.as_str(), "paused": pause.is_some(), "server": server.as_str(),
        }));
    }
    Ok(())
}

/// What is known of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// It follows the configuration as it now is.
    HasTakenIt,
    /// None serves the data folder.
    IsNone,
    /// It was not waited for.
    IsNotAsked,
}

impl Server {
    /// A word for programs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Server::HasTakenIt => "taken",
            Server::IsNone => "none",
            Server::IsNotAsked => "not waited for",
        }
    }
}

impl Wait {
    /// For a command that has no choice but to wait.
    pub(super) const USUAL: Wait = Wait { wait: 60, no_wait: false };

    /// Waits until the server has a tenant in service, or has not and has closed its file.
    ///
    /// # Errors
    /// When the data folder cannot be looked into, the server refuses the configuration, or the time is over.
    #[expect(clippy::disallowed_methods, reason = "the condition is another process's, told in a file")]
    pub(super) fn until(
        self,
        data_dir: &Path,
        tenant: &TenantName,
        in_service: bool,
    ) -> anyhow::Result<Server> {
        if self.no_wait {
            return Ok(Server::IsNotAsked);
        }
        let watch = Stopwatch::start();
        let at_most = Duration::from_secs(self.wait);
        loop {
            let told = told(data_dir).map_err(|error| {
                Failure::failed(format!("the configuration is changed; what the server makes of it cannot be seen in {}: {error}", data_dir.display()))
                    .hint("run the command as the server's user, or with --no-wait; a running server takes the change within a second")
            })?;
            match told {
                Told::NoServer => return Ok(Server::IsNone),
                Told::Known { .. } if told.has(tenant) == Some(in_service) => return Ok(Server::HasTakenIt),
                Told::Known { problem: Some(problem), .. } if watch.elapsed() > FAULT_COUNTS_AFTER => {
                    return Err(Failure::failed(format!(
                        "the running server keeps the configuration it has, since it finds this one faulty: {problem}"
                    ))
                    .hint("mend that; the server then takes the change by itself")
                    .into());
                }
                Told::Known { .. } | Told::Nothing => {}
            }
            if watch.elapsed() >= at_most {
                return Err(Failure::failed(format!(
                    "the configuration is changed, and the running server has not followed within {} seconds",
                    self.wait
                ))
                .hint("it may still finish requests; run the command again, with a longer --wait, and look at the server's log")
                .into());
            }
            std::thread::sleep(LOOK);
        }
    }
}
