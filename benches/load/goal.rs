//! What must be reached, and what is reached as a rule. Arithmetic alone, so that `tests/it/benchmark.rs` can try it:
//! a benchmark has no tests of its own that `cargo test` would run.

/// Which side of a limit is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sense {
    AtLeast,
    AtMost,
}

/// So many times worse than usual is a regression: half as good, but for what two measurements of the same differ by.
const FAR: f64 = 1.8;

/// What a value is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) sense: Sense,
    /// What must be reached, by a full run.
    pub(crate) limit: f64,
    /// What quick runs come to, with their smaller tenants.
    pub(crate) usual: f64,
}

impl Goal {
    /// Whether a value reaches the limit.
    pub(crate) fn is_reached(self, value: f64) -> bool {
        self.holds_at(self.limit, value)
    }

    /// Whether a value is about as good as usual, or better.
    pub(crate) fn is_as_usual(self, value: f64) -> bool {
        match self.sense {
            Sense::AtLeast => self.holds_at(self.usual / FAR, value),
            Sense::AtMost => self.holds_at(self.usual * FAR, value),
        }
    }

    fn holds_at(self, limit: f64, value: f64) -> bool {
        match self.sense {
            Sense::AtLeast => value >= limit,
            Sense::AtMost => value <= limit,
        }
    }
}
