//! What a network does to the datagrams that it carries.

use std::time::Duration;

/// What happens to datagrams; fine by default. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Share that is lost.
    pub lost: f64,
    /// Every so-many-th is lost as well, from the first on; 0 for none. So nothing is lost twice in a row.
    pub every: u64,
    /// How long every one takes.
    pub delay: Duration,
    /// Share that takes 50 ms longer, so that two or three others overtake it.
    pub overtaken: f64,
    /// Share that arrives twice.
    pub repeated: f64,
}

impl Weather {
    /// Nothing arrives.
    pub const CUT: Self = Self { lost: 1.0, every: 0, delay: Duration::ZERO, overtaken: 0.0, repeated: 0.0 };
}

/// The weather of one kind of datagrams, whose chance is the same in every run.
pub struct Sky {
    /// What it is like now.
    pub weather: Weather,
    /// Of each direction: what chance has come to, and how many datagrams there were.
    directions: [(u64, u64); 2],
}

impl Sky {
    /// Fine weather.
    pub fn fine() -> Self {
        Self { weather: Weather::default(), directions: [(1, 0), (2, 0)] }
    }

    /// After how long each copy of the next datagram in this direction (0 or 1) arrives.
    pub fn fates(&mut self, direction: usize) -> Vec<Duration> {
        let Weather { lost, every, delay, overtaken, repeated } = self.weather;
        let (state, number) = &mut self.directions[direction];
        let [lost, overtaken, repeated] = [lost, overtaken, repeated].map(|share| throw(state) < share);
        let turn = every > 0 && number.is_multiple_of(every);
        *number += 1;
        if lost || turn {
            return Vec::new();
        }
        let late = if overtaken { Duration::from_millis(50) } else { Duration::ZERO };
        vec![delay + late; 1 + usize::from(repeated)]
    }
}

/// From 0 to 1, without 1.
fn throw(state: &mut u64) -> f64 {
    // Knuth's constants; the upper bits are the better ones.
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f64 / (1_u64 << 24) as f64
}
