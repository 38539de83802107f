//! `[server]`: where and how the server serves. Its bounds are in `limits`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::nodes::{self, NodeName};
use crate::config::read::Section;
use crate::config::{
    BackupSettings, Error, Limits, Listen, OpsSettings, PATH_BYTES_MAX, RateLimit, TlsSettings, TlsSource,
    TrustedProxies, backup, limits, ops, tenant_life,
};

/// The keys that are known here.
pub(super) const SERVER_KEYS: &[&str] = &[
    "listen",
    "trusted_proxies",
    "public_url",
    "data_dir",
    "durability",
    "node",
    "ops_listen",
    "metrics_tenants_max",
    "slow_request_ms",
    "rate_limit",
    "tls",
    "backup",
    "limits",
];

/// Longest public URL in bytes. Okta takes 1,024 for a Base URL, and `/scim/v2/` and the tenant are added.
const PUBLIC_URL_BYTES_MAX: usize = 900;

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where to listen; 127.0.0.1:8080 unless set.
    pub listen: Listen,
    /// Whose word is taken for who a client is.
    pub trusted_proxies: TrustedProxies,
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
    /// `[server.tls]`; without it plain HTTP is spoken.
    pub tls: Option<TlsSettings>,
    /// The name of this node, where tenants are divided among several: then no tenant is served here that does not
    /// name it as its own. All are served unless set.
    pub node: Option<NodeName>,
    /// How fast each tenant's clients may ask, where the tenant does not say otherwise.
    pub rate_limit: RateLimit,
    /// `[server.limits]`
    pub limits: Limits,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            listen: Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)),
            trusted_proxies: TrustedProxies::default(),
            public_url: None,
            data_dir: PathBuf::from("data"),
            durability: Durability::default(),
            ops: OpsSettings::default(),
            backup: None,
            tls: None,
            node: None,
            rate_limit: RateLimit::default(),
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

impl ServerSettings {
    /// What stands before `/scim/v2` in an address of this server: `public_url`, else the name that a certificate is
    /// got for, else where it listens.
    pub fn site(&self) -> String {
        if let Some(url) = &self.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let address = match &self.listen {
            Listen::Tcp(address) => address,
            Listen::Unix(_) => return "http://localhost".to_owned(),
        };
        let Some(tls) = &self.tls else { return format!("http://{address}") };
        let name = match &tls.source {
            TlsSource::Acme(acme) => acme.domains.first(),
            TlsSource::Files { .. } => None,
        };
        match (name, address.port()) {
            (Some(name), 443) => format!("https://{name}"),
            (Some(name), port) => format!("https://{name}:{port}"),
            (None, _) => format!("https://{address}"),
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
        server.listen = Listen::read(&entry)?;
    }
    if let Some(entry) = section.get("trusted_proxies") {
        server.trusted_proxies = TrustedProxies::read(&entry)?;
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
    if let Some(entry) = section.get("tls") {
        if matches!(server.listen, Listen::Unix(_)) {
            return Err(entry.error("expected none: a socket file is spoken to in plain HTTP"));
        }
        server.tls = Some(TlsSettings::read(&entry.table()?)?);
    }
    server.node = section.get("node").map(|entry| nodes::name(&entry)).transpose()?;
    if let Some(entry) = section.get("rate_limit") {
        server.rate_limit = tenant_life::rate_limit(&entry)?;
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
