//! What is to be known from outside of the configuration: how old the one in force is, and whether the last one
//! that was read was faulty.

use std::sync::{Mutex, PoisonError};

/// The state of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigStatus {
    /// When the configuration in force was read, in milliseconds since 1970-01-01T00:00:00Z. A read that finds the
    /// same again counts.
    pub read_ms: i64,
    /// Why what was read last is not in force; `None` when it is.
    pub fault: Option<ConfigFault>,
}

/// A configuration that was read and is faulty; what was in force before still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Since when there has been nothing but faulty ones, in milliseconds since 1970-01-01T00:00:00Z.
    pub since_ms: i64,
    /// File, line, key and what was expected, as one sentence. Names keys and never values.
    pub problem: String,
}

/// Keeps the state for who asks.
pub(super) struct StatusKeeper(Mutex<ConfigStatus>);

impl StatusKeeper {
    /// For a configuration that comes into force.
    pub(super) fn new(read_ms: i64) -> StatusKeeper {
        StatusKeeper(Mutex::new(ConfigStatus { read_ms, fault: None }))
    }

    /// What is known now.
    pub(super) fn get(&self) -> ConfigStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was read is in force. Whether what was read before was faulty.
    pub(super) fn taken(&self, now_ms: i64) -> bool {
        let taken = ConfigStatus { read_ms: now_ms, fault: None };
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), taken);
        before.fault.is_some()
    }

    /// What was read is faulty.
    pub(super) fn refused(&self, now_ms: i64, problem: &str) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since_ms = status.fault.as_ref().map_or(now_ms, |fault| fault.since_ms);
        status.fault = Some(ConfigFault { since_ms, problem: problem.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stays_until_what_was_read_is_in_force_and_knows_since_when_it_is_there() {
        let keeper = StatusKeeper::new(1);
        keeper.refused(2, "a");
        keeper.refused(3, "b");
        let fault = Some(ConfigFault { since_ms: 2, problem: "b".to_owned() });
        assert_eq!(keeper.get(), ConfigStatus { read_ms: 1, fault });
        keeper.taken(4);
        assert_eq!(keeper.get(), ConfigStatus { read_ms: 4, fault: None });
        keeper.refused(5, "c");
        assert_eq!(keeper.get().fault.unwrap().since_ms, 5);
    }
}
