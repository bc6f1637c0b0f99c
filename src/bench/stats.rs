//! Durations in a fixed amount of memory: 64 linear steps in each power of two, so a figure is at most 1.6 % too high.

use std::time::Duration;

const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS;

/// Counts of durations in nanoseconds. A percentile is the upper end of the bucket it falls into: never flattering.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, took: Duration) {
        self.record_ns(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn record_ns(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    pub fn add(&mut self, other: &Self) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a += b;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    #[cfg(test)]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The duration that `share` (0 to 1) of all recorded ones do not exceed, in milliseconds.
    pub fn percentile_ms(&self, share: f64) -> Option<f64> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (i, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Some(upper(i).min(self.max) as f64 / 1e6);
            }
        }
        None
    }

    pub fn max_ms(&self) -> Option<f64> {
        (self.total > 0).then_some(self.max as f64 / 1e6)
    }
}

fn bucket(ns: u64) -> usize {
    let power = 63 - (ns | 1).leading_zeros();
    if power < STEP_BITS {
        return ns as usize;
    }
    // The leading bit chooses the row, the STEP_BITS bits after it the step.
    let row = (power - STEP_BITS) as usize;
    let step = (ns >> row) as usize - STEPS;
    (row + 1) * STEPS + step
}

/// The greatest value that falls into bucket `i`.
fn upper(i: usize) -> u64 {
    if i < STEPS {
        return i as u64;
    }
    let (row, step) = (i / STEPS - 1, i % STEPS);
    let low = ((STEPS + step) as u64) << row;
    low + ((1 << row) - 1)
}

/// The middle one, or the mean of the two middle ones.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let mid = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[mid]),
        _ => Some(f64::midpoint(values[mid - 1], values[mid])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut last = None;
        for power in 0..64 {
            for value in [1u64 << power, (1u64 << power) + 1, (1u64 << power) + (1u64 << power) / 3] {
                let b = bucket(value);
                assert!(b < BUCKETS, "{value}");
                assert!(upper(b) >= value, "{value} above its bucket");
                assert!((upper(b) - value) as f64 <= value as f64 / STEPS as f64, "{value}: bucket too wide");
                assert!(b == 0 || upper(b - 1) < value, "{value} below its bucket");
            }
            let b = Some(bucket(1 << power));
            assert!(b > last);
            last = b;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
        assert_eq!(upper(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let mut h = Histogram::default();
        (1..=1000u64).for_each(|ms| h.record(Duration::from_millis(ms)));
        for (share, want) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = h.percentile_ms(share).expect("recorded");
            assert!(got >= want && got <= want * 1.016, "{share}: {got}");
        }
        assert_eq!(h.max_ms(), Some(1000.0));
        assert_eq!(h.count(), 1000);
    }

    #[test]
    fn the_slow_one_in_a_hundred_is_not_lost_in_the_merge() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        (0..98).for_each(|_| a.record(Duration::from_millis(1)));
        (0..2).for_each(|_| b.record(Duration::from_secs(1)));
        a.add(&b);
        assert!(a.percentile_ms(0.5).expect("recorded") < 1.1);
        assert_eq!(a.percentile_ms(0.99), Some(1000.0));
    }

    #[test]
    fn nothing_recorded_is_no_figure() {
        assert_eq!(Histogram::default().percentile_ms(0.5), None);
        assert_eq!(Histogram::default().max_ms(), None);
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
    }
}
