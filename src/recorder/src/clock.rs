//! Wall-clock times as text and as numbers.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970; 0 for earlier times.
pub(crate) fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().min(i64::MAX as u128) as i64)
}

/// `2026-11-22T23:46:00.123Z` (RFC 3339).
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// So many ticks of a clock in seconds, to the microsecond: what a reader of JSON can use, and short enough that every
/// parser reads back the number that was written. A rate of 0 counts as 1.
pub(crate) fn seconds(ticks: i64, rate: u32) -> f64 {
    let microseconds = i128::from(ticks) * 1_000_000 / i128::from(rate.max(1));
    microseconds as f64 / 1e6
}

/// Year, month and day of the proleptic Gregorian calendar, so many days after 1970-01-01. Years begin in March here,
/// so that the leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn seconds_are_read_back_as_they_were_written() {
        assert_eq!(seconds(1_492_224_949, 1_000_000_000), 1.492_224);
        assert_eq!((seconds(-4001, 8000), seconds(3, 0)), (-0.500_125, 3.0));
        for nanoseconds in (0..1_000_000_007_000_000_i64).step_by(9_876_543_211) {
            let written = seconds(nanoseconds, 1_000_000_000);
            let read: f64 = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
            assert_eq!(read, written);
        }
    }

    #[test]
    fn times_read_as_rfc_3339() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59.000Z");
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(1_234)), "1970-01-01T00:00:01.234Z");
    }
}
