//! Which of a tenant's backups a rule of keeping chooses: son, father, grandfather. Pure: times in, answers out.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{Keep, Period};

/// Whether each of the backups made at these times (milliseconds since 1970) is kept: of each kind of period, the
/// newest backup of each of the latest periods that have one, as many of them as the rule says. Periods without a
/// backup are not counted, so that nothing goes while no backups are made; and the newest one of all is kept by
/// every rule.
pub fn kept(keep: &Keep, times_ms: &[i64]) -> Vec<bool> {
    let mut newest_first: Vec<usize> = (0..times_ms.len()).collect();
    newest_first.sort_by_key(|index| std::cmp::Reverse(times_ms[*index]));
    let mut kept = vec![false; times_ms.len()];
    for (period, count) in keep.rules() {
        let mut seen = HashSet::new();
        for index in &newest_first {
            if seen.len() >= usize::try_from(*count).unwrap_or(usize::MAX) {
                break;
            }
            if seen.insert(number_of(*period, times_ms[*index])) {
                kept[*index] = true;
            }
        }
    }
    kept
}

/// The period that a time lies in, told from others of its kind.
fn number_of(period: Period, ms: i64) -> (i64, i64) {
    let hour = (ms.div_euclid(3_600_000), 0);
    let Ok(time) = Timestamp::from_millisecond(ms) else { return hour };
    let date = time.to_zoned(TimeZone::UTC).date();
    let year = i64::from(date.year());
    match period {
        Period::Hour => hour,
        Period::Day => (year, i64::from(date.day_of_year())),
        Period::Week => {
            let week = date.iso_week_date();
            (i64::from(week.year()), i64::from(week.week()))
        }
        Period::Month => (year, i64::from(date.month())),
        Period::Year => (year, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn kept_of(keep: &str, times: &[&str]) -> Vec<String> {
        let times_ms: Vec<i64> = times.iter().map(|time| at(time)).collect();
        let kept = kept(&keep.parse().unwrap(), &times_ms);
        times.iter().zip(kept).filter(|(_, kept)| *kept).map(|(time, _)| (*time).to_owned()).collect()
    }

    #[test]
    fn days_weeks_and_months_each_keep_their_newest() {
        let times = [
            "2025-11-30T03:00:00Z",
            "2025-12-28T03:00:00Z",
            "2025-12-31T03:00:00Z",
            "2026-01-01T03:00:00Z",
            "2026-01-02T03:00:00Z",
            "2026-01-02T09:00:00Z",
        ];
        assert_eq!(kept_of("2d", &times), ["2026-01-01T03:00:00Z", "2026-01-02T09:00:00Z"]);
        // The week of New Year is one.
        assert_eq!(kept_of("2w", &times), ["2025-12-28T03:00:00Z", "2026-01-02T09:00:00Z"]);
        assert_eq!(
            kept_of("3m", &times),
            ["2025-11-30T03:00:00Z", "2025-12-31T03:00:00Z", "2026-01-02T09:00:00Z"]
        );
        assert_eq!(kept_of("9y", &times), ["2025-12-31T03:00:00Z", "2026-01-02T09:00:00Z"]);
        assert_eq!(kept_of("1h,1d", &times), ["2026-01-02T09:00:00Z"]);
    }

    #[test]
    fn periods_without_a_backup_are_not_counted() {
        let times = ["2019-05-01T03:00:00Z", "2024-05-01T03:00:00Z", "2026-01-02T03:00:00Z"];
        assert_eq!(kept_of("3d", &times), times);
    }

    fn rules() -> impl Strategy<Value = Keep> {
        proptest::sample::subsequence(vec!['h', 'd', 'w', 'm', 'y'], 1..=5)
            .prop_flat_map(|letters| {
                let count = letters.len();
                (Just(letters), proptest::collection::vec(1_u32..9, count))
            })
            .prop_map(|(letters, counts)| {
                let parts: Vec<String> =
                    letters.iter().zip(counts).map(|(letter, count)| format!("{count}{letter}")).collect();
                parts.join(",").parse().unwrap()
            })
    }

    proptest! {
        /// The newest is never given up, no rule keeps more than it says, and what is given up has a newer one in
        /// the same period or as many newer periods as the rule keeps.
        #[test]
        fn what_is_kept_is_enough_and_no_more(
            keep in rules(),
            hours in proptest::collection::vec(0_i64..40_000, 1..60),
        ) {
            let times: Vec<i64> = hours.iter().map(|hours| hours * HOUR_MS).collect();
            let kept = kept(&keep, &times);
            let newest = (0..times.len()).max_by_key(|index| times[*index]).unwrap();
            prop_assert!((0..times.len()).any(|index| kept[index] && times[index] == times[newest]));
            let most: u32 = keep.rules().iter().map(|(_, count)| count).sum();
            prop_assert!(kept.iter().filter(|kept| **kept).count() <= most as usize);
            for (index, time) in times.iter().enumerate().filter(|(index, _)| !kept[*index]) {
                for (period, count) in keep.rules() {
                    let own = number_of(*period, *time);
                    let same = (0..times.len()).any(|other| {
                        other != index && kept[other] && times[other] >= *time && number_of(*period, times[other]) == own
                    });
                    let newer: HashSet<_> =
                        times.iter().map(|time| number_of(*period, *time)).filter(|other| *other > own).collect();
                    prop_assert!(same || newer.len() >= *count as usize);
                }
            }
        }

        /// Giving up and choosing again changes nothing: a rule may be applied after every backup.
        #[test]
        fn choosing_twice_is_choosing_once(
            keep in rules(),
            hours in proptest::collection::vec(0_i64..40_000, 0..60),
        ) {
            let times: Vec<i64> = hours.iter().map(|hours| hours * HOUR_MS).collect();
            let left: Vec<i64> =
                times.iter().zip(kept(&keep, &times)).filter(|(_, kept)| *kept).map(|(time, _)| *time).collect();
            prop_assert!(kept(&keep, &left).iter().all(|kept| *kept));
        }
    }
}
