//! The `xsd:dateTime` texts of RFC 7643 §2.3.5 and the instants they name.
//!
//! An instant is a number of milliseconds since 1970-01-01T00:00:00Z. What time it is now is not asked here.

const DAY_MS: i64 = 86_400_000;
/// Days from 0000-03-01 to 1970-01-01 in the Gregorian calendar, reckoned backwards where need be.
const EPOCH_DAY: i64 = 719_468;
/// Days in 400 years; after that the calendar repeats.
const ERA_DAYS: i64 = 146_097;
/// The greatest offset from UTC that XML Schema allows, in minutes.
const OFFSET_MAX_MIN: i64 = 14 * 60;

/// Returns the instant, in milliseconds since 1970-01-01T00:00:00Z, that an `xsd:dateTime` names.
///
/// Four-digit years only; `T` and `Z` in any case; a text without an offset is taken as UTC; digits beyond
/// the millisecond are cut off. `None` for anything else, such as a date alone or 30 February.
pub fn parse(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let year = digits(&mut rest, 4)?;
    expect(&mut rest, b'-')?;
    let month = digits(&mut rest, 2)?;
    expect(&mut rest, b'-')?;
    let day = digits(&mut rest, 2)?;
    expect(&mut rest, b'T')?;
    let hour = digits(&mut rest, 2)?;
    expect(&mut rest, b':')?;
    let minute = digits(&mut rest, 2)?;
    expect(&mut rest, b':')?;
    let second = digits(&mut rest, 2)?;
    let fraction_ms = fraction_ms(&mut rest)?;
    let offset_min = offset_min(&mut rest)?;

    let date_is_real = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    // XML Schema writes the end of a day also as 24:00:00.
    let midnight = hour == 24 && minute == 0 && second == 0 && fraction_ms == 0;
    let time_is_real = (hour < 24 || midnight) && minute < 60 && second < 60;
    if !rest.is_empty() || !date_is_real || !time_is_real {
        return None;
    }
    let minutes = hour * 60 + minute - offset_min;
    Some(days_from_civil(year, month, day) * DAY_MS + minutes * 60_000 + second * 1_000 + fraction_ms)
}

/// Returns the instant as `2026-01-01T00:00:00.000Z`.
pub fn format(ms: i64) -> String {
    let mut text = String::with_capacity(TEXT.len());
    push(&mut text, ms);
    text
}

/// Appends the instant as `2026-01-01T00:00:00.000Z`.
pub fn push(out: &mut String, ms: i64) {
    match text(ms).as_ref().and_then(|text| std::str::from_utf8(text).ok()) {
        Some(text) => out.push_str(text),
        None => out.push_str(&far(ms)),
    }
}

/// Appends the instant as `2026-01-01T00:00:00.000Z` to what is not known to be text.
pub fn write(out: &mut Vec<u8>, ms: i64) {
    match text(ms) {
        Some(text) => out.extend_from_slice(&text),
        None => out.extend_from_slice(far(ms).as_bytes()),
    }
}

/// The form of an instant within the years 0 to 9999.
const TEXT: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

/// The text of an instant within the years 0 to 9999.
///
/// By hand: two of these stand in every resource that is shown and one in every line of the log, and `format!` takes as
/// long as finding the resource.
fn text(ms: i64) -> Option<[u8; 24]> {
    let (date, [hour, minute, second, milli]) = parts(ms);
    let [year, month, day] = date.map(u32::try_from);
    let (year, month, day) = (year.ok().filter(|year| *year <= 9999)?, month.ok()?, day.ok()?);
    let mut text = *TEXT;
    let pairs =
        [(0, year / 100), (2, year % 100), (5, month), (8, day), (11, hour), (14, minute), (17, second)];
    for (at, value) in pairs {
        put_pair(&mut text, at, value);
    }
    put_pair(&mut text, 20, milli / 10);
    text[22] = pair(milli % 10)[1];
    Some(text)
}

/// That of an instant that nobody meets: xsd:dateTime has years of more digits and negative ones.
fn far(ms: i64) -> String {
    let ([year, month, day], [hour, minute, second, milli]) = parts(ms);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day; hour, minute, second and millisecond.
fn parts(ms: i64) -> ([i64; 3], [u32; 4]) {
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    // Less than a day and so far below 2^32; what follows costs less with fewer bits.
    let in_day = u32::try_from(ms.rem_euclid(DAY_MS)).unwrap_or(0);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    ([year, month, day], [hour, minute, in_day / 1_000 % 60, in_day % 1_000])
}

/// The numbers below 100 in two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [*b"00"; 100];
    let mut value = 1;
    while value < 100 {
        let [tens, ones] = pairs[value - 1];
        pairs[value] = if ones < b'9' { [tens, ones + 1] } else { [tens + 1, b'0'] };
        value += 1;
    }
    pairs
};

/// Writes a number below 100 into its place.
fn put_pair(text: &mut [u8; 24], at: usize, value: u32) {
    text[at..at + 2].copy_from_slice(&pair(value));
}

/// The two digits of a number below 100.
fn pair(value: u32) -> [u8; 2] {
    PAIRS[value as usize % PAIRS.len()]
}

fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(count)?;
    let mut value = 0;
    for byte in head {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    *rest = tail;
    Some(value)
}

fn expect(rest: &mut &[u8], byte: u8) -> Option<()> {
    let (first, tail) = rest.split_first()?;
    if !first.eq_ignore_ascii_case(&byte) {
        return None;
    }
    *rest = tail;
    Some(())
}

fn fraction_ms(rest: &mut &[u8]) -> Option<i64> {
    if rest.first() != Some(&b'.') {
        return Some(0);
    }
    let end = rest.iter().skip(1).position(|byte| !byte.is_ascii_digit()).map_or(rest.len(), |at| at + 1);
    let (fraction, tail) = rest.split_at_checked(end)?;
    let fraction = &fraction[1..];
    if fraction.is_empty() {
        return None;
    }
    *rest = tail;
    let digit = |at: usize| fraction.get(at).map_or(0, |byte| i64::from(byte - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

fn offset_min(rest: &mut &[u8]) -> Option<i64> {
    let Some((first, tail)) = rest.split_first() else { return Some(0) };
    *rest = tail;
    let sign = match first {
        b'Z' | b'z' => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(rest, 2)?;
    expect(rest, b':')?;
    let minutes = digits(rest, 2)?;
    let offset = hours * 60 + minutes;
    (minutes < 60 && offset <= OFFSET_MAX_MIN).then_some(sign * offset)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Both ways reckon in years that begin in March, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_DAY
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAY;
    let era = days.div_euclid(ERA_DAYS);
    let day_of_era = days.rem_euclid(ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (ERA_DAYS - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    #[test]
    fn known_instants_are_read_and_written() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2026-01-01T00:00:00.000Z", 1_767_225_600_000),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0001-01-01T00:00:00.000Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
            assert_eq!(format(ms), text);
        }
    }

    #[test]
    fn other_spellings_of_an_instant_are_read() {
        let new_year = Some(1_767_225_600_000);
        assert_eq!(parse("2026-01-01T00:00:00Z"), new_year);
        assert_eq!(parse("2026-01-01t00:00:00z"), new_year);
        assert_eq!(parse("2026-01-01T00:00:00"), new_year);
        assert_eq!(parse("2026-01-01T01:00:00+01:00"), new_year);
        assert_eq!(parse("2025-12-31T16:00:00-08:00"), new_year);
        assert_eq!(parse("2025-12-31T24:00:00Z"), new_year);
        assert_eq!(parse("2026-01-01T00:00:00.0009999Z"), new_year);
        assert_eq!(parse("2026-01-01T00:00:00.5Z"), Some(1_767_225_600_500));
    }

    #[test]
    fn what_names_no_instant_is_refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01 00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:01Z",
            "2026-01-01T25:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+15:00",
            "2026-01-01T00:00:00+01:60",
            "2026-01-01T00:00:00+01",
            "2026-01-01T00:00:00Zx",
            "12026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Ä",
            "２026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_instant_that_is_written_is_read_back(ms in -62_135_596_800_000_i64..=253_402_300_799_999) {
            prop_assert_eq!(parse(&format(ms)), Some(ms));
        }

        #[test]
        fn no_text_makes_it_stumble(text in any::<String>()) {
            let _ = parse(&text);
        }
    }

    #[test]
    fn years_that_no_four_digits_hold_are_written_all_the_same() {
        assert_eq!(format(253_402_300_800_000), "10000-01-01T00:00:00.000Z");
        assert_eq!(format(-62_167_219_200_001), "-001-12-31T23:59:59.999Z");
    }
}
