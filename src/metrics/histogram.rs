//! A histogram that is written without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of times in microseconds: from a look-up by an index to the longest that a request may take by
/// default.
const TIME_BOUNDS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Upper bounds of how many writes are in a commit.
pub const WRITES_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

/// How often values fell between bounds, and their sum. What is read is not of one moment: a value may be in its
/// bucket and not yet in the sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// How many of the counted units are one of those that are told: 1,000,000 for times in microseconds that are
    /// told in seconds.
    unit: f64,
    /// One more than there are bounds: the last is for what is above all of them.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram holds, in the form that it is told in.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Upper bound and how many values are in this bucket alone; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all values.
    pub sum: f64,
    /// How many values there are.
    pub count: u64,
}

impl Histogram {
    /// A histogram of times: taken in microseconds, told in seconds.
    pub fn of_times() -> Histogram {
        Histogram::new(TIME_BOUNDS_US, 1e6)
    }

    /// A histogram of numbers.
    pub fn of_counts(bounds: &'static [u64]) -> Histogram {
        Histogram::new(bounds, 1.0)
    }

    fn new(bounds: &'static [u64], unit: f64) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, unit, buckets, sum: AtomicU64::new(0) }
    }

    /// Takes in a time.
    pub fn observe(&self, time: Duration) {
        self.observe_count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Takes in a number.
    pub fn observe_count(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What it holds now.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers by their standard")]
    pub fn held(&self) -> Held {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / self.unit).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Held { buckets, sum: self.sum.load(Ordering::Relaxed) as f64 / self.unit, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_of_the_least_bound_that_is_not_below_it() {
        let histogram = Histogram::of_counts(&[1, 4]);
        for value in [0, 1, 2, 4, 5, 1_000] {
            histogram.observe_count(value);
        }
        let held = histogram.held();
        assert_eq!(held.buckets, [(1.0, 2), (4.0, 2), (f64::MAX, 2)]);
        assert_eq!((held.count, held.sum), (6, 1_012.0));
    }

    #[test]
    fn times_are_told_in_seconds() {
        let histogram = Histogram::of_times();
        histogram.observe(Duration::from_micros(36));
        histogram.observe(Duration::from_secs(60));
        let held = histogram.held();
        assert_eq!(held.buckets.first(), Some(&(0.000_05, 1)));
        assert_eq!(held.buckets.last(), Some(&(f64::MAX, 1)));
        assert!((held.sum - 60.000_036).abs() < 1e-9);
    }
}
