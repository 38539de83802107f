//! ICI SCIM: a self-hosted, multi-tenant SCIM 2.0 server, the provisioning side of ICI.
//!
//! The modules stand in reading order; a module uses only modules above it (`tests/it/layering.rs` holds
//! this), and `docs/architecture.md` follows a request through them.
//!
//! | Layer | Module | What it is |
//! |---|---|---|
//! | 0 | [`scim`] | RFC 7643 and 7644 as pure functions from values to values |
//! | 0 | [`clock`] | the only reader of time |
//! | 0 | [`version`] | which build this is |
//! | 1 | [`secret`] | API tokens: text form, Argon2id, constant-time comparison |
//! | 1 | [`config`] | the text of `tenants.toml` to checked settings, and edits of that text |
//! | 1 | [`metrics`] | what is counted, and its text |
//! | 2 | [`route`] | which node serves which tenant, and the proxies' configuration for it: pure |
//! | 2 | [`store`] | SQLite: the only module that names `rusqlite` and `r2d2` |
//! | 3 | [`backup`] | copies of tenants' files: made, packed, checked, kept, put back |
//! | 3 | [`directory`] | what the product does; one call is one transaction |
//! | 4 | [`tenants`] | name to running tenant: configuration in force, token check, where async meets blocking |
//! | 5 | [`web`] | HTTP: the only module that names `warp` |
//! | 6 | [`server`], [`telemetry`] | listener, limits, order of stopping; logs |
//! | 6 | [`probe`] | plays Okta against a server; a client of its own |
//! | 7 | [`cli`] | the commands |

pub mod scim;
pub mod clock;
pub mod version;
pub mod secret;
pub mod config;
pub mod metrics;
pub mod route;
pub mod store;
pub mod backup;
pub mod directory;
pub mod tenants;
pub mod web;
pub mod server;
pub mod telemetry;
pub mod probe;
pub mod cli;
