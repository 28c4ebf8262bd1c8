//! Charter: one model's side of the tap: choosing which requests to sample, and counting what became of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::Arc;

use super::record::{unix_ns, Record};
use crate::ffi;
use crate::model::ModelState;
use crate::outputs::OutputView;
use crate::request::Parsed;

/// The sending end of the bounded queue, and its limits.
pub struct Queue {
    pub records: SyncSender<Record>,
    pub bytes: Arc<AtomicUsize>,
    pub max_bytes: usize,
    pub max_record: usize,
}

#[derive(Default)]
pub struct Counters {
    /// Requests answered.
    pub seen: AtomicU64,
    /// Requests chosen; each ends up in exactly one of the counters below.
    pub sampled: AtomicU64,
    pub written: AtomicU64,
    /// The queue was full (records or bytes).
    pub dropped_queue: AtomicU64,
    /// The disk budget was used up, or the write failed.
    pub dropped_disk: AtomicU64,
    /// Values larger than the limit of a record.
    pub oversize: AtomicU64,
}

impl Counters {
    pub fn each(&self) -> [(&'static str, &AtomicU64); 6] {
        [
            ("seen", &self.seen),
            ("sampled", &self.sampled),
            ("written", &self.written),
            ("dropped_queue", &self.dropped_queue),
            ("dropped_disk", &self.dropped_disk),
            ("oversize", &self.oversize),
        ]
    }

    /// Sampled, but not in a file: for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_queue.load(Relaxed) + self.dropped_disk.load(Relaxed) + self.oversize.load(Relaxed)
    }
}

/// Counters of the models that are no longer loaded.
pub type Totals = Counters;

pub struct ModelTap {
    name: String,
    /// A request is chosen when 32 random bits are below this: 0 never, 2³² always.
    threshold: AtomicU64,
    seed: u64,
    pub since_ns: u64,
    pub counters: Counters,
    queue: Queue,
    totals: Arc<Totals>,
}

const ALWAYS: f64 = (1u64 << 32) as f64;

impl ModelTap {
    pub fn new(name: &str, rate: f64, queue: Queue, totals: Arc<Totals>) -> Self {
        let since_ns = unix_ns();
        let tap = Self {
            name: name.to_owned(),
            threshold: AtomicU64::new(0),
            seed: mix(since_ns ^ name.bytes().fold(0, |hash: u64, byte| hash.rotate_left(9) ^ u64::from(byte))),
            since_ns,
            counters: Counters::default(),
            queue,
            totals,
        };
        tap.set_rate(rate);
        tap
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn rate(&self) -> f64 {
        self.threshold.load(Relaxed) as f64 / ALWAYS
    }

    pub fn set_rate(&self, rate: f64) {
        self.threshold.store((rate.clamp(0.0, 1.0) * ALWAYS).round() as u64, Relaxed);
    }

    /// Counts an answered request, and says whether to sample it.
    ///
    /// An independent draw for each request (SplitMix64 of the request's own number), not every n-th: a client that
    /// sends in a fixed rhythm, say ten sources in turn, would otherwise always have the same source sampled at 10 %.
    pub fn choose(&self) -> bool {
        let number = self.counters.seen.fetch_add(1, Relaxed);
        let threshold = self.threshold.load(Relaxed);
        threshold != 0 && mix(self.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))) >> 32 < threshold
    }

    /// Copies a chosen request into the queue; never waits.
    pub fn offer(
        self: &Arc<Self>,
        model: &ModelState,
        request: *mut ffi::Request,
        parsed: &Parsed,
        outputs: &[OutputView],
    ) {
        self.counters.sampled.fetch_add(1, Relaxed);
        let inputs: usize = parsed.inputs.iter().map(|input| input.data.len()).sum();
        if inputs + outputs.iter().map(OutputView::size).sum::<usize>() > self.queue.max_record {
            self.counters.oversize.fetch_add(1, Relaxed);
            return;
        }
        // Looked at before the copy, so that an overloaded tap costs next to nothing.
        if self.queue.bytes.load(Relaxed) >= self.queue.max_bytes {
            self.counters.dropped_queue.fetch_add(1, Relaxed);
            return;
        }
        self.push(Record::of(Arc::clone(self), model, request, parsed, outputs));
    }

    pub fn push(&self, record: Record) {
        let size = record.size();
        let before = self.queue.bytes.fetch_add(size, Relaxed);
        if before + size > self.queue.max_bytes || self.queue.records.try_send(record).is_err() {
            self.queue.bytes.fetch_sub(size, Relaxed);
            self.counters.dropped_queue.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for ModelTap {
    fn drop(&mut self) {
        for ((_, total), (_, ours)) in self.totals.each().iter().zip(self.counters.each()) {
            total.fetch_add(ours.load(Relaxed), Relaxed);
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::sync::mpsc::{sync_channel, Receiver};

    pub fn tap(rate: f64, records: usize, max_bytes: usize) -> (Arc<ModelTap>, Receiver<Record>) {
        let (sender, receiver) = sync_channel(records);
        let queue = Queue { records: sender, bytes: Arc::default(), max_bytes, max_record: 1 << 16 };
        (Arc::new(ModelTap::new("m", rate, queue, Arc::default())), receiver)
    }

    #[test]
    fn the_rate_is_kept_and_has_no_rhythm() {
        let (tap, _receiver) = tap(0.1, 1, 1);
        let chosen: Vec<bool> = (0..1_000_000).map(|_| tap.choose()).collect();
        let count = chosen.iter().filter(|c| **c).count() as f64;
        // Binomial: five standard deviations are 1,500.
        assert!((count - 100_000.0).abs() < 1_500.0, "{count}");
        for phase in 0..10 {
            let in_phase = chosen.iter().skip(phase).step_by(10).filter(|c| **c).count() as f64;
            assert!((in_phase - 10_000.0).abs() < 500.0, "phase {phase}: {in_phase}");
        }
    }

    #[test]
    fn never_and_always() {
        let (tap, _receiver) = tap(0.0, 1, 1);
        assert!((0..1000).all(|_| !tap.choose()));
        tap.set_rate(1.0);
        assert!((0..1000).all(|_| tap.choose()));
        assert_eq!(tap.counters.seen.load(Relaxed), 2000);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (tap, receiver) = tap(1.0, 3, 1 << 20);
        for _ in 0..5 {
            tap.push(Record::for_tests(&tap, 7, &[1, 2, 3, 4]));
        }
        assert_eq!(tap.counters.dropped_queue.load(Relaxed), 2);
        assert_eq!(receiver.try_iter().count(), 3);
    }

    #[test]
    fn the_byte_budget_drops_and_counts() {
        let (tap, receiver) = tap(1.0, 100, 100);
        for _ in 0..5 {
            tap.push(Record::for_tests(&tap, 7, &[0; 40]));
        }
        let kept = receiver.try_iter().count() as u64;
        assert_eq!(kept + tap.counters.dropped_queue.load(Relaxed), 5);
        assert!((1..=2).contains(&kept), "{kept}");
    }
}
