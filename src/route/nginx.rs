//! The configuration of nginx, for its `http` block: maps, an upstream for each node, a server.
//!
//! The tenant is cut from the raw request line: doubled slashes count as one, and nothing is decoded or resolved, since
//! that is how the node reads what is passed on. A tenant's name written in another way is refused here.

use std::fmt::Write as _;

use crate::config::Settings;
use crate::config::nodes::{Nodes, host_and_port};
use crate::route::{File, NOBODY, NOT_HERE, OTHERS, Places, Says, Unwritable, down};

pub(super) fn files(
    nodes: &Nodes,
    places: &Places,
    settings: &Settings,
    folder: &str,
) -> Result<Vec<File>, Unwritable> {
    let mut map = String::new();
    for (tenant, place) in places {
        let _ = writeln!(map, "{tenant} {};", place.node);
    }
    Ok(vec![
        File { name: "ici-scim-nginx.conf", text: configuration(nodes, settings, folder, places.len())? },
        File { name: "ici-scim-tenants.map", text: map },
    ])
}

fn configuration(
    nodes: &Nodes,
    settings: &Settings,
    folder: &str,
    tenants: usize,
) -> Result<String, Unwritable> {
    let tls = tls_of(nodes)?;
    let mut text = String::from(HEAD);
    let _ = write!(
        text,
        "map_hash_bucket_size 256;\nmap_hash_max_size {};\n\n\
         map $request_uri $ici_scim_tenant {{\n    default \"\";\n    \
         \"~^/+scim/+v2/+(?<ici_scim_name>[a-z0-9-]+)(?:[/?]|$)\" $ici_scim_name;\n}}\n\n\
         map $request_uri $ici_scim_below {{\n    default 0;\n    \"~^/+scim/+v2/+[^/?]\" 1;\n}}\n\n\
         map $ici_scim_tenant $ici_scim_node {{\n    default \"\";\n    include {folder}/ici-scim-tenants.map;\n}}\n",
        // nginx looks for a table without collisions; twice the entries is what it finds at once.
        (2 * tenants).next_power_of_two().max(2048),
    );
    if tls.is_some() {
        text.push_str(&tls_names(nodes));
    }
    for (name, node) in &nodes.nodes {
        let _ = write!(
            text,
            "\nupstream ici-scim-{name} {{\n    server {};\n    keepalive 32;\n    keepalive_timeout 20s;\n}}\n",
            node.address
        );
    }
    text.push_str("\nserver {\n");
    match (&nodes.proxy.certificate, &nodes.proxy.key) {
        (None, _) => {
            let _ = writeln!(text, "    listen {};", nodes.proxy.listen);
        }
        (Some(_), None) => return Err(Unwritable::NoKey),
        (Some(certificate), Some(key)) => {
            let _ = write!(
                text,
                "    listen {} ssl http2;\n    ssl_certificate {certificate};\n    ssl_certificate_key {key};\n    \
                 ssl_protocols TLSv1.2 TLSv1.3;\n",
                nodes.proxy.listen
            );
        }
    }
    let _ = write!(
        text,
        "    server_tokens off;\n    \
         # One byte more than the node takes, so that the node says what is too large.\n    \
         client_max_body_size {};\n    \
         client_header_timeout 15s;\n    keepalive_timeout 75s;\n    merge_slashes off;\n    default_type application/scim+json;\n\n",
        settings.server.limits.body_bytes_max.saturating_add(1)
    );
    text.push_str(&errors(nodes));
    text.push_str(&location(tls));
    text.push_str("}\n");
    Ok(text)
}

/// What nginx answers by itself.
fn errors(nodes: &Nodes) -> String {
    let mut text = String::new();
    let too_large = Says { status: 413, detail: "The request body is too large.", retry_after_s: None };
    for says in OTHERS.iter().copied().chain([too_large]) {
        let codes = match says.status {
            // 494 to 497: heads that are too large, certificates, plain HTTP on the port of TLS.
            400 => "400 414 494 495 496 497".to_owned(),
            status => status.to_string(),
        };
        let _ = writeln!(text, "    error_page {codes} = @ici_scim_{};", says.status);
        text.push_str(&named(&format!("@ici_scim_{}", says.status), says));
    }
    text.push_str("    error_page 502 503 504 = @ici_scim_down;\n");
    text.push_str(&named("@ici_scim_down", down(nodes)));
    text
}

fn named(name: &str, says: Says) -> String {
    format!("    location {name} {{\n{}    }}\n", returned(says, "        "))
}

fn returned(says: Says, indent: &str) -> String {
    let retry =
        says.retry_after_s.map(|seconds| format!("{indent}add_header Retry-After {seconds} always;\n"));
    let body = says.body().replace('\'', "\\'");
    format!("{}{indent}return {} '{body}';\n", retry.unwrap_or_default(), says.status)
}

fn location(tls: Option<&str>) -> String {
    let mut text = format!(
        "\n    location / {{\n        if ($ici_scim_below = 0) {{\n{}        }}\n        \
         if ($ici_scim_node = \"\") {{\n            add_header WWW-Authenticate Bearer always;\n{}        }}\n",
        returned(NOT_HERE, "            "),
        returned(NOBODY, "            ")
    );
    let scheme = if tls.is_some() { "https" } else { "http" };
    // Without a path behind it, what the client asked for is passed on as it stands.
    let _ = writeln!(text, "        proxy_pass {scheme}://ici-scim-$ici_scim_node;");
    if let Some(ca) = tls {
        let _ = write!(
            text,
            "        proxy_ssl_verify on;\n        proxy_ssl_trusted_certificate {ca};\n        \
             proxy_ssl_verify_depth 3;\n        proxy_ssl_server_name on;\n        \
             proxy_ssl_name $ici_scim_tls_name;\n        proxy_ssl_protocols TLSv1.2 TLSv1.3;\n"
        );
    }
    text.push_str(PASSED_ON);
    text.push_str("    }\n");
    text
}

/// The authority of all nodes, if they speak TLS. nginx has one list of them in a place, and one scheme.
fn tls_of(nodes: &Nodes) -> Result<Option<&str>, Unwritable> {
    let mut authorities = nodes.nodes.values().map(|node| node.ca.as_deref());
    let first = authorities.next().flatten();
    if authorities.all(|other| other == first) { Ok(first) } else { Err(Unwritable::SeveralAuthorities) }
}

/// The name in each node's certificate.
fn tls_names(nodes: &Nodes) -> String {
    let mut text = String::from("\nmap $ici_scim_node $ici_scim_tls_name {\n    default \"\";\n");
    for (name, node) in &nodes.nodes {
        let host = host_and_port(&node.address).map_or("", |(host, _)| host);
        let _ = writeln!(text, "    {name} {};", node.tls_name.as_deref().unwrap_or(host));
    }
    text + "}\n"
}

const PASSED_ON: &str = "        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_set_header Host $http_host;
        # What a client says of itself is not passed on. Authorization is, since nothing here replaces it.
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_connect_timeout 5s;
        proxy_send_timeout 75s;
        proxy_read_timeout 75s;
        # A tenant has one node: there is nobody else to ask.
        proxy_next_upstream off;
        proxy_intercept_errors off;
";

const HEAD: &str = "\
# Made by `ici-scim route`; make it anew rather than edit it. For the http block of nginx, such as
#   ln -s .../ici-scim-nginx.conf /etc/nginx/conf.d/ici-scim.conf
";
