//! How busy the machine is with other work: rows begin as it has room for them, and what a row shows is worth nothing
//! while others have the processors.

use std::{
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A piece of work takes so long on a processor of one's own.
const PIECE: Duration = Duration::from_millis(5);
/// One is done so often.
const EACH: Duration = Duration::from_millis(100);
/// The machine is busy where pieces take so many times as long.
const BUSY: f64 = 2.5;

/// See the module. It ends when it is dropped.
pub struct Pace {
    seen: Arc<Mutex<Vec<(Instant, f64)>>>,
    over: Arc<AtomicBool>,
}

impl Pace {
    pub fn start() -> Self {
        let (seen, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let this = Self { seen: Arc::clone(&seen), over: Arc::clone(&over) };
        // A thread of its own: what the program under test does to its runtime is not the machine's doing.
        thread::spawn(move || {
            let mut turns = 1 << 10;
            while work(turns) < PIECE {
                turns *= 2;
            }
            let mut best = Duration::MAX;
            while !over.load(Ordering::Relaxed) {
                let took = work(turns);
                best = best.min(took);
                seen.lock().unwrap().push((Instant::now(), took.as_secs_f64() / best.as_secs_f64()));
                thread::sleep(EACH);
            }
        });
        this
    }

    /// Whether others had the processors in this time: for a fifth of it, or in the last second.
    pub fn was_busy(&self, from: Instant, to: Instant) -> bool {
        let seen = self.seen.lock().unwrap();
        let pieces: Vec<f64> =
            seen.iter().filter(|(at, _)| *at >= from && *at <= to).map(|(_, times)| *times).collect();
        let slow = pieces.iter().filter(|times| **times > BUSY).count();
        slow * 5 > pieces.len()
    }

    /// Whether they have them now.
    pub fn is_busy(&self) -> bool {
        let now = Instant::now();
        self.was_busy(now - Duration::from_secs(1), now)
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn work(turns: u64) -> Duration {
    let begun = Instant::now();
    let mut number = 1_u64;
    for _ in 0..turns {
        number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    black_box(number);
    begun.elapsed()
}
