//! How much is measured, and for how long.

use std::time::Duration;

use crate::drive::Until;

/// What makes a run a failure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeldTo {
    /// A limit that is missed.
    Limits,
    /// What is far worse than usual.
    Usual,
    Nothing,
}

/// The amounts of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What the run is called in its results.
    pub(crate) name: &'static str,
    /// What its results are held to.
    pub(crate) held_to: HeldTo,
    /// Users of the tenants that every operation is measured on, ascending.
    pub(crate) users: Vec<u64>,
    /// Users of the tenant of the ratios to the bare route.
    pub(crate) ratio_users: u64,
    /// Members of the groups, ascending; the tenant has as many users as the last one.
    pub(crate) members: Vec<usize>,
    /// Clients at once.
    pub(crate) concurrency: Vec<usize>,
    /// Numbers of tenants, ascending.
    pub(crate) tenants: Vec<usize>,
    /// Of the largest number of tenants, so many have tokens with the Argon2 parameters that the server itself
    /// gives; the others' take less time.
    pub(crate) real_hashes: usize,
    /// Rounds of the tables.
    pub(crate) rounds: usize,
    /// Rounds of the ratios with a bound.
    pub(crate) bound_rounds: usize,
    /// The time before a measurement counts.
    pub(crate) warm: Duration,
    /// The time of a measurement.
    pub(crate) measured: Duration,
}

impl Plan {
    /// Everything that the issue asks for.
    pub(crate) fn full() -> Plan {
        Plan {
            name: "full",
            held_to: HeldTo::Limits,
            users: vec![1_000, 20_000, 100_000, 1_000_000],
            ratio_users: 50_000,
            members: vec![10, 1_000, 100_000],
            concurrency: vec![1, 16, 64],
            tenants: vec![1, 100, 10_000],
            real_hashes: 1_000,
            rounds: 3,
            bound_rounds: 7,
            warm: Duration::from_millis(150),
            measured: Duration::from_millis(800),
        }
    }

    /// What shows that something has become twice as bad, within three minutes on two cores.
    pub(crate) fn quick() -> Plan {
        Plan {
            name: "quick",
            held_to: HeldTo::Usual,
            users: vec![1_000, 100_000],
            ratio_users: 50_000,
            members: vec![10, 100_000],
            concurrency: vec![16],
            tenants: vec![1, 1_000],
            real_hashes: 100,
            rounds: 1,
            bound_rounds: 3,
            warm: Duration::from_millis(100),
            measured: Duration::from_millis(400),
        }
    }

    /// Enough to see that the benchmark itself works; its numbers mean nothing.
    pub(crate) fn tiny() -> Plan {
        Plan {
            name: "tiny",
            held_to: HeldTo::Nothing,
            users: vec![200, 1_000],
            ratio_users: 500,
            members: vec![10, 1_000],
            concurrency: vec![1, 16],
            tenants: vec![1, 30],
            real_hashes: 5,
            rounds: 1,
            bound_rounds: 2,
            warm: Duration::from_millis(20),
            measured: Duration::from_millis(100),
        }
    }

    /// The time of one measurement.
    pub(crate) fn until(&self) -> Until {
        Until::Time { warm: self.warm, measured: self.measured }
    }

    /// The time of one measurement of something that takes a good part of a second.
    pub(crate) fn until_long(&self) -> Until {
        Until::Time { warm: self.warm, measured: self.measured * 3 }
    }

    /// Users of the largest tenant.
    pub(crate) fn users_max(&self) -> u64 {
        self.users.last().copied().unwrap_or_default()
    }

    /// Users of the smallest tenant.
    pub(crate) fn users_min(&self) -> u64 {
        self.users.first().copied().unwrap_or_default()
    }

    /// Members of the largest group.
    pub(crate) fn members_max(&self) -> usize {
        self.members.last().copied().unwrap_or_default()
    }

    /// Every size of file that is needed, ascending.
    pub(crate) fn files(&self) -> Vec<u64> {
        let mut files = self.users.clone();
        files.extend([self.ratio_users, self.members_max() as u64]);
        files.sort_unstable();
        files.dedup();
        files
    }
}
