//! `tenants.toml` for tests, and tokens whose hashes cost next to nothing.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ici_scim::secret::TokenText;

/// An API token and its hash as it stands in the configuration.
///
/// The hash takes 8 KiB and microseconds in place of the 19 MiB and 20 ms of those that the product makes: a
/// suite with hundreds of tenants would otherwise spend its time on Argon2.
#[derive(Clone)]
pub(crate) struct Token {
    name: String,
    text: String,
    hash: String,
    more: String,
}

impl Token {
    pub(crate) fn new(name: &str) -> Token {
        static SALT: AtomicU32 = AtomicU32::new(1);
        let text = TokenText::generate().unwrap().expose().to_owned();
        let salt = format!("test-salt-{:06}", SALT.fetch_add(1, Ordering::Relaxed));
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let mut output = [0; 32];
        argon2.hash_password_into(text.as_bytes(), salt.as_bytes(), &mut output).unwrap();
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        let hash = format!("$argon2id$v=19$m=8,t=1,p=1${salt}${output}");
        Token { name: name.to_owned(), text, hash, more: String::new() }
    }

    /// Another key of the token's table.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Token {
        writeln!(self.more, "{key} = {value}").unwrap();
        self
    }

    pub(crate) fn read_only(self) -> Token {
        self.with("access", "\"read-only\"")
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

/// `[tenants.NAME]`
#[derive(Clone)]
pub(crate) struct TenantConfig {
    name: String,
    options: String,
    tokens: Vec<Token>,
}

impl TenantConfig {
    pub(crate) fn new(name: &str) -> TenantConfig {
        TenantConfig { name: name.to_owned(), options: String::new(), tokens: Vec::new() }
    }

    pub(crate) fn option(mut self, key: &str, value: &str) -> TenantConfig {
        writeln!(self.options, "{key} = {value}").unwrap();
        self
    }

    pub(crate) fn token(mut self, token: &Token) -> TenantConfig {
        self.tokens.push(token.clone());
        self
    }
}

/// The whole file.
#[derive(Clone, Default)]
pub(crate) struct Config {
    server: String,
    limits: String,
    tenants: Vec<TenantConfig>,
}

impl Config {
    pub(crate) fn new() -> Config {
        Config::default()
    }

    /// A tenant `acme` with one token.
    pub(crate) fn acme(token: &Token) -> Config {
        Config::new().tenant(TenantConfig::new("acme").token(token))
    }

    pub(crate) fn server(mut self, key: &str, value: &str) -> Config {
        writeln!(self.server, "{key} = {value}").unwrap();
        self
    }

    pub(crate) fn limit(mut self, key: &str, value: u64) -> Config {
        writeln!(self.limits, "{key} = {value}").unwrap();
        self
    }

    pub(crate) fn tenant(mut self, tenant: TenantConfig) -> Config {
        self.tenants.push(tenant);
        self
    }

    pub(crate) fn text(&self) -> String {
        // A test may ask faster than any client of one tenant does.
        let rate = if self.server.contains("rate_limit") { "" } else { "rate_limit = \"off\"\n" };
        let mut text = format!("[server]\n{rate}{}\n[server.limits]\n{}\n", self.server, self.limits);
        for tenant in &self.tenants {
            writeln!(text, "[tenants.{}]\n{}", tenant.name, tenant.options).unwrap();
            for token in &tenant.tokens {
                let Token { name, hash, more, .. } = token;
                writeln!(
                    text,
                    "[[tenants.{}.tokens]]\nname = \"{name}\"\nhash = \"{hash}\"\n{more}",
                    tenant.name
                )
                .unwrap();
            }
        }
        text
    }
}
