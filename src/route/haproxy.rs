//! The configuration of HAProxy: a frontend, a backend for each node, a map of tenants.
//!
//! The tenant is the third part of the raw path, as our server cuts it: doubled slashes count as one, and nothing is
//! decoded. A tenant's name written in another way is refused here, so that proxy and node can never read one path as
//! two tenants.

use std::fmt::Write as _;

use crate::config::nodes::{Node, NodeName, Nodes, host_and_port};
use crate::route::{File, NOBODY, NOT_HERE, OTHERS, Places, Says, down};

pub(super) fn files(nodes: &Nodes, places: &Places, folder: &str) -> Vec<File> {
    let mut map = String::new();
    for (tenant, place) in places {
        let _ = writeln!(map, "{tenant} ici-scim-{}", place.node);
    }
    vec![
        File { name: "ici-scim-haproxy.cfg", text: configuration(nodes, folder) },
        File { name: "ici-scim-tenants.map", text: map },
        File { name: "ici-scim-down.http", text: raw(down(nodes)) },
    ]
}

fn configuration(nodes: &Nodes, folder: &str) -> String {
    let mut text = String::new();
    text.push_str(HEAD);
    for says in OTHERS {
        let _ = writeln!(text, "    http-error status {} {}", says.status, content(*says));
    }
    // All three mean that the node gave no answer. A file, since what it says may have another status.
    for status in [502, 503, 504] {
        let _ = writeln!(text, "    errorfile {status} {folder}/ici-scim-down.http");
    }
    text.push_str("\nfrontend ici-scim from ici-scim\n");
    match &nodes.proxy.certificate {
        Some(file) => {
            let _ = writeln!(
                text,
                "    bind {} ssl crt {file} alpn h2,http/1.1 ssl-min-ver TLSv1.2",
                nodes.proxy.listen
            );
        }
        None => {
            let _ = writeln!(text, "    bind {}", nodes.proxy.listen);
        }
    }
    let _ = write!(
        text,
        "    # What a client says of itself is not passed on.\n    \
         http-request set-header X-Forwarded-For %[src]\n    \
         http-request set-header X-Forwarded-Proto {}\n    \
         # Doubled slashes count as one, as in the server.\n    \
         acl ici_scim path,word(1,/) -m str scim\n    \
         acl ici_v2 path,word(2,/) -m str v2\n    \
         acl ici_tenant path,word(3,/) -m len ge 1\n    \
         http-request return status {} {} unless ici_scim ici_v2 ici_tenant\n    \
         http-request set-var(txn.ici_node) path,word(3,/),map_str({folder}/ici-scim-tenants.map)\n    \
         http-request return status {} {} hdr WWW-Authenticate Bearer unless {{ var(txn.ici_node) -m found }}\n    \
         use_backend %[var(txn.ici_node)]\n",
        if nodes.proxy.certificate.is_some() { "https" } else { "http" },
        NOT_HERE.status,
        content(NOT_HERE),
        NOBODY.status,
        content(NOBODY),
    );
    for (name, node) in &nodes.nodes {
        text.push_str(&backend(name, node));
    }
    text
}

/// A whole answer as it goes over the wire.
fn raw(says: Says) -> String {
    let reason = http::StatusCode::from_u16(says.status).ok().and_then(|status| status.canonical_reason());
    let body = says.body();
    let retry = says.retry_after_s.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/scim+json\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{retry}\r\n{body}",
        says.status,
        reason.unwrap_or("Error"),
        body.len()
    )
}

fn content(says: Says) -> String {
    let retry = says.retry_after_s.map(|seconds| format!(" hdr Retry-After {seconds}")).unwrap_or_default();
    format!("content-type application/scim+json string '{}'{retry}", quoted(&says.body()))
}

/// For between single quotes: one of them ends the word, is escaped, and begins it again.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn backend(name: &NodeName, node: &Node) -> String {
    let mut text = format!("\nbackend ici-scim-{name} from ici-scim\n");
    let mut server = format!("    server {name} {}", node.address);
    if let Some(ca) = &node.ca {
        let host = host_and_port(&node.address).map_or("", |(host, _)| host);
        let tls_name = node.tls_name.as_deref().unwrap_or(host);
        let _ = write!(
            server,
            " ssl verify required ca-file {ca} sni str({tls_name}) verifyhost {tls_name} alpn http/1.1"
        );
    }
    match node.ops.as_deref().and_then(host_and_port) {
        Some((host, port)) => {
            text.push_str("    option httpchk\n    http-check send meth GET uri /readyz\n    http-check expect status 200\n");
            // Where it is another machine's; HAProxy asks the server's own else.
            let own = host_and_port(&node.address).is_some_and(|(own, _)| own == host);
            let addr = if own { String::new() } else { format!(" addr {host}") };
            let ssl = if node.ca.is_some() { " no-check-ssl" } else { "" };
            let _ = write!(server, " check{addr} port {port}{ssl}");
        }
        // A connection that comes about, with its handshake where there is one.
        None => server.push_str(" check"),
    }
    text.push_str(&server);
    text.push_str(" inter 2s fall 2 rise 1\n");
    text
}

const HEAD: &str = "\
# Made by `ici-scim route`; make it anew rather than edit it. Beside another configuration:
#   haproxy -f /etc/haproxy/haproxy.cfg -f ici-scim-haproxy.cfg
defaults ici-scim
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout http-request 15s
    timeout http-keep-alive 75s
    timeout client 75s
    timeout server 75s
    timeout queue 30s
    # Only what was never sent to the node is sent again: a write is done once.
    retries 3
    retry-on conn-failure
";
