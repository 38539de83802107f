//! Bounds how many Argon2 checks run, and wait to run, for callers who have proved nothing yet.
//!
//! The callers of each network wait in a line of their own, and the lines take turns: whoever floods the server with
//! tokens that are none waits behind himself. That matters after a start, when nobody has proved anything. A place is for
//! one run of Argon2, so that turns are equal. Against a flood from as many networks as can wait this does not help.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Most callers that wait; with 40 ms a run the last of them waits for two or three seconds.
pub(super) const WAITING_MAX: usize = 64;

/// Bits of an IPv6 address that name a site. RFC 6177 gives a site significantly more than one /64, so that whoever has
/// one can ask from thousands of them; a /48 is the largest that is usual. What lies in one is seldom of two strangers,
/// and then they are bound together as those behind one IPv4 address are.
const IPV6_SITE_BITS: u32 = 48;

/// The network that a stranger asks from, as far as it is known, for bounds on strangers: an IPv4 address itself, of an
/// IPv6 one the first 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(Option<IpAddr>);

impl Network {
    /// The network of an address.
    pub fn of(address: Option<IpAddr>) -> Network {
        Network(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let kept = u128::MAX << (128 - IPV6_SITE_BITS);
                IpAddr::V6((address.to_bits() & kept).into())
            }
        }))
    }
}

/// The gate.
pub(super) struct Gate {
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// Places that nobody has.
    free: usize,
    /// Who waits, the first to come first. No line is empty.
    waiting: HashMap<Network, VecDeque<Waiter>>,
    /// The networks of the lines; the next one first.
    turns: VecDeque<Network>,
    /// How many have come.
    tickets: u64,
}

struct Waiter {
    ticket: u64,
    called: oneshot::Sender<Place>,
}

/// A place in the gate; the next one is let in when it is dropped.
pub(super) struct Place(Option<Arc<Gate>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.let_in();
        }
    }
}

impl Gate {
    /// A gate that lets `checks_max` in at once.
    pub(super) fn new(checks_max: usize) -> Gate {
        Gate { lines: Mutex::new(Lines { free: checks_max, ..Lines::default() }) }
    }

    /// Waits for a place, in the line of a network. The place is free again when what is given is dropped. `None` when
    /// too many wait already: of the longest line the last one goes then, who may be the caller.
    pub(super) async fn enter(self: &Arc<Self>, network: Network) -> Option<Place> {
        let (called, waits) = oneshot::channel();
        let ticket = {
            let mut lines = self.lines();
            if lines.free > 0 {
                lines.free -= 1;
                return Some(Place(Some(Arc::clone(self))));
            }
            let sent_away = lines.make_room(network)?;
            let ticket = lines.join(network, called);
            drop(lines);
            // Wakes somebody, which is not for holding the lock.
            drop(sent_away);
            ticket
        };
        let _left = Left { gate: self, network, ticket };
        waits.await.ok()
    }

    /// Gives a place that is free to whoever is next.
    fn let_in(self: Arc<Self>) {
        let mut place = Place(Some(Arc::clone(&self)));
        loop {
            let next = {
                let mut lines = self.lines();
                let next = lines.next();
                if next.is_none() {
                    lines.free += 1;
                    place.0 = None;
                }
                next
            };
            let Some(next) = next else { return };
            match next.called.send(place) {
                Ok(()) => return,
                // It has given up in this moment.
                Err(back) => place = back,
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Sees to it that one more can wait in the line of a network, and gives who has to go for that, if somebody must.
    /// `None` when the caller is the one.
    fn make_room(&mut self, network: Network) -> Option<Option<Waiter>> {
        if self.len() < WAITING_MAX {
            return Some(None);
        }
        let own = self.waiting.get(&network).map_or(0, VecDeque::len);
        let (longest, length) = self
            .waiting
            .iter()
            .map(|(network, line)| (*network, line.len()))
            .max_by_key(|(_, length)| *length)?;
        if length <= own + 1 {
            return None;
        }
        // It has at least two, so that it stays a line.
        Some(self.waiting.get_mut(&longest)?.pop_back())
    }

    fn join(&mut self, network: Network, called: oneshot::Sender<Place>) -> u64 {
        self.tickets += 1;
        let line = self.waiting.entry(network).or_default();
        if line.is_empty() {
            self.turns.push_back(network);
        }
        line.push_back(Waiter { ticket: self.tickets, called });
        self.tickets
    }

    /// Takes the first one out of the line whose turn it is.
    fn next(&mut self) -> Option<Waiter> {
        while let Some(network) = self.turns.pop_front() {
            let Some(line) = self.waiting.get_mut(&network) else { continue };
            let first = line.pop_front();
            if line.is_empty() {
                self.waiting.remove(&network);
            } else {
                self.turns.push_back(network);
            }
            if first.is_some() {
                return first;
            }
        }
        None
    }

    /// Takes somebody out who waits no more.
    fn leave(&mut self, network: Network, ticket: u64) {
        let Some(line) = self.waiting.get_mut(&network) else { return };
        line.retain(|waiter| waiter.ticket != ticket);
        if line.is_empty() {
            self.waiting.remove(&network);
            self.turns.retain(|turn| *turn != network);
        }
    }
}

/// Takes somebody out of the lines when it is dropped; also when the request is given up.
struct Left<'g> {
    gate: &'g Gate,
    network: Network,
    ticket: u64,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.gate.lines().leave(self.network, self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use tokio::task::JoinHandle;

    fn network(last: u8) -> Network {
        Network::of(Some(Ipv4Addr::new(192, 0, 2, last).into()))
    }

    fn waiting(gate: &Gate) -> usize {
        gate.lines().len()
    }

    /// Somebody who asks to be let in, and tells whether that was so; has come when this returns.
    async fn asks(gate: &Arc<Gate>, network: Network) -> JoinHandle<Option<Place>> {
        let (ours, before) = (Arc::clone(gate), gate.lines().tickets);
        let asking = tokio::spawn(async move { ours.enter(network).await });
        while gate.lines().tickets == before {
            tokio::task::yield_now().await;
        }
        asking
    }

    #[tokio::test]
    async fn so_many_enter_so_many_wait_and_the_rest_is_turned_away() {
        let gate = Arc::new(Gate::new(2));
        let inside = (gate.enter(network(1)).await.unwrap(), gate.enter(network(1)).await.unwrap());
        let mut waits = Vec::new();
        for _ in 0..WAITING_MAX {
            waits.push(asks(&gate, network(1)).await);
        }
        assert_eq!(waiting(&gate), WAITING_MAX);
        assert!(gate.enter(network(1)).await.is_none());
        drop(inside);
        for waits in waits {
            assert!(waits.await.unwrap().is_some());
        }
        assert_eq!((waiting(&gate), gate.lines().free), (0, 2));
        assert!(gate.lines().turns.is_empty());
        assert!(gate.enter(network(1)).await.is_some());
    }

    #[tokio::test]
    async fn a_flood_from_one_network_holds_up_no_other() {
        let gate = Arc::new(Gate::new(1));
        let inside = gate.enter(network(1)).await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..WAITING_MAX {
            flood.push(asks(&gate, network(1)).await);
        }
        let others = [asks(&gate, network(2)).await, asks(&gate, network(3)).await];
        // Each took the place of the last one who had come with the flood.
        assert!(
            flood.pop().unwrap().await.unwrap().is_none() && flood.pop().unwrap().await.unwrap().is_none()
        );
        assert_eq!(waiting(&gate), WAITING_MAX);
        assert!(gate.enter(network(1)).await.is_none());
        drop(inside);
        let mut flood = flood.into_iter();
        drop(flood.next().unwrap().await.unwrap().unwrap());
        for other in others {
            let place = other.await.unwrap().unwrap();
            assert!(waiting(&gate) >= WAITING_MAX - 5, "at most one of the flood between two others");
            drop(place);
        }
        for one in flood {
            assert!(one.await.unwrap().is_some());
        }
        assert_eq!(gate.lines().free, 1);
    }

    #[tokio::test]
    async fn the_networks_of_one_ipv6_site_wait_in_one_line() {
        let gate = Arc::new(Gate::new(1));
        let inside = gate.enter(network(1)).await.unwrap();
        let mut flood = Vec::new();
        for part in 0..WAITING_MAX {
            let address = format!("2001:db8:0:{part:x}::1").parse().unwrap();
            flood.push(asks(&gate, Network::of(Some(address))).await);
        }
        let mut other = std::pin::pin!(gate.enter(network(2)));
        let waker = std::task::Waker::noop();
        let asked = other.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(asked.is_pending(), "it waits and is not turned away");
        assert!(flood.pop().unwrap().await.unwrap().is_none(), "the last one of the flood has gone for it");
        drop(inside);
        drop(flood.remove(0).await.unwrap().unwrap());
        assert!(other.await.is_some());
    }

    #[tokio::test]
    async fn who_gives_up_waits_no_more() {
        let gate = Arc::new(Gate::new(1));
        let inside = gate.enter(network(1)).await.unwrap();
        let (first, second) = (asks(&gate, network(1)).await, asks(&gate, network(2)).await);
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(waiting(&gate), 1);
        drop(inside);
        assert!(second.await.unwrap().is_some());
        assert_eq!((waiting(&gate), gate.lines().free), (0, 1));
    }

    #[tokio::test]
    async fn a_place_that_comes_to_somebody_who_has_just_given_up_is_not_lost() {
        let gate = Arc::new(Gate::new(1));
        let inside = gate.enter(network(1)).await.unwrap();
        {
            let mut asking = std::pin::pin!(gate.enter(network(1)));
            let waker = std::task::Waker::noop();
            assert!(asking.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
            // The place is on its way to it now, and nobody takes it.
            drop(inside);
        }
        assert_eq!((waiting(&gate), gate.lines().free), (0, 1));
    }

    #[test]
    fn a_network_is_an_address_of_ipv4_or_a_48_of_ipv6() {
        let of = |text: &str| Network::of(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:ffff::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(Network::of(None), Network::of(Some(Ipv6Addr::UNSPECIFIED.into())));
    }
}
