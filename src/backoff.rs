//! Pauses between attempts: longer each time, and never the same for everybody.

use std::time::Duration;

/// After so many failures in a row, at least one: `first`, doubled with each further failure up to `longest`; of that,
/// between a half and the whole.
pub fn after(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.5 + 0.5 * fraction())
}

/// By chance, between 0 and 1.
pub fn fraction() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_u128() as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_up_to_the_longest() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        for (failures, whole) in [(0, 100), (1, 100), (2, 200), (3, 400), (5, 1000), (u32::MAX, 1000)] {
            let (pause, whole) = (after(failures, first, longest), Duration::from_millis(whole));
            assert!(pause >= whole / 2 && pause <= whole, "{failures}: {pause:?}");
        }
    }
}
