//! The tests that see the product from outside: the real binary, over HTTP on a free port and on its command
//! line. One binary for all, so that it is linked once.
//!
//! Nothing here sleeps: a test waits for a condition, with a deadline.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;
mod okta;
mod entra;
mod strict;
mod tenant_schemas;
mod entitlements;
mod users;
mod user_patch;
mod groups;
mod group_patch;
mod filters;
mod paging;
mod sorting;
mod cursors;
mod search;
mod bulk;
mod versions;
mod me;
mod discovery;
mod errors;
mod http;
mod manners;
mod compression;
mod auth;
mod isolation;
mod large_groups;
mod secrets;
mod lifecycle;
mod live;
mod tokens;
mod tenant_life;
mod rate_limit;
mod manners_cli;
mod faults;
mod backup;
mod transfer;
mod properties;
mod cli;
mod docs;
mod operations;
mod probe;
mod route;
mod layering;
mod rfc7643;
mod rfc7644;
mod conformance;
mod advertised;
mod patch_model;
mod linear;
mod benchmark;
mod ops;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod tls;
mod sockets;
mod upgrade;
mod packages;
