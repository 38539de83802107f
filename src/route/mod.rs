//! Which node serves which tenant, and the configuration of a proxy that obeys it.
//!
//! Pure: settings in, texts out. Writing the files and trying the proxy belong to the command.

mod haproxy;
mod nginx;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::nodes::{NodeName, Nodes};
use crate::config::{Settings, TenantName};

/// A proxy whose configuration can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// HAProxy, from 2.4 on.
    Haproxy,
    /// nginx, from 1.18 on.
    Nginx,
}

/// What decided where a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `node` in the tenant's own table.
    Tenant,
    /// `[tenants]` in `nodes.toml`.
    Nodes,
    /// The hash; nobody has told.
    Hash,
}

impl By {
    /// Where it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            By::Tenant => "tenants.toml",
            By::Nodes => "nodes.toml",
            By::Hash => "hash",
        }
    }
}

/// Where a tenant is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeName,
    /// What decided it.
    pub by: By,
}

/// Every tenant with its place.
pub type Places = BTreeMap<TenantName, Place>;

/// Why there is no answer to where a tenant is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// The two files tell different nodes.
    #[error("tenant {tenant}: its table names node {one}, and nodes.toml names {other}")]
    Twice {
        /// The tenant.
        tenant: TenantName,
        /// The node of its table.
        one: NodeName,
        /// That of `nodes.toml`.
        other: NodeName,
    },
    /// A node that is not there.
    #[error("tenant {tenant}: its table names node {node}, which nodes.toml does not have")]
    NoSuchNode {
        /// The tenant.
        tenant: TenantName,
        /// The node.
        node: NodeName,
    },
    /// A tenant that is not there.
    #[error("nodes.toml names a node for tenant {tenant}, which the configuration does not have")]
    NoSuchTenant {
        /// The tenant.
        tenant: TenantName,
    },
}

/// Where each tenant is: on the node that it is told to be, else on that of the hash.
///
/// # Errors
/// The first tenant that is told to be in two places, on no node, or that does not exist.
pub fn places(settings: &Settings, nodes: &Nodes) -> Result<Places, Misplaced> {
    if let Some(tenant) = nodes.tenants.keys().find(|tenant| !settings.tenants.contains_key(*tenant)) {
        return Err(Misplaced::NoSuchTenant { tenant: tenant.clone() });
    }
    let mut places = Places::new();
    for (tenant, chosen) in &settings.tenants {
        let place = match (&chosen.node, nodes.tenants.get(tenant)) {
            (Some(one), Some(other)) if one != other => {
                let (tenant, one, other) = (tenant.clone(), one.clone(), other.clone());
                return Err(Misplaced::Twice { tenant, one, other });
            }
            (Some(node), _) if !nodes.nodes.contains_key(node) => {
                return Err(Misplaced::NoSuchNode { tenant: tenant.clone(), node: node.clone() });
            }
            (Some(node), _) => Place { node: node.clone(), by: By::Tenant },
            (None, Some(node)) => Place { node: node.clone(), by: By::Nodes },
            (None, None) => match hashed(tenant, nodes.nodes.keys()) {
                Some(node) => Place { node: node.clone(), by: By::Hash },
                None => continue,
            },
        };
        places.insert(tenant.clone(), place);
    }
    Ok(places)
}

/// The node of a tenant by rendezvous hashing (highest random weight): the node whose
/// `weight` for the tenant is highest. Another node takes only those tenants for which its weight is the highest, one
/// in n; when a node goes, only its own tenants move.
pub fn hashed<'a>(tenant: &TenantName, nodes: impl Iterator<Item = &'a NodeName>) -> Option<&'a NodeName> {
    nodes.max_by_key(|node| (weight(node, tenant), (*node).clone()))
}

/// The first eight bytes, big end first, of SHA-256 of the node's name, a zero byte and the tenant's name. It is part of
/// the product's promise and never changes: another value would move tenants without their files.
fn weight(node: &NodeName, tenant: &TenantName) -> u64 {
    let mut hash = Sha256::new();
    hash.update(node.as_str().as_bytes());
    hash.update([0]);
    hash.update(tenant.as_str().as_bytes());
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |weight, byte| weight << 8 | u64::from(*byte))
}

/// A file for the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, in the folder where the proxy finds it.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// Why the configuration of a proxy cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// nginx wants the key in a file of its own, named beside the certificate.
    #[error("proxy.certificate without proxy.key: nginx needs both")]
    NoKey,
    /// nginx knows one list of authorities for all nodes, and one scheme.
    #[error(
        "the nodes name different files as ca, or some none: nginx needs one file for all, or none at all"
    )]
    SeveralAuthorities,
}

/// The files for a proxy, its configuration first, then the map of tenants. `folder` is where the proxy finds them.
///
/// # Errors
/// See [`Unwritable`].
pub fn files(
    format: Format,
    nodes: &Nodes,
    places: &Places,
    settings: &Settings,
    folder: &str,
) -> Result<Vec<File>, Unwritable> {
    match format {
        Format::Haproxy => Ok(haproxy::files(nodes, places, folder)),
        Format::Nginx => nginx::files(nodes, places, settings, folder),
    }
}

/// What the proxies answer by themselves.
#[derive(Clone, Copy)]
struct Says {
    status: u16,
    detail: &'static str,
    retry_after_s: Option<u32>,
}

impl Says {
    /// A SCIM error (RFC 7644 §3.12); no quote and no backslash is in it but those of JSON.
    fn body(self) -> String {
        format!(
            "{{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:Error\"],\"detail\":\"{}\",\"status\":\"{}\"}}",
            self.detail, self.status
        )
    }
}

/// A path that is not of SCIM; in our own words.
const NOT_HERE: Says = Says {
    status: 404,
    detail: "There is nothing at this address; a Base URL ends in /scim/v2/ and the tenant's name.",
    retry_after_s: None,
};

/// A tenant that no node has: as a wrong token, so that nobody learns who is a customer.
const NOBODY: Says = Says {
    status: 401,
    detail: "Missing or invalid API token; enter the token of this tenant in the API Token field.",
    retry_after_s: None,
};

/// Long enough for a restart, short enough for a person who waits.
const RETRY_AFTER_S: u32 = 30;

fn down(nodes: &Nodes) -> Says {
    Says {
        status: nodes.proxy.when_down.status(),
        detail: "The machine that serves this tenant cannot be reached at the moment; try again.",
        retry_after_s: Some(RETRY_AFTER_S),
    }
}

/// What is wrong with a request, or with us, before a node has seen it.
const OTHERS: &[Says] = &[
    Says { status: 400, detail: "The request cannot be read.", retry_after_s: None },
    Says { status: 408, detail: "The request did not come in time; send it again.", retry_after_s: None },
    Says { status: 500, detail: "Something went wrong in the proxy.", retry_after_s: None },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn nodes(names: &[&str], more: &str) -> Nodes {
        let tables: Vec<String> =
            names.iter().map(|name| format!("[nodes.{name}]\naddress = \"{name}:8080\"\n")).collect();
        config::nodes::parse_nodes(&(tables.concat() + more), "nodes.toml").unwrap()
    }

    fn tenants(count: u32) -> Settings {
        let text: String = (0..count).map(|number| format!("[tenants.t{number}]\n")).collect();
        config::parse(&text, "tenants.toml").unwrap()
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        let name = |text: &str| text.parse::<TenantName>().unwrap();
        // printf 'n1\0acme' | sha256sum | head -c 16
        assert_eq!(format!("{:016x}", weight(&name("n1"), &name("acme"))), "44e77a1593bad8cd");
        assert_eq!(format!("{:016x}", weight(&name("n2"), &name("acme"))), "88d0bdacacbb5c2e");
    }

    #[test]
    fn another_node_takes_its_share_from_the_others_and_moves_nobody_else() {
        let settings = tenants(4000);
        let before = places(&settings, &nodes(&["n1", "n2", "n3"], "")).unwrap();
        let after = places(&settings, &nodes(&["n1", "n2", "n3", "n4"], "")).unwrap();
        let moved: Vec<_> = before.iter().filter(|(tenant, place)| after[*tenant] != **place).collect();
        assert!(moved.iter().all(|(tenant, _)| after[*tenant].node.as_str() == "n4"));
        assert!((850..1150).contains(&moved.len()), "{}", moved.len());
        for name in ["n1", "n2", "n3"] {
            let share = before.values().filter(|place| place.node.as_str() == name).count();
            assert!((1200..1470).contains(&share), "{name}: {share}");
        }
    }

    #[test]
    fn what_is_told_wins_over_the_hash_and_contradictions_are_refused() {
        let settings = config::parse("[tenants.a]\nnode = \"n2\"\n[tenants.b]\n[tenants.c]\n", "t").unwrap();
        let told = |more: &str| places(&settings, &nodes(&["n1", "n2"], more));
        let places = told("[tenants]\nb = \"n1\"\n").unwrap();
        assert_eq!((places["a"].node.as_str(), places["a"].by), ("n2", By::Tenant));
        assert_eq!((places["b"].node.as_str(), places["b"].by), ("n1", By::Nodes));
        assert_eq!(places["c"].by, By::Hash);
        assert!(matches!(told("[tenants]\na = \"n1\"\n"), Err(Misplaced::Twice { .. })));
        assert!(matches!(told("[tenants]\nz = \"n1\"\n"), Err(Misplaced::NoSuchTenant { .. })));
        let gone = super::places(&settings, &nodes(&["n1"], ""));
        assert!(matches!(gone, Err(Misplaced::NoSuchNode { .. })));
    }
}
