//! Chance that can be repeated: set `DOCTORKAFKA_SEED` to what a failed test has printed.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Chance(u64);

impl Chance {
    /// Another one each time, unless a seed is given.
    pub fn new() -> Self {
        let given = std::env::var("DOCTORKAFKA_SEED").ok();
        let seed = given.map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().unwrap());
        eprintln!("DOCTORKAFKA_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Waits for less than this.
    pub async fn pause(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_micros()).unwrap();
        tokio::time::sleep(Duration::from_micros(self.next() % longest)).await;
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = usize::try_from(self.next() % (end as u64 + 1)).unwrap();
            items.swap(end, other);
        }
    }
}
