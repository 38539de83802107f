//! Where the server listens, and whose word it takes for who a client is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::Error;
use crate::config::read::Entry;

/// What is expected of `listen`.
pub const LISTEN_EXPECTED: &str = "an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or a \
                                   socket file, such as \"unix:/run/ici-scim/scim.sock\"";

/// Longest path of a socket file in bytes: `sun_path` of Linux without its last byte (`unix(7)`).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Most networks in `trusted_proxies`; they are gone through for each request of a proxy.
const NETWORKS_MAX: usize = 64;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket file, absolute; `unix:` before it in the text.
    Unix(PathBuf),
}

/// What stands in the place of a [`Listen`] is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadListen;

impl fmt::Display for BadListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {LISTEN_EXPECTED}")
    }
}

impl std::error::Error for BadListen {}

impl FromStr for Listen {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Listen, BadListen> {
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Listen::Tcp).map_err(|_| BadListen);
        };
        let right = path.starts_with('/')
            && !path.ends_with('/')
            && path.len() <= SOCKET_PATH_BYTES_MAX
            && !path.contains('\0');
        if right { Ok(Listen::Unix(PathBuf::from(path))) } else { Err(BadListen) }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    pub(super) fn read(entry: &Entry<'_>) -> Result<Listen, Error> {
        let text = entry.text(LISTEN_EXPECTED)?;
        text.parse().map_err(|bad: BadListen| entry.error(bad.to_string()))
    }
}

/// The proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    pub(super) fn read(entry: &Entry<'_>) -> Result<TrustedProxies, Error> {
        let expected =
            "a list of addresses and networks, such as [\"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"]";
        let elements = entry.elements(expected)?;
        if elements.len() > NETWORKS_MAX {
            return Err(entry.error(format!("expected at most {NETWORKS_MAX} networks")));
        }
        let networks = elements.iter().map(|element| {
            let text = element.text("an address or a network")?;
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| {
                element.error("expected an address or a network, such as \"127.0.0.1\" or \"10.0.0.0/8\"")
            })
        });
        Ok(TrustedProxies(networks.collect::<Result<_, _>>()?))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address is that of a trusted proxy. An IPv4 address that came in an IPv6 one is the same.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_socket_file_is_where_to_listen_and_prints_as_it_was_written() {
        for text in ["127.0.0.1:8080", "[::]:443", "unix:/run/ici-scim/scim.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(SOCKET_PATH_BYTES_MAX));
        for text in ["", "8080", "localhost:8080", "unix:", "unix:scim.sock", "unix:/run/", "/run/x", &long] {
            assert_eq!(text.parse::<Listen>(), Err(BadListen), "{text}");
        }
    }

    fn proxies(list: &str) -> Result<TrustedProxies, String> {
        let text = format!("[server]\ntrusted_proxies = {list}");
        let settings = crate::config::parse(&text, "t").map_err(|error| error.to_string())?;
        Ok(settings.server.trusted_proxies)
    }

    #[test]
    fn addresses_and_networks_of_both_families_are_trusted_and_nobody_else() {
        let trusted = proxies("[\"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"]").unwrap();
        for (address, is_trusted) in [
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("10.200.3.4", true),
            ("11.0.0.1", false),
            ("::ffff:10.1.2.3", true),
            ("fd12::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(trusted.contains(address.parse().unwrap()), is_trusted, "{address}");
        }
        assert!(TrustedProxies::default().is_empty() && proxies("[]").unwrap().is_empty());
        for wrong in ["[\"10.0.0.0/33\"]", "[\"proxy.example\"]", "[7]", "\"10.0.0.1\""] {
            assert!(proxies(wrong).unwrap_err().contains("server.trusted_proxies"), "{wrong}");
        }
    }
}
