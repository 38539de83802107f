//! `ici-scim route`: the configuration of a proxy that sends each tenant to its node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::Globals;
use crate::cli::output::{self, Failure, Table};
use crate::cli::session;
use crate::config::nodes::{NodeName, Nodes, parse_nodes};
use crate::config::{self, TenantName};
use crate::route::{self, By, File, Format, Places};
use crate::tenants::config_file;
use crate::tenants::config_set::ConfigSet;

const EXAMPLES: &str = "\
nodes.toml has a table for each node, and more if wanted (docs/scale.md):
  [nodes.n1]
  address = \"10.0.0.11:8080\"

A tenant is on the node that its table names (node = \"n1\"), or [tenants] in nodes.toml; else a hash decides.
Without --write the proxy's configuration is printed, and no file is touched.

Examples:
  ici-scim route --nodes nodes.toml --places
  ici-scim route --nodes nodes.toml --format haproxy
  ici-scim route --nodes nodes.toml --format haproxy --write --dir /etc/haproxy/ici-scim
  ici-scim route --nodes nodes.toml --format nginx --write --dir /etc/nginx/ici-scim
  ici-scim route --nodes nodes.toml --pin";

/// Arguments of `route`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(false).args(["format", "places", "pin"]))]
pub struct Command {
    /// The file that lists the nodes
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// Print or write the configuration of this proxy
    #[arg(long)]
    format: Option<FormatName>,
    /// Print which tenant is on which node, and why
    #[arg(long)]
    places: bool,
    /// Write the node into the table of each tenant that names none, so that no change of the nodes moves it
    #[arg(long)]
    pin: bool,
    /// The folder in which the proxy finds its files; absolute
    #[arg(long, value_name = "DIR", default_value = "/etc/ici-scim/route")]
    dir: PathBuf,
    /// Write all files into --dir in place of printing the configuration
    #[arg(long, requires = "format")]
    write: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatName {
    Haproxy,
    Nginx,
}

/// Runs the command.
///
/// # Errors
/// When one of the two files is wrong or they contradict each other (exit code 2), or a file cannot be written.
pub fn run(command: &Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let settings = globals.settings()?;
    let nodes = read(&command.nodes)?;
    let places = route::places(&settings, &nodes).map_err(|error| {
        Failure::usage(error.to_string()).hint("a tenant has one node: tell it in one of the two files alone")
    })?;
    let by_hash = places.values().filter(|place| place.by == By::Hash).count();
    match command.format {
        Some(name) => {
            let format = match name {
                FormatName::Haproxy => Format::Haproxy,
                FormatName::Nginx => Format::Nginx,
            };
            let folder = folder(&command.dir)?;
            let files = route::files(format, &nodes, &places, &settings, &folder)
                .map_err(|error| Failure::usage(error.to_string()))?;
            if command.write {
                write(&files, &command.dir, format, globals)?;
            } else {
                print(&files, globals)?;
            }
        }
        None if command.pin => pin(&places, globals)?,
        None => print_places(&places, &nodes, globals)?,
    }
    if by_hash > 0 && !command.pin {
        output::note(&format!(
            "{by_hash} tenants are where the hash puts them; `ici-scim route --nodes {} --pin` writes it down",
            command.nodes.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Nodes> {
    let name = file.display().to_string();
    let text = config_file::read(file).map_err(|error| {
        Failure::usage(format!("cannot read the nodes {name}: {error}"))
            .hint("a first one is two lines: [nodes.n1] and address = \"10.0.0.11:8080\"")
    })?;
    Ok(parse_nodes(&text, &name)?)
}

/// It stands in another program's configuration, so it holds nothing that could end a word there.
fn folder(dir: &Path) -> anyhow::Result<String> {
    let text = dir.to_string_lossy().trim_end_matches('/').to_owned();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.starts_with('/') && text.bytes().all(plain) {
        return Ok(text);
    }
    let problem = "--dir must be an absolute path of letters, digits, \"/\", \".\", \"_\" and \"-\"";
    Err(Failure::usage(problem)
        .hint("it is where the proxy finds the files, such as /etc/haproxy/ici-scim")
        .into())
}

fn print(files: &[File], globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        let texts: BTreeMap<&str, &str> = files.iter().map(|file| (file.name, file.text.as_str())).collect();
        return output::json(&json!({ "files": texts }));
    }
    let Some(configuration) = files.first() else { return Ok(()) };
    output::page(&configuration.text)?;
    let others: Vec<&str> = files.iter().skip(1).map(|file| file.name).collect();
    output::note(&format!("it needs {} beside it; --write writes all of them", others.join(" and ")));
    Ok(())
}

fn write(files: &[File], dir: &Path, format: Format, globals: &Globals) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)
        .map_err(|error| Failure::failed(format!("cannot make the folder {}: {error}", dir.display())))?;
    // The map first: a configuration that is read in between never lacks what it names.
    for file in files.iter().rev() {
        let path = dir.join(file.name);
        replace(&path, &file.text)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    }
    let names: Vec<String> = files.iter().map(|file| dir.join(file.name).display().to_string()).collect();
    if globals.json {
        return output::json(&json!({ "written": names }));
    }
    for name in &names {
        output::line(name)?;
    }
    output::note(match format {
        Format::Haproxy => "check and reload: haproxy -c -f FILE, then systemctl reload haproxy",
        Format::Nginx => "check and reload: nginx -t, then systemctl reload nginx",
    });
    Ok(())
}

/// Puts a file in the place of another in one step, so that a proxy that reads meanwhile sees one or the other.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().prefix(".ici-scim").tempfile_in(folder)?;
    beside.write_all(text.as_bytes())?;
    beside.as_file().sync_all()?;
    let readable: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    beside.as_file().set_permissions(readable)?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn print_places(places: &Places, nodes: &Nodes, globals: &Globals) -> anyhow::Result<()> {
    let count = |name: &TenantName| places.values().filter(|place| place.node == *name).count();
    if globals.json {
        let nodes: Vec<_> = nodes
            .nodes
            .iter()
            .map(|(name, node)| json!({ "name": name.as_str(), "address": node.address, "tenants": count(name) }))
            .collect();
        let tenants: Vec<_> = places
            .iter()
            .map(|(tenant, place)| {
                json!({ "tenant": tenant.as_str(), "node": place.node.as_str(), "by": place.by.as_str() })
            })
            .collect();
        return output::json(&json!({ "nodes": nodes, "tenants": tenants }));
    }
    let mut table = Table::new(&["TENANT", "NODE", "BY"]);
    for (tenant, place) in places {
        table.row([tenant.as_str(), place.node.as_str(), place.by.as_str()]);
    }
    output::table(&table)?;
    for name in nodes.nodes.keys() {
        output::note(&format!("node {name}: {} tenants", count(name)));
    }
    Ok(())
}

fn pin(places: &Places, globals: &Globals) -> anyhow::Result<()> {
    let told: Vec<_> = places.iter().filter(|(_, place)| place.by != By::Tenant).collect();
    // Each file is read and written once, however many tenants stand in it.
    let set = ConfigSet::read(&globals.config)?;
    let mut files: BTreeMap<&Path, Vec<(&TenantName, &NodeName)>> = BTreeMap::new();
    for (tenant, place) in &told {
        files.entry(set.file_of(tenant)).or_default().push((tenant, &place.node));
    }
    for pins in files.into_values() {
        let Some((first, _)) = pins.first().copied() else { continue };
        session::edit(globals, first, |text| config::edit::pin_tenants(text, pins.into_iter()))?;
    }
    if globals.json {
        let pinned: Vec<_> = told
            .iter()
            .map(|(tenant, place)| json!({ "tenant": tenant.as_str(), "node": place.node.as_str() }))
            .collect();
        return output::json(&json!({ "pinned": pinned }));
    }
    for (tenant, place) in &told {
        output::line(&format!("{tenant} {}", place.node))?;
    }
    output::note(&match told.len() {
        0 => "every tenant has its node in its table already".to_owned(),
        pinned => format!("tenants that have their node in their table now: {pinned}"),
    });
    Ok(())
}
