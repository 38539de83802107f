//! The program `ici-scim`; see the library's crate comment for the map.

/// A request makes some dozens of small allocations, on whichever thread serves it. What is freed goes back to the
/// system within a second: `.cargo/config.toml` says so.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    ici_scim::cli::run()
}
