//! The program `ici-scim`; see the library's crate comment for the map.

/// A request makes some dozens of small allocations, on whichever thread serves it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ici_scim::cli::run()
}
