//! The folder that a part of the benchmark works in, and its servers.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ici_scim::secret::{TokenHash, TokenText};

use crate::ask::{Client, Tenant};
use crate::http::{self, Fetched};
use crate::people::{self, Ids};
use crate::process::Process;

/// Longest request body of the servers of this benchmark: a PUT of a group of 100,000 is longer than the default.
const BODY_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// A folder with a configuration, tenants' files and a token for all of them.
pub(crate) struct Site {
    folder: PathBuf,
    token: TokenText,
    /// Asks with the token.
    pub(crate) client: Client,
}

impl Site {
    /// Makes the folder. Of what an earlier run has left there, only the filled files stay: nothing writes to them.
    pub(crate) fn make(folder: PathBuf) -> Result<Site> {
        for part in ["data", "answers", "plain"] {
            fs::create_dir_all(folder.join(part))?;
            for entry in fs::read_dir(folder.join(part))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.strip_prefix('u').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
                {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        let token = TokenText::generate()?;
        let client = Client::new(token.expose());
        Ok(Site { folder, token, client })
    }

    /// The tenants' files.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The file of one tenant.
    pub(crate) fn file(&self, tenant: &str) -> PathBuf {
        self.data().join(format!("{tenant}.sqlite"))
    }

    /// The answers of the bare route.
    pub(crate) fn answers(&self) -> PathBuf {
        self.folder.join("answers")
    }

    /// A file for plain statements.
    pub(crate) fn plain(&self, name: &str) -> PathBuf {
        self.folder.join("plain").join(format!("{name}.sqlite"))
    }

    /// The tenant that was filled with so many users.
    pub(crate) fn filled(&self, users: u64) -> Result<Tenant> {
        let name: Arc<str> = Arc::from(format!("u{users}"));
        let ids = Ids::of_users_in(&people::filled(&self.data(), users))?;
        ensure!(ids.len() as u64 == users, "{name} has {} users", ids.len());
        Ok(Tenant { name, ids })
    }

    /// A copy of a filled tenant, to write to.
    pub(crate) fn copied(&self, users: u64) -> Result<Tenant> {
        let filled = self.filled(users)?;
        let name: Arc<str> = Arc::from(format!("c{users}"));
        people::copy(&people::filled(&self.data(), users), &self.file(&name))?;
        Ok(Tenant { name, ids: filled.ids })
    }

    /// Starts a server with tenants that all have the same token, each under a hash of its own.
    pub(crate) fn server(&self, tenants: &[&str]) -> Result<Process> {
        let mut hashes = Vec::new();
        for tenant in tenants {
            hashes.push(((*tenant).to_owned(), TokenHash::hash(&self.token)?.expose().to_owned()));
        }
        write_configuration(&self.folder, hashes.into_iter())?;
        Process::server(&self.folder)
    }

    /// Sends a GET, which must succeed.
    pub(crate) fn get(&self, server: &Process, tenant: &str, path: &str) -> Result<Fetched> {
        let fetched = http::fetch(server.address, &self.client.get_alone(tenant, path))?;
        ensure!(
            (200..300).contains(&fetched.status),
            "GET {path} was answered {}: {}",
            fetched.status,
            String::from_utf8_lossy(&fetched.body)
        );
        Ok(fetched)
    }
}

/// Writes `tenants.toml`: name and hash of the one token of each tenant.
pub(crate) fn write_configuration(
    folder: &Path,
    tenants: impl Iterator<Item = (String, String)>,
) -> Result<()> {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:8080\"\ndata_dir = \"data\"\nops_listen = \"off\"\nrate_limit = \"off\"\n\n[server.limits]\nbody_bytes_max = {BODY_BYTES_MAX}\n"
    );
    for (name, hash) in tenants {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[tenants.{name}]\n[[tenants.{name}.tokens]]\nname = \"okta\"\nhash = \"{hash}\"\n"
        );
    }
    // As an editor does it: the server never sees half of it.
    let beside = folder.join("tenants.toml.new");
    fs::write(&beside, text)?;
    fs::rename(&beside, folder.join("tenants.toml")).context("writing tenants.toml")
}
