//! `[server]`: where and how the server serves. Its bounds are in `limits`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::read::Section;
use crate::config::{BackupSettings, Error, Limits, OpsSettings, PATH_BYTES_MAX, backup, limits, ops};

/// The keys that are known here.
pub(super) const SERVER_KEYS: &[&str] = &[
    "listen",
    "public_url",
    "data_dir",
    "durability",
    "ops_listen",
    "metrics_tenants_max",
    "slow_request_ms",
    "backup",
    "limits",
];

/// Longest public URL in bytes. Okta takes 1,024 for a Base URL, and `/scim/v2/` and the tenant are added.
const PUBLIC_URL_BYTES_MAX: usize = 900;

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Address and port to listen on; 127.0.0.1:8080 unless set.
    pub listen: SocketAddr,
    /// How Okta reaches this server from outside, without `/scim/v2` and without a slash at the end.
    pub public_url: Option<String>,
    /// The folder of the tenants' files as it stands in the text; `data` unless set. See
    /// [`ServerSettings::data_dir_beside`].
    pub data_dir: PathBuf,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// `ops_listen` and what belongs to it.
    pub ops: OpsSettings,
    /// `[server.backup]`; without it the server makes no backups by itself.
    pub backup: Option<BackupSettings>,
    /// `[server.limits]`
    pub limits: Limits,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            public_url: None,
            data_dir: PathBuf::from("data"),
            durability: Durability::default(),
            ops: OpsSettings::default(),
            backup: None,
            limits: Limits::default(),
        }
    }
}

impl ServerSettings {
    /// The folder of the tenants' files; a relative one lies beside the configuration file.
    pub fn data_dir_beside(&self, config_file: &Path) -> PathBuf {
        match config_file.parent() {
            Some(folder) => folder.join(&self.data_dir),
            None => self.data_dir.clone(),
        }
    }
}

/// What an acknowledged write survives; `docs/durability.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and the loss of power: each commit is written through to the disk.
    #[default]
    Full,
    /// The end of the process; the loss of power may take the last moments.
    Normal,
}

impl Durability {
    const WORDS: &[(&str, Durability)] = &[("full", Durability::Full), ("normal", Durability::Normal)];

    /// The word for it in `tenants.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Full => "full",
            Durability::Normal => "normal",
        }
    }
}

/// Reads `[server]`.
pub(super) fn read(section: &Section<'_>) -> Result<ServerSettings, Error> {
    section.only(SERVER_KEYS)?;
    let mut server = ServerSettings::default();
    if let Some(entry) = section.get("listen") {
        let expected = "an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";
        let text = entry.text(expected)?;
        server.listen = text.parse().map_err(|_| entry.error(format!("expected {expected}")))?;
    }
    if let Some(entry) = section.get("public_url") {
        let url = public_url(entry.text("a URL, such as \"https://scim.example.com\"")?);
        server.public_url = Some(url.map_err(|problem| entry.error(problem))?);
    }
    if let Some(entry) = section.get("data_dir") {
        let expected = "the path of a folder";
        let text = entry.text(expected)?;
        if text.is_empty() || text.len() > PATH_BYTES_MAX || text.contains('\0') {
            return Err(entry.error(format!("expected {expected}")));
        }
        server.data_dir = PathBuf::from(text);
    }
    if let Some(entry) = section.get("durability") {
        server.durability = entry.word(Durability::WORDS)?;
    }
    server.ops = ops::read(section)?;
    if let Some(entry) = section.get("backup") {
        server.backup = Some(backup::read(&entry.table()?)?);
    }
    if let Some(entry) = section.get("limits") {
        server.limits = limits::read(&entry.table()?)?;
    }
    Ok(server)
}

/// Checks a public URL and takes slashes at its end away.
///
/// # Errors
/// What was expected, as the end of a sentence.
pub fn public_url(text: &str) -> Result<String, String> {
    if text.contains('_') {
        return Err("expected a URL without an underscore, which Okta does not take in a Base URL".to_owned());
    }
    let wrong =
        || "expected a URL with https:// (or http://) and a host, such as \"https://scim.example.com\"";
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let scheme_is_known = matches!(uri.scheme_str(), Some("https" | "http"));
    let host_is_there = uri.host().is_some_and(|host| !host.is_empty());
    // Neither a user nor a port that is no port.
    let authority_is_right = uri.authority().is_some_and(|authority| {
        let port = authority.as_str().trim_start_matches(authority.host());
        port.is_empty() || authority.port_u16().is_some_and(|number| port == format!(":{number}"))
    });
    if !scheme_is_known || !host_is_there || !authority_is_right || text.len() > PUBLIC_URL_BYTES_MAX {
        return Err(wrong().to_owned());
    }
    // http::Uri drops a fragment without a word.
    if text.contains(['?', '#']) {
        return Err("expected a URL without \"?\" and \"#\"".to_owned());
    }
    let url = text.trim_end_matches('/');
    if url.contains("/scim/v2") {
        return Err("expected the URL without /scim/v2, which is added to it".to_owned());
    }
    Ok(url.to_owned())
}
