//! What the operator sees of a running server: `ops_listen`, `metrics_tenants_max` and `slow_request_ms` of `[server]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::Error;
use crate::config::read::Section;

/// Where health and metrics are served unless the file says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// How the server can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpsSettings {
    /// Where health and metrics are served.
    pub listen: OpsListen,
    /// Most tenants that have series of their own in the metrics; the others share one label.
    pub metrics_tenants_max: usize,
    /// From how many milliseconds on a request is logged as slow, with the plans of its queries; 0 for none.
    pub slow_request_ms: u64,
}

impl Default for OpsSettings {
    fn default() -> OpsSettings {
        OpsSettings { listen: OpsListen::Default, metrics_tenants_max: 1_000, slow_request_ms: 1_000 }
    }
}

/// Where health and metrics are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpsListen {
    /// Nobody has said: 127.0.0.1:8081, and where that is taken, nowhere.
    #[default]
    Default,
    /// At this address or the server does not start.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl OpsListen {
    /// Reads `off` or an address with a port.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<OpsListen, &'static str> {
        if text == "off" {
            return Ok(OpsListen::Off);
        }
        let expected =
            "expected \"off\" or an IP address and a port, such as \"127.0.0.1:8081\" or \"[::]:8081\"";
        text.parse().map(OpsListen::At).map_err(|_| expected)
    }

    /// What a text that is faulty elsewhere says, for who wants to ask the server that runs: the first `ops_listen`
    /// that can be read. `Default` where there is none.
    pub fn in_faulty(text: &str) -> OpsListen {
        let value = |line: &str| {
            let (before, after) = line.split_once("ops_listen")?;
            // Not in a comment, and not the end of another key.
            if before.contains('#') || before.ends_with(|c: char| c.is_alphanumeric() || "_-".contains(c)) {
                return None;
            }
            let quoted = after.trim_start().strip_prefix('=')?.trim_start();
            let quote = quoted.chars().next().filter(|first| "\"'".contains(*first))?;
            OpsListen::parse(quoted[1..].split(quote).next()?).ok()
        };
        text.lines().find_map(value).unwrap_or_default()
    }

    /// The address; `None` when it is off.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            OpsListen::Default => Some(DEFAULT_LISTEN),
            OpsListen::At(address) => Some(address),
            OpsListen::Off => None,
        }
    }
}

/// Reads the keys that belong here out of `[server]`.
pub(super) fn read(section: &Section<'_>) -> Result<OpsSettings, Error> {
    let mut ops = OpsSettings::default();
    if let Some(entry) = section.get("ops_listen") {
        let text = entry.text("\"off\" or an address and a port, such as \"127.0.0.1:8081\"")?;
        ops.listen = OpsListen::parse(text).map_err(|problem| entry.error(problem))?;
    }
    if let Some(entry) = section.get("metrics_tenants_max") {
        ops.metrics_tenants_max = usize::try_from(entry.number(0..=100_000)?).unwrap_or(0);
    }
    if let Some(entry) = section.get("slow_request_ms") {
        ops.slow_request_ms = u64::try_from(entry.number(0..=300_000)?).unwrap_or(0);
    }
    Ok(ops)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OpsSettings, String> {
        let settings = crate::config::parse(&format!("[server]\n{text}"), "t");
        settings.map(|settings| settings.server.ops).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_or_off_is_taken_and_nothing_else() {
        assert_eq!(read("").unwrap().listen.address(), Some(DEFAULT_LISTEN));
        let at = |text: &str| OpsListen::At(text.parse().unwrap());
        assert_eq!(read("ops_listen = \"[::1]:9\"").unwrap().listen, at("[::1]:9"));
        assert_eq!(read("ops_listen = \"off\"").unwrap().listen.address(), None);
        for wrong in ["\"on\"", "\"localhost:8081\"", "\"127.0.0.1\"", "8081", "true"] {
            let error = read(&format!("ops_listen = {wrong}")).unwrap_err();
            assert!(error.starts_with("t:2: server.ops_listen: expected \"off\" or"), "{error}");
        }
    }

    #[test]
    fn the_numbers_have_bounds() {
        let ops = read("metrics_tenants_max = 0\nslow_request_ms = 250").unwrap();
        assert_eq!((ops.metrics_tenants_max, ops.slow_request_ms), (0, 250));
        assert!(read("metrics_tenants_max = -1").is_err());
        assert!(read("slow_request_ms = 300001").is_err());
    }

    #[test]
    fn where_to_ask_is_found_in_a_text_that_is_faulty_elsewhere() {
        let at = OpsListen::At("127.0.0.1:9".parse().unwrap());
        for (text, expected) in [
            ("[server]\nlisten = \nops_listen = \"127.0.0.1:9\" # here\n[", at),
            ("server = { x = 1, ops_listen='127.0.0.1:9'", at),
            ("#ops_listen = \"off\"\nops_listen =\"127.0.0.1:9\"", at),
            ("[server]\nops_listen = \"off\"\nprofle = 1", OpsListen::Off),
            ("[server]\nops_listen = \"nowhere\"", OpsListen::Default),
            ("[server]\nops_listen = ", OpsListen::Default),
            ("[server]\nmy_ops_listen = \"off\"", OpsListen::Default),
            ("", OpsListen::Default),
        ] {
            assert_eq!(OpsListen::in_faulty(text), expected, "{text}");
        }
    }
}
