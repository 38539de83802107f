//! `[server.limits]`: name, default and bounds of every limit, in one table.

use crate::config::Error;
use crate::config::read::Section;

/// Declares [`Limits`] from rows of name, type, default and bounds.
macro_rules! limits {
    ($($(#[doc = $doc:expr])+ $name:ident: $type:ty = $default:expr, $min:expr, $max:expr;)+) => {
        /// What the server is willing to take, hold and wait for. Every limit is enforced, and advertised
        /// where the protocol has a place for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default),+ }
            }
        }

        impl Limits {
            /// The names of all limits, in the order of the example file.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Smallest and largest value of a limit.
            pub(super) fn bounds(name: &str) -> (i64, i64) {
                match name {
                    $(stringify!($name) => ($min, $max),)+
                    _ => (0, 0),
                }
            }

            /// Sets a limit to a value that is within its bounds.
            pub(super) fn set(&mut self, name: &str, value: i64) {
                match name {
                    $(stringify!($name) => if let Ok(value) = value.try_into() { self.$name = value },)+
                    _ => {}
                }
            }

            /// The value of a limit.
            pub fn get(&self, name: &str) -> Option<i64> {
                match name {
                    $(stringify!($name) => self.$name.try_into().ok(),)+
                    _ => None,
                }
            }
        }
    };
}

const KIB: i64 = 1024;
const MIB: usize = 1024 * 1024;

/// The `compress_bytes_min` at which nothing is packed, however large.
pub const COMPRESS_BYTES_NEVER: usize = 1024 * MIB;

limits! {
    /// Longest request body, in bytes; 413 beyond.
    body_bytes_max: usize = 4 * MIB, 64 * KIB, 64 * KIB * KIB;
    /// Largest resource, in bytes of JSON as it is stored, without a group's members; 413 beyond.
    resource_bytes_max: usize = MIB, 16 * KIB, 64 * KIB * KIB;
    /// Shortest body of an answer that is packed (gzip or zstd) for a client that takes it so, in bytes; at the largest
    /// value nothing is packed.
    compress_bytes_min: usize = 4096, 256, KIB * KIB * KIB;
    /// Longest filter, in bytes.
    filter_bytes_max: usize = 4096, 256, 64 * KIB;
    /// Deepest nesting of a filter.
    filter_depth_max: usize = 32, 4, 64;
    /// Most operations in one PATCH.
    patch_operations_max: usize = 2000, 10, 20_000;
    /// Most operations in one bulk request.
    bulk_operations_max: usize = 1000, 1, 10_000;
    /// Most resources on one page of a list. Okta's import asks for 100 and goes on 100 further whatever it
    /// got, so that a smaller page would hide users from it; hence the lower bound.
    page_resources_max: usize = 1000, 100, 10_000;
    /// Resources on a page when the request does not say; at most `page_resources_max`.
    page_resources_default: usize = 100, 1, 10_000;
    /// Deepest nesting of JSON in a request body.
    json_depth_max: usize = 32, 8, 100;
    /// Time that a client has to send the request's head, in seconds.
    header_read_s: u64 = 10, 1, 120;
    /// Time that a request may take in all, in seconds. Okta hangs up after 60.
    request_s: u64 = 30, 1, 300;
    /// Time that requests in flight have to finish when the server stops, in seconds.
    stop_s: u64 = 15, 1, 300;
    /// Time that an idle connection is kept open, in seconds.
    keep_alive_s: u64 = 75, 1, 3600;
    /// Most connections at once.
    connections_max: usize = 1024, 8, 65_536;
    /// Most connections of one address at once (IPv6: of one /48), trusted proxies excepted; one more is closed at
    /// once.
    connections_per_address_max: usize = 256, 1, 65_536;
    /// Most writes of one tenant that wait for their turn; 429 beyond.
    write_queue_max: usize = 1024, 1, 65_536;
    /// Longest time that a write waits for its turn, in milliseconds; 429 beyond.
    write_queue_wait_ms_max: u64 = 10_000, 100, 60_000;
    /// Longest time that one write may hold its tenant's directory, in milliseconds; 503 beyond, and nothing of it
    /// is done.
    write_ms_max: u64 = 10_000, 100, 300_000;
    /// Most tenants' files open at once; the least recently used is closed for the next.
    open_tenants_max: usize = 64, 1, 10_000;
    /// Most Argon2 checks at once (19 MiB and one CPU each) for callers who have proved nothing yet.
    token_checks_max: usize = 1, 1, 64;
}

/// Reads `[server.limits]`.
pub(super) fn read(section: &Section<'_>) -> Result<Limits, Error> {
    section.only(Limits::NAMES)?;
    let mut limits = Limits::default();
    for (name, entry) in section.entries() {
        let (min, max) = Limits::bounds(name);
        limits.set(name, entry.number(min..=max)?);
    }
    if limits.page_resources_default > limits.page_resources_max {
        let at = section.get("page_resources_default").or_else(|| section.get("page_resources_max"));
        let problem = "expected page_resources_default to be at most page_resources_max";
        return at.map_or(Ok(limits), |entry| Err(entry.error(problem)));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_bounds_and_every_bound_can_be_set() {
        for name in Limits::NAMES {
            let (min, max) = Limits::bounds(name);
            let default = Limits::default().get(name).unwrap();
            assert!((min..=max).contains(&default) && min < max && min > 0, "{name}");
            for value in [min, max] {
                let mut limits = Limits::default();
                limits.set(name, value);
                assert_eq!(limits.get(name), Some(value), "{name}");
            }
        }
        assert_eq!(Limits::NAMES.len(), 21);
    }

    #[test]
    fn packing_is_switched_off_by_the_largest_value() {
        let (_, max) = Limits::bounds("compress_bytes_min");
        assert_eq!(usize::try_from(max), Ok(COMPRESS_BYTES_NEVER));
    }

    #[test]
    fn what_is_no_limit_has_no_value() {
        let mut limits = Limits::default();
        limits.set("nonsense", 7);
        assert_eq!((limits, limits.get("nonsense")), (Limits::default(), None));
    }
}
