//! How much work a request may ask for. The time of a PATCH grows with the product of what it sends and what it meets:
//! thousands of operations, each of which looks at a thousand values. It is counted before it is done, in steps
//! that do not depend on the machine, so that the same request is always taken or always refused.

use serde_json::Value;

use crate::scim::Error;
use crate::scim::filter::Filter;

/// The steps of one request; a step is one look at one value. 1,000 operations that each choose one of a thousand
/// values by a filter take 3 million.
const STEPS_MAX: u64 = 10_000_000;

/// Copying so many bytes of text counts as a step.
const BYTES_PER_STEP: usize = 64;

/// What is left of the work that a request may ask for; the operations of a bulk request share one.
#[derive(Debug)]
pub struct Effort {
    steps_left: u64,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { steps_left: STEPS_MAX }
    }
}

impl Effort {
    /// So many steps.
    #[cfg(test)]
    pub(super) fn of(steps_left: u64) -> Effort {
        Effort { steps_left }
    }

    /// Counts steps, before they are done.
    ///
    /// # Errors
    /// 413 when they are too many; and so for all that follow.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Error> {
        if let Some(left) = self.steps_left.checked_sub(steps) {
            self.steps_left = left;
            return Ok(());
        }
        self.steps_left = 0;
        let mut error = Error::payload_too_large(0);
        error.detail =
            "The operations compare too many values with each other; send them in several requests."
                .to_owned();
        Err(error)
    }
}

/// The size of a value: its parts, and its text in steps.
pub(super) fn size(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + in_steps(text.len() / BYTES_PER_STEP),
        Value::Array(elements) => 1 + elements.iter().map(size).sum::<u64>(),
        Value::Object(object) => 1 + object.values().map(size).sum::<u64>(),
    }
}

/// How many comparisons a filter makes with one element.
pub(super) fn comparisons(filter: &Filter) -> u64 {
    match filter {
        Filter::Compare { .. } | Filter::Present(_) => 1,
        Filter::And(parts) | Filter::Or(parts) => parts.iter().map(comparisons).sum(),
        Filter::Not(inner) | Filter::ValuePath { inner, .. } => comparisons(inner),
    }
}

/// A count as steps.
pub(super) fn in_steps(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
