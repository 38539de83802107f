//! How many connections each network has: nobody may take all of them.
//!
//! Counted by an IPv6 address or its /64, somebody with a usual line would have room for all of them: so a site counts
//! once, as it does where unknown tokens wait to be checked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tenants::Network;

/// Counts connections by network. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<Network, usize>>>);

/// A connection's place in the count; given back when it is dropped.
pub(super) struct Place {
    places: Places,
    network: Network,
}

impl Places {
    /// A place for one more connection of the address, unless its network has `most` already.
    pub(super) fn take(&self, address: IpAddr, most: usize) -> Option<Place> {
        let network = Network::of(Some(address));
        let mut counts = self.lock();
        let count = counts.entry(network).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { places: self.clone(), network })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.places.lock().entry(self.network) {
            if *count.get() <= 1 {
                count.remove();
            } else {
                *count.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_as_many_as_it_may_and_others_are_not_hindered() {
        let places = Places::default();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = places.take(one, 2).unwrap();
        let _second = places.take(one, 2).unwrap();
        assert!(places.take(one, 2).is_none());
        assert!(places.take("::ffff:192.0.2.1".parse().unwrap(), 2).is_none());
        let _other = places.take(other, 2).unwrap();
        drop(first);
        drop(places.take(one, 2).unwrap());
        assert_eq!(places.lock().len(), 2);
    }

    #[test]
    fn an_ipv6_site_counts_once_and_nothing_is_kept_of_who_has_gone() {
        let places = Places::default();
        let first = places.take("2001:db8:0:1::1".parse().unwrap(), 1).unwrap();
        assert!(places.take("2001:db8:0:2::1".parse().unwrap(), 1).is_none());
        let second = places.take("2001:db8:1:1::1".parse().unwrap(), 1).unwrap();
        drop((first, second));
        assert!(places.lock().is_empty());
    }
}
