//! Which build this is: version, commit, time of the commit, target. `build.rs` finds it out.
//!
//! How it is shown does not belong here; nor do the versions of libraries, which their own layers tell.

/// The version of `Cargo.toml`.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The machine that it was built for, as Rust calls it.
pub const TARGET: &str = env!("ICI_SCIM_BUILD_TARGET");

/// How it was built: `release` or `debug`.
pub const PROFILE: &str = env!("ICI_SCIM_BUILD_PROFILE");

/// Whether the C library is in the program itself, so that it runs on every Linux of its architecture.
pub const IS_STATIC: bool = cfg!(target_feature = "crt-static");

/// The commit, in full; none for a development build, and for one from a folder that is no clone.
pub const COMMIT: Option<&str> = present(env!("ICI_SCIM_BUILD_COMMIT"));

/// Whether the sources were others than those of the commit.
pub const IS_CHANGED: bool = present(env!("ICI_SCIM_BUILD_CHANGED")).is_some();

/// When the commit was made, in milliseconds since 1970; or what `SOURCE_DATE_EPOCH` said.
///
/// The time of the build itself is nowhere, so that the same commit gives the same program.
pub fn committed_ms() -> Option<i64> {
    present(env!("ICI_SCIM_BUILD_EPOCH_S"))?.parse::<i64>().ok()?.checked_mul(1000)
}

const fn present(text: &str) -> Option<&str> {
    if text.is_empty() { None } else { Some(text) }
}
