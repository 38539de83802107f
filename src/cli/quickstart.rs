//! `ici-scim quickstart`: from nothing to a running server that answers a `curl` line, in one command.
//!
//! The first run makes the configuration with one tenant and one token; every later run serves what is there. The
//! page that it prints is for the person in front of it; the server itself is that of `serve`.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::serve::{self, Server};
use crate::cli::{Globals, output};
use crate::clock::{Clock, SystemClock};
use crate::config::{Listen, OpsListen, ServerSettings, Settings};
use crate::scim::datetime;
use crate::secret::{TokenHash, TokenText};
use crate::tenants::{Overrides, config_file};

const AFTER_HELP: &str = "\
The first run makes tenants.toml and data/ in the current folder (or where --config points), with one tenant \
named demo and one API token, which is shown this once. Later runs serve what is there.

Examples:
  ici-scim quickstart
  ici-scim quickstart --listen 127.0.0.1:9000
  ici-scim quickstart --config /tmp/try/tenants.toml";

/// Make a first configuration, serve it, and say how to connect Okta
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Command {
    #[command(flatten)]
    listen: serve::Listen,
}

/// The tenant that the first run makes.
const TENANT: &str = "demo";

/// Serves until a signal says stop.
///
/// # Errors
/// When the port is taken, the configuration is wrong or cannot be written.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let globals = command.listen.lay_over(globals);
    let first = !globals.config.exists();
    let settings = if first { globals.lay_over(Settings::default())? } else { globals.settings()? };
    // The port before the files: a run that cannot serve must not use up the one showing of the token.
    let server = Server::bind(&settings.server)?;
    let token = if first { Some(make_configuration(&globals)?) } else { None };
    let settings = globals.settings()?;
    let page = Page {
        token: token.as_ref().map(TokenText::expose),
        tenants: settings.tenants.keys().map(ToString::to_string).collect(),
        local: Local::of(&server.addresses()?, &settings.server),
        public_url: settings.server.public_url.clone(),
        command: command_line(&globals.config),
        config: absolute(&globals.config),
        data: absolute(&globals.data_dir(&settings)),
    };
    make_folder(&page.data)?;
    server.serve(&globals, settings, |_| output::page(&page.render(output::bold)))
}

/// Writes the first `tenants.toml` and gives the token that it holds the hash of.
fn make_configuration(globals: &Globals) -> anyhow::Result<TokenText> {
    let token = TokenText::generate().context("cannot make a token")?;
    let hash = TokenHash::hash(&token).context("cannot make a token")?;
    if let Some(folder) = globals.config.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_folder(folder)?;
    }
    let text = first_configuration(
        hash.expose(),
        SystemClock.now_ms(),
        &command_line(&globals.config),
        &addresses(&globals.overrides),
    );
    config_file::replace(&globals.config, &text)
        .with_context(|| format!("cannot write {}", globals.config.display()))?;
    Ok(token)
}

/// The lines of the addresses that were chosen: the server is to be found there, started again or asked by a command.
fn addresses(chosen: &Overrides) -> String {
    let mut lines = match &chosen.listen {
        // A string of JSON is one of TOML.
        Some(listen) => format!("listen = {}", serde_json::Value::from(listen.to_string())),
        None => "# listen = \"127.0.0.1:8080\"".to_owned(),
    };
    match chosen.ops_listen {
        Some(OpsListen::At(address)) => _ = write!(lines, "\nops_listen = \"{address}\""),
        Some(OpsListen::Off) => lines.push_str("\nops_listen = \"off\""),
        Some(OpsListen::Default) | None => {}
    }
    lines
}

fn first_configuration(hash: &str, now_ms: i64, command: &str, addresses: &str) -> String {
    format!(
        r#"# ICI SCIM: the server, its tenants and their API tokens.
# A running server takes this file into service when it changes. tenants.example.toml shows every key.

[server]
{addresses}
# data_dir = "data"

# How Okta reaches this server from outside: HTTPS, with a certificate that is publicly trusted.
# public_url = "https://scim.example.com"

[tenants.{TENANT}]
name = "Demo"

# Only the hash of a token is kept. For another token:
#   {command} token new {TENANT} --name NAME
[[tenants.{TENANT}.tokens]]
name = "quickstart"
hash = "{hash}"
created = {created}
"#,
        created = datetime::format(now_ms),
    )
}

/// Makes a folder that only its owner may read, for what lies in it is personal data.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// What the page tells.
struct Page<'a> {
    token: Option<&'a str>,
    tenants: Vec<String>,
    /// What works on this machine.
    local: Local,
    public_url: Option<String>,
    /// How this program is called.
    command: String,
    config: PathBuf,
    data: PathBuf,
}

impl Page<'_> {
    /// The text, with headings made to stand out by `heading`.
    fn render(&self, heading: impl Fn(&str) -> String) -> String {
        let demo = self.tenants.iter().find(|tenant| *tenant == TENANT);
        let Some(tenant) = demo.or(self.tenants.first()) else { return self.without_tenants(heading) };
        let mut text = format!("\n{}\n\n", heading("ICI SCIM is running."));
        if demo.is_none() {
            let _ = writeln!(
                text,
                "  There is no tenant {TENANT} in {}; the tenants that are there are served.\n",
                self.config.display()
            );
        }
        for (number, tenant) in self.tenants.iter().enumerate() {
            let label = if number == 0 { "Base URL" } else { "" };
            let _ = writeln!(text, "  {label:<10} {}", self.base_url(tenant));
        }
        self.token_lines(&mut text, tenant);
        let _ = writeln!(text, "\n{}\n", heading("Try it from another terminal"));
        let _ = writeln!(text, "  {}", self.curl(tenant));
        self.okta(&mut text, tenant, &heading);
        self.outside(&mut text, &heading);
        self.files(&mut text, &heading);
        text
    }

    fn base_url(&self, tenant: &str) -> String {
        match &self.public_url {
            Some(public_url) => format!("{public_url}/scim/v2/{tenant}"),
            None => self.local_url(tenant),
        }
    }

    fn local_url(&self, tenant: &str) -> String {
        format!("{}/scim/v2/{tenant}", self.local.site)
    }

    fn token_lines(&self, text: &mut String, tenant: &str) {
        match self.token {
            Some(token) => {
                let _ = writeln!(text, "  API token  {token}");
                let _ = writeln!(
                    text,
                    "             Shown only this once: only its hash is kept. For another one:"
                );
            }
            None => {
                let _ = writeln!(
                    text,
                    "  API token  Was shown when it was made; only its hash is kept. For a new one:"
                );
            }
        }
        let _ = writeln!(text, "             {} token new {tenant} --name NAME", self.command);
    }

    fn curl(&self, tenant: &str) -> String {
        let token = self.token.unwrap_or("TOKEN");
        format!(
            "curl {}-H 'Authorization: Bearer {token}' '{}/Users?startIndex=1&count=2'",
            self.local.curl_flags,
            self.local_url(tenant)
        )
    }

    fn okta(&self, text: &mut String, tenant: &str, heading: impl Fn(&str) -> String) {
        let base_url = match &self.public_url {
            Some(_) => self.base_url(tenant),
            None => format!("https://YOUR-PUBLIC-NAME/scim/v2/{tenant}"),
        };
        let token = if self.token.is_some() { "the API token above" } else { "the API token" };
        let _ = write!(
            text,
            r#"
{heading}

  1. In Okta's Admin Console: Applications > Browse App Catalog > "SCIM 2.0 Test App (Header Auth)" > Add.
  2. In the new app: Provisioning tab > Integration > Configure API Integration, and there:

       Enable API integration   tick
       Base URL                 {base_url}
       API Token                {token}
       Import Groups            tick

  3. Press "Test API Credentials", then "Save".
  4. Provisioning tab > To App > Edit: tick Create Users, Update User Attributes and Deactivate Users, then Save.
"#,
            heading = heading("Connect Okta"),
        );
    }

    fn outside(&self, text: &mut String, heading: impl Fn(&str) -> String) {
        let _ = writeln!(text, "\n{}\n", heading("How Okta reaches this machine"));
        match &self.public_url {
            Some(public_url) => {
                let _ = writeln!(
                    text,
                    "  Okta calls {public_url}; requests to it must arrive at {}.",
                    self.local.site
                );
                let _ = writeln!(text, "  The certificate there must be publicly trusted.");
            }
            None => {
                let _ = writeln!(
                    text,
                    r#"  Okta calls from the internet, over HTTPS only, and wants a certificate that is publicly trusted. Either name one
  under [server.tls], or have it got from Let's Encrypt; or put a reverse proxy or a tunnel in front of {}.
  Then set public_url = "https://YOUR-PUBLIC-NAME" under [server] in {}, and enter that name above."#,
                    self.local.site,
                    self.config.file_name().unwrap_or(self.config.as_os_str()).display(),
                );
            }
        }
    }

    fn files(&self, text: &mut String, heading: impl Fn(&str) -> String) {
        let _ = writeln!(text, "\n{}\n", heading("Files"));
        let _ = writeln!(text, "  Configuration  {}", self.config.display());
        let _ = writeln!(text, "  Data           {}", self.data.display());
        let _ = writeln!(text, "\nCtrl-C stops the server. The log follows.\n");
    }

    fn without_tenants(&self, heading: impl Fn(&str) -> String) -> String {
        let mut text = format!("\n{}\n\n", heading("ICI SCIM is running, without a tenant."));
        let _ = writeln!(text, "  Add one to {}; the running server takes it in:", self.config.display());
        let _ = writeln!(text, "  {command} tenant add {TENANT}", command = self.command);
        let _ = writeln!(text, "  {command} token new {TENANT} --name NAME", command = self.command);
        self.files(&mut text, &heading);
        text
    }
}

/// How the person called this program, so that the commands on the page can be copied.
fn command_line(config: &Path) -> String {
    let program = match (std::env::var_os("CARGO_MANIFEST_DIR"), cfg!(debug_assertions)) {
        (Some(_), true) => "cargo run --".to_owned(),
        (Some(_), false) => "cargo run --release --".to_owned(),
        (None, _) => std::env::args().next().unwrap_or_else(|| "ici-scim".to_owned()),
    };
    if config == Path::new("tenants.toml") {
        program
    } else {
        format!("{program} --config {}", quoted(&config.display().to_string()))
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_alphanumeric() || "/._-".contains(character);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// How a client on this machine calls the server.
struct Local {
    /// `http://127.0.0.1:8080`
    site: String,
    /// What curl has to be told, with a blank at its end.
    curl_flags: String,
}

impl Local {
    fn of(addresses: &[Listen], settings: &ServerSettings) -> Local {
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        match addresses.first() {
            Some(Listen::Unix(path)) => Local {
                site: "http://localhost".to_owned(),
                curl_flags: format!("--unix-socket {} ", quoted(&path.display().to_string())),
            },
            Some(Listen::Tcp(address)) => Local {
                site: format!("{scheme}://{}", reachable(*address)),
                // The certificate is for another name than this address.
                curl_flags: if settings.tls.is_some() { "--insecure ".to_owned() } else { String::new() },
            },
            None => Local { site: String::new(), curl_flags: String::new() },
        }
    }
}

/// The address as a client on this machine calls it: a listener on every address is reached by the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'a>(token: Option<&'a str>, tenants: &[&str]) -> Page<'a> {
        Page {
            token,
            tenants: tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
            local: Local::of(&["127.0.0.1:8080".parse().unwrap()], &ServerSettings::default()),
            public_url: None,
            command: "ici-scim".into(),
            config: "/srv/tenants.toml".into(),
            data: "/srv/data".into(),
        }
    }

    fn text(page: &Page<'_>) -> String {
        page.render(str::to_owned)
    }

    #[test]
    fn the_first_page_shows_the_token_and_a_curl_line_that_holds_it() {
        let text = text(&page(Some("ici_secret"), &["demo"]));
        assert!(text.contains("  Base URL   http://127.0.0.1:8080/scim/v2/demo\n"), "{text}");
        assert!(text.contains("  API token  ici_secret\n"), "{text}");
        assert!(text.contains("Shown only this once"), "{text}");
        assert!(
            text.contains(
                "  curl -H 'Authorization: Bearer ici_secret' 'http://127.0.0.1:8080/scim/v2/demo/Users?startIndex=1&count=2'\n"
            ),
            "{text}"
        );
        for said in ["Test API Credentials", "Import Groups", "[server.tls]", "/srv/data"] {
            assert!(text.contains(said), "{said} in {text}");
        }
    }

    #[test]
    fn a_later_page_says_how_to_get_a_new_token() {
        let text = text(&page(None, &["demo"]));
        assert!(text.contains("ici-scim token new demo --name NAME"), "{text}");
        assert!(!text.contains("only this once"), "{text}");
    }

    #[test]
    fn without_the_tenant_demo_the_others_are_served_and_that_is_said() {
        let text = text(&page(None, &["acme", "beta"]));
        assert!(text.contains("There is no tenant demo in /srv/tenants.toml"), "{text}");
        assert!(text.contains("/scim/v2/acme\n") && text.contains("/scim/v2/beta\n"), "{text}");
        assert!(page(None, &[]).render(str::to_owned).contains("tenant add demo"));
    }

    #[test]
    fn a_public_url_is_what_okta_gets_while_curl_stays_on_this_machine() {
        let mut page = page(None, &["demo"]);
        page.public_url = Some("https://scim.example.com".into());
        let text = text(&page);
        assert!(text.contains("Base URL                 https://scim.example.com/scim/v2/demo\n"), "{text}");
        assert!(text.contains("'http://127.0.0.1:8080/scim/v2/demo/Users"), "{text}");
        assert!(!text.contains("YOUR-PUBLIC-NAME"), "{text}");
    }

    #[test]
    fn the_first_configuration_is_one_that_loads() {
        let token = TokenText::generate().unwrap();
        let hash = TokenHash::hash(&token).unwrap();
        let chosen = Overrides {
            listen: Some("127.0.0.1:9000".parse().unwrap()),
            ops_listen: Some(OpsListen::parse("127.0.0.1:9001").unwrap()),
            ..Overrides::default()
        };
        let first =
            |chosen| first_configuration(hash.expose(), 1_767_225_600_000, "ici-scim", &addresses(chosen));
        let text = first(&chosen);
        let settings = crate::config::parse(&text, "tenants.toml").unwrap();
        assert_eq!(
            (Some(settings.server.listen), Some(settings.server.ops.listen)),
            (chosen.listen.clone(), chosen.ops_listen)
        );
        let plain = crate::config::parse(&first(&Overrides::default()), "tenants.toml").unwrap();
        assert_eq!(plain.server, ServerSettings::default());
        let tenant = settings.tenants.get(TENANT).unwrap();
        assert_eq!(tenant.tokens[0].created_ms, Some(1_767_225_600_000));
        assert!(tenant.tokens[0].hash.verify(&token));
        assert!(!text.contains(token.expose()));
    }

    #[test]
    fn a_path_with_blanks_stays_one_word_for_the_shell() {
        assert_eq!(quoted("/srv/ici.toml"), "/srv/ici.toml");
        assert_eq!(quoted("/my files/it's"), r"'/my files/it'\''s'");
    }

    #[test]
    fn a_socket_file_is_called_by_a_flag_of_curl() {
        let mut page = page(Some("ici_secret"), &["demo"]);
        page.local = Local::of(&["unix:/run/my scim.sock".parse().unwrap()], &ServerSettings::default());
        let line = page.curl("demo");
        assert!(line.starts_with("curl --unix-socket '/run/my scim.sock' -H"), "{line}");
        assert!(line.contains("'http://localhost/scim/v2/demo/Users"), "{line}");
    }

    #[test]
    fn a_listener_on_every_address_is_called_by_the_loopback_one() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()), "127.0.0.1:80".parse().unwrap());
        assert_eq!(reachable("[::]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
        assert_eq!(reachable("10.1.2.3:80".parse().unwrap()), "10.1.2.3:80".parse().unwrap());
    }
}
