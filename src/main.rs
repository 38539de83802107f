//! The program `ici-scim`; see the library's crate comment for the map.

fn main() -> std::process::ExitCode {
    ici_scim::cli::run()
}
