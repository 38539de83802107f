//! `ici-scim health`: asks a running server on its `ops_listen`, for health checks of containers and for people.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::Globals;
use crate::cli::output::{self, Failure};
use crate::config::OpsListen;

const AFTER_HELP: &str = "\
Asks /healthz of a server that runs with this configuration: does the process answer? With --ready it asks /readyz: \
may requests be sent to it? A server that stops, or whose data folder takes nothing, is not ready. One whose \
configuration file is faulty is well and ready, since the configuration before it is in force; the fault is printed.

Exit codes: 0 it is well, 1 it is not, or does not answer, 2 wrong usage or configuration.

Examples:
  ici-scim health
  ici-scim health --ready --json
  ici-scim health --url http://10.0.0.7:8081/readyz";

/// Longest wait for the server, for each step.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Most bytes of a faulty configuration that are looked through, the most that a right one may have.
const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Ask a running server whether it is well
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Command {
    /// Ask whether requests may be sent to it, not only whether it answers
    #[arg(long)]
    ready: bool,

    /// The whole address to ask, in place of `ops_listen` of the configuration
    #[arg(long, value_name = "URL", conflicts_with = "ready")]
    url: Option<String>,
}

/// Asks, and prints what was answered.
///
/// # Errors
/// When there is nobody to ask, or no answer.
pub fn run(command: &Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (address, host, path) = match &command.url {
        Some(url) => target_of(url)?,
        None => {
            let address = configured(globals)?;
            let path = if command.ready { "/readyz" } else { "/healthz" };
            (address, address.to_string(), path.to_owned())
        }
    };
    let (status, body) = ask(address, &host, &path).map_err(|error| {
        Failure::failed(format!("no answer from http://{host}{path}: {error}")).hint(
            "is the server running, with this ops_listen? Its log says where health and metrics are served",
        )
    })?;
    if globals.json {
        // What is no JSON is given as a text.
        let answer = serde_json::from_str(&body).unwrap_or_else(|_| Value::from(body.trim()));
        output::json(&json!({ "url": format!("http://{host}{path}"), "status": status, "answer": answer }))?;
    } else {
        for line in body.lines() {
            output::line(line)?;
        }
    }
    Ok(if (200..300).contains(&status) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a server with this configuration can be asked. A listener on every address is reached by the loopback one.
fn configured(globals: &Globals) -> anyhow::Result<SocketAddr> {
    let off = || {
        Failure::usage("ops_listen is \"off\", so the server cannot be asked")
            .hint("give ops_listen under [server] an address, such as \"127.0.0.1:8081\"")
    };
    // As the server's own environment has it: in a container there may be nothing else.
    let listen = match std::env::var("ICI_SCIM_OPS_LISTEN") {
        Ok(text) => OpsListen::parse(&text)
            .map_err(|problem| Failure::usage(format!("ICI_SCIM_OPS_LISTEN: {problem}")))?,
        Err(_) => listen_of_file(globals)?,
    };
    let address = listen.address().ok_or_else(off)?;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

/// `ops_listen` of the configuration. A faulty one is asked for that alone: the server that runs serves on with the one
/// before, and were it held for ill, a mistyped key would have its container ended.
fn listen_of_file(globals: &Globals) -> anyhow::Result<OpsListen> {
    let fault = match globals.settings() {
        Ok(settings) => return Ok(settings.server.ops.listen),
        Err(fault) => fault,
    };
    let mut text = String::new();
    let read = std::fs::File::open(&globals.config)
        .and_then(|file| file.take(CONFIG_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Err(fault);
    }
    output::note(&format!("warning: {fault}; the server that runs is asked all the same"));
    Ok(OpsListen::in_faulty(&text))
}

/// Address, host with port, and path of a URL.
fn target_of(url: &str) -> anyhow::Result<(SocketAddr, String, String)> {
    let wrong = || {
        Failure::usage(
            "--url: expected http:// with a host and a port, such as http://127.0.0.1:8081/healthz",
        )
    };
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = match authority.port() {
        Some(_) => authority.as_str().to_owned(),
        None => format!("{authority}:80"),
    };
    let mut addresses = host.to_socket_addrs().with_context(|| format!("cannot find {host}"))?;
    let address = addresses.next().ok_or_else(|| Failure::failed(format!("{host} has no address")))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((address, host, path.to_owned()))
}

/// Status and body of an answer. HTTP/1.0, so that the end of the answer is the end of the connection.
fn ask(address: SocketAddr, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "what answers there is not HTTP"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.get(..3)?.parse().ok()?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_body_and_what_is_no_http_is_none() {
        assert_eq!(
            parse("HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nno\n"),
            Some((503, "no\n".to_owned()))
        );
        for text in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 xyz\r\n\r\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_url_is_http_with_a_host() {
        let (address, host, path) = target_of("http://127.0.0.1:9/readyz?x=1").unwrap();
        assert_eq!((address.port(), host.as_str(), path.as_str()), (9, "127.0.0.1:9", "/readyz?x=1"));
        assert_eq!(target_of("http://127.0.0.1").unwrap().1, "127.0.0.1:80");
        for wrong in ["https://127.0.0.1/", "127.0.0.1:8081", "ftp://a", ""] {
            assert!(target_of(wrong).is_err(), "{wrong}");
        }
    }
}
