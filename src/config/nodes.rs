//! `nodes.toml`: the machines among which the tenants are divided, and the proxy before them. Read by the command
//! `route` alone; a server does not know it.

use std::collections::BTreeMap;

use crate::config::read::{Entry, Section, Source, document};
use crate::config::{BadTenantName, Error, PATH_BYTES_MAX, TenantName};

const DOCUMENT_KEYS: &[&str] = &["proxy", "nodes", "tenants"];
const PROXY_KEYS: &[&str] = &["listen", "certificate", "key", "when_down"];
const NODE_KEYS: &[&str] = &["address", "ops", "ca", "tls_name"];

/// Most nodes; the numbers of the proxies' own limits are higher.
const NODES_MAX: usize = 200;

const ADDRESS: &str = "a host and a port, such as \"10.0.0.11:8080\"";
const LISTEN: &str = "an address and a port, such as \"0.0.0.0:443\" or \"[::]:443\"";
const NAME: &str = "the name of a node: 1 to 63 characters from a-z, 0-9 and, not at the ends, \"-\"";
const FILE: &str = "the absolute path of a file, of letters, digits, \"/\", \".\", \"_\" and \"-\"";

/// Everything that `nodes.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// `[proxy]`
    pub proxy: Proxy,
    /// `[nodes.NAME]`; at least one.
    pub nodes: BTreeMap<NodeName, Node>,
    /// `[tenants]`: the node of each tenant that is told.
    pub tenants: BTreeMap<TenantName, NodeName>,
}

/// `[proxy]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Address and port on which the proxy listens; `0.0.0.0:443` unless set.
    pub listen: String,
    /// Certificate with its chain (for HAProxy with its key); plain HTTP unless set.
    pub certificate: Option<String>,
    /// The key, for nginx; HAProxy has it in the certificate's file.
    pub key: Option<String>,
    /// What the proxy answers while a node is down.
    pub when_down: WhenDown,
}

impl Default for Proxy {
    fn default() -> Proxy {
        let listen = "0.0.0.0:443".to_owned();
        Proxy { listen, certificate: None, key: None, when_down: WhenDown::default() }
    }
}

/// What the proxy answers while a node is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// 503 with Retry-After: what it is. Okta fails the task, and an administrator retries it.
    #[default]
    Unavailable,
    /// 429 with Retry-After: Okta waits and tries again by itself, ten times at most.
    TooManyRequests,
}

impl WhenDown {
    const WORDS: &[(&str, WhenDown)] = &[("503", WhenDown::Unavailable), ("429", WhenDown::TooManyRequests)];

    /// The status code.
    pub fn status(self) -> u16 {
        match self {
            WhenDown::Unavailable => 503,
            WhenDown::TooManyRequests => 429,
        }
    }
}

/// `[nodes.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Host and port of its SCIM listener.
    pub address: String,
    /// Host and port of its `ops_listen`, where `/readyz` is; else it is asked for a connection alone.
    pub ops: Option<String>,
    /// The authority of its certificate, as a file on the proxy; plain HTTP unless set.
    pub ca: Option<String>,
    /// The name in its certificate; the host of `address` unless set.
    pub tls_name: Option<String>,
}

/// The name of a node: of the same form as a tenant's, so that it may stand in any proxy's configuration.
pub type NodeName = TenantName;

/// Splits a host and a port; the host without brackets.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let right = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
            (1..=253).contains(&host.len()) && host.bytes().all(allowed)
        }
    };
    right.then_some((bare.unwrap_or(host), port))
}

/// Reads the text of `nodes.toml`.
///
/// # Errors
/// The first place at which the text is not as expected. `file` is the name that the error gives.
pub fn parse_nodes(text: &str, file: &str) -> Result<Nodes, Error> {
    let source = Source { file, text: text.strip_prefix('\u{feff}').unwrap_or(text) };
    let table = document(source)?;
    let document = Section::document(source, &table);
    document.only(DOCUMENT_KEYS)?;
    let proxy = match document.get("proxy") {
        Some(entry) => proxy(&entry.table()?)?,
        None => Proxy::default(),
    };
    let entry = document.require("nodes", "a table for each node, such as [nodes.n1]")?;
    let mut nodes = BTreeMap::new();
    for (key, entry) in entry.table()?.entries() {
        let name: NodeName = key.parse().map_err(|_| entry.error(format!("expected {NAME}")))?;
        nodes.insert(name, node(&entry.table()?)?);
    }
    if !(1..=NODES_MAX).contains(&nodes.len()) {
        return Err(entry.error(format!("expected 1 to {NODES_MAX} nodes")));
    }
    let mut tenants = BTreeMap::new();
    if let Some(entry) = document.get("tenants") {
        for (key, entry) in entry.table()?.entries() {
            let tenant: TenantName =
                key.parse().map_err(|fault: BadTenantName| entry.error(fault.to_string()))?;
            let node = entry.text("the name of a node")?;
            let known = nodes.get_key_value(node).map(|(name, _)| name.clone());
            let known = known.ok_or_else(|| entry.error("expected the name of a node that [nodes] has"))?;
            tenants.insert(tenant, known);
        }
    }
    Ok(Nodes { proxy, nodes, tenants })
}

fn proxy(section: &Section<'_>) -> Result<Proxy, Error> {
    section.only(PROXY_KEYS)?;
    let mut proxy = Proxy::default();
    if let Some(entry) = section.get("listen") {
        let text = entry.text(LISTEN)?;
        let address: Result<std::net::SocketAddr, _> = text.parse();
        proxy.listen = address.map_err(|_| entry.error(format!("expected {LISTEN}")))?.to_string();
    }
    proxy.certificate = section.get("certificate").map(|entry| path(&entry)).transpose()?;
    proxy.key = section.get("key").map(|entry| path(&entry)).transpose()?;
    if let (None, Some(entry)) = (&proxy.certificate, section.get("key")) {
        return Err(entry.error("expected certificate beside it"));
    }
    if let Some(entry) = section.get("when_down") {
        proxy.when_down = entry.word(WhenDown::WORDS)?;
    }
    Ok(proxy)
}

fn node(section: &Section<'_>) -> Result<Node, Error> {
    section.only(NODE_KEYS)?;
    let address = address(&section.require("address", ADDRESS)?)?;
    let ops = section.get("ops").map(|entry| self::address(&entry)).transpose()?;
    let ca = section.get("ca").map(|entry| path(&entry)).transpose()?;
    let mut tls_name = None;
    if let Some(entry) = section.get("tls_name") {
        let expected = "the name in the node's certificate, beside ca";
        let text = entry.text(expected)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        if ca.is_none() || !(1..=253).contains(&text.len()) || !text.bytes().all(plain) {
            return Err(entry.error(format!("expected {expected}")));
        }
        tls_name = Some(text.to_owned());
    }
    Ok(Node { address, ops, ca, tls_name })
}

/// The name of a node, as it stands in `tenants.toml`.
pub(super) fn name(entry: &Entry<'_>) -> Result<NodeName, Error> {
    entry.text(NAME)?.parse().map_err(|_| entry.error(format!("expected {NAME}")))
}

fn address(entry: &Entry<'_>) -> Result<String, Error> {
    let text = entry.text(ADDRESS)?;
    match host_and_port(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(entry.error(format!("expected {ADDRESS}"))),
    }
}

/// What goes into another program's configuration holds nothing that could end a word there.
fn path(entry: &Entry<'_>) -> Result<String, Error> {
    let text = entry.text(FILE)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let right = text.starts_with('/') && text.len() <= PATH_BYTES_MAX && text.bytes().all(plain);
    if right { Ok(text.to_owned()) } else { Err(entry.error(format!("expected {FILE}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = r#"
[proxy]
listen = "[::]:8443"
certificate = "/etc/proxy/scim.pem"
key = "/etc/proxy/scim.key"
when_down = "429"
[nodes.n1]
address = "10.0.0.11:8080"
ops = "10.0.0.11:9090"
[nodes.n2]
address = "[fd00::2]:8443"
ca = "/etc/proxy/ca.pem"
tls_name = "n2.internal"
[tenants]
acme = "n2"
"#;
        let nodes = parse_nodes(text, "nodes.toml").unwrap();
        assert_eq!(nodes.proxy.listen, "[::]:8443");
        assert_eq!(nodes.proxy.when_down.status(), 429);
        assert_eq!(nodes.nodes["n1"].ops.as_deref(), Some("10.0.0.11:9090"));
        assert_eq!(nodes.nodes["n2"].tls_name.as_deref(), Some("n2.internal"));
        assert_eq!(nodes.tenants["acme"].as_str(), "n2");
        let least = parse_nodes("[nodes.a]\naddress = \"a:1\"", "nodes.toml").unwrap();
        assert_eq!((least.proxy, least.tenants.len()), (Proxy::default(), 0));
    }

    #[test]
    fn what_could_break_out_of_a_proxys_configuration_is_refused() {
        let node = "[nodes.n1]\naddress = \"a:1\"\n";
        for (text, expected) in [
            ("".to_owned(), "nodes.toml:1: nodes: missing"),
            ("[nodes]".to_owned(), "1 to 200 nodes"),
            ("[nodes.N1]\naddress = \"a:1\"".to_owned(), "the name of a node"),
            ("[nodes.n1]".to_owned(), "nodes.n1.address: missing"),
            ("[nodes.n1]\naddress = \"a b:1\"".to_owned(), "nodes.n1.address: expected a host and a port"),
            ("[nodes.n1]\naddress = \"a;x:1\"".to_owned(), "expected a host and a port"),
            ("[nodes.n1]\naddress = \"a:0\"".to_owned(), "expected a host and a port"),
            ("[nodes.n1]\naddress = \"a\"".to_owned(), "expected a host and a port"),
            (format!("{node}ca = \"/a b\""), "the absolute path of a file"),
            (format!("{node}ca = \"a\""), "the absolute path of a file"),
            (format!("{node}tls_name = \"x\""), "beside ca"),
            (format!("{node}weight = 3"), "unknown key"),
            (format!("{node}[tenants]\nacme = \"n2\""), "a node that [nodes] has"),
            (format!("{node}[tenants]\nACME = \"n1\""), "expected a tenant name"),
            (format!("{node}[proxy]\nkey = \"/k\""), "expected certificate beside it"),
            (format!("{node}[proxy]\nlisten = \"443\""), "an address and a port"),
            (format!("{node}[proxy]\nwhen_down = \"500\""), "expected \"503\" or \"429\""),
        ] {
            let problem = parse_nodes(&text, "nodes.toml").unwrap_err().to_string();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
