//! The parts of the benchmark. Each starts servers of its own and can be run alone.

pub(crate) mod bounds;
pub(crate) mod groups;
pub(crate) mod operations;
pub(crate) mod tenants;
pub(crate) mod walk;
