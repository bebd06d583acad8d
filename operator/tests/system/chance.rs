//! Chance that can be repeated: set `DOCTORKAFKA_SEED` to what a failed test has printed.

use std::time::Duration;

use fastrand::Rng;

pub struct Chance(Rng);

impl Chance {
    /// Another one each time, unless a seed is given.
    pub fn new() -> Self {
        let given = std::env::var("DOCTORKAFKA_SEED").ok();
        let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
        eprintln!("DOCTORKAFKA_SEED={seed}");
        Self(Rng::with_seed(seed))
    }

    /// Waits for less than this.
    pub async fn pause(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_micros()).unwrap();
        tokio::time::sleep(Duration::from_micros(self.0.u64(..longest))).await;
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}
