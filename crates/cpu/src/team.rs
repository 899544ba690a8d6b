//! A fork-join team of threads.
//!
//! A region is one call of [`Team::run`]: every thread, the caller among them, runs the same
//! closure with its own index, and the call returns when all have. Starting one allocates nothing
//! and, while the threads are still spinning after the last region, makes no system call: a
//! training step has hundreds of regions of some ten microseconds each.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The environment variable that sets the number of threads.
pub const THREADS_VARIABLE: &str = "ANEMONE_THREADS";

/// Checks of the epoch before a waiting thread goes to sleep, some 50 to 200 microseconds.
const SPINS: usize = 4000;

/// Why a team cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ANEMONE_THREADS` is not a count.
    #[error("ANEMONE_THREADS is {0:?}, expected a number from 1 to 1024")]
    Count(String),
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Spawn(#[from] std::io::Error),
}

/// A team of threads that run one region at a time.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

type Region<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// What the threads share. The fields that are polled have cache lines of their own.
struct Shared {
    /// Counts regions; a change tells the workers that `region` is new.
    epoch: Line<AtomicUsize>,
    /// Workers that have not finished the region.
    pending: Line<AtomicUsize>,
    /// Whether a region runs. Whoever sets it owns `region`.
    busy: AtomicBool,
    stop: AtomicBool,
    region: UnsafeCell<Option<&'static Region<'static>>>,
    sleeping: Box<[Line<AtomicBool>]>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `region` is written only by the thread that set `busy`, while no worker is inside a
// region, and read by workers only after the epoch changed and before `pending` reaches zero.
unsafe impl Sync for Shared {}
// SAFETY: the closure in `region` is `Sync`, so its reference may move to any thread.
unsafe impl Send for Shared {}

#[repr(align(128))]
struct Line<T>(T);

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team({})", self.threads())
    }
}

impl Team {
    /// A team of `threads` threads, of which `threads - 1` are new ones; 0 is taken as 1.
    pub fn new(threads: usize) -> Result<Team, Error> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            epoch: Line(AtomicUsize::new(0)),
            pending: Line(AtomicUsize::new(0)),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            region: UnsafeCell::new(None),
            sleeping: (1..threads).map(|_| Line(AtomicBool::new(false))).collect(),
            panic: Mutex::new(None),
        });
        let mut team = Team { shared, workers: Vec::with_capacity(threads - 1) };
        for index in 1..threads {
            let shared = team.shared.clone();
            let name = format!("anemone-cpu-{index}");
            let worker = thread::Builder::new().name(name);
            team.workers.push(worker.spawn(move || shared.work(index, threads))?);
        }
        Ok(team)
    }

    /// A team of as many threads as `ANEMONE_THREADS` says, otherwise as the machine runs at once.
    pub fn from_environment() -> Result<Team, Error> {
        Team::new(default_threads()?)
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `region(index, threads)` on every thread, `index` from 0 below `threads`, and returns
    /// when all are done.
    ///
    /// While a region runs, another one (nested, or from a foreign thread) runs as `region(0, 1)`
    /// on the calling thread alone. A panic in any thread is carried to the caller, after all
    /// threads have finished.
    pub fn run(&self, region: &Region<'_>) {
        if self.workers.is_empty() || self.shared.busy.swap(true, Ordering::Acquire) {
            return region(0, 1);
        }
        // SAFETY: the reference is used by the workers only until `pending` is zero, which this
        // function waits for before it returns or unwinds.
        let erased =
            unsafe { std::mem::transmute::<&Region<'_>, &'static Region<'static>>(region) };
        // SAFETY: this thread set `busy`, and no worker reads the cell before the epoch changes.
        unsafe { *self.shared.region.get() = Some(erased) };
        self.shared.pending.0.store(self.workers.len(), Ordering::Relaxed);
        self.shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        self.wake();
        let own = catch_unwind(AssertUnwindSafe(|| region(0, self.threads())));
        self.wait();
        let carried = self.shared.lock_panic().take();
        self.shared.busy.store(false, Ordering::Release);
        if let Some(panic) = own.err().or(carried) {
            resume_unwind(panic);
        }
    }

    fn wake(&self) {
        for (worker, sleeping) in self.workers.iter().zip(&self.shared.sleeping) {
            if sleeping.0.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    fn wait(&self) {
        let mut spins = 0;
        while self.shared.pending.0.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else if spins < 2 * SPINS {
                thread::yield_now();
            } else {
                // The stragglers do not wake the caller, so it looks from time to time.
                thread::park_timeout(Duration::from_micros(50));
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        self.wake();
        for worker in self.workers.drain(..) {
            // Workers catch the panics of regions, so there is none to carry here.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, index: usize, threads: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_epoch(index, seen);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: the epoch changed, so the cell was written, and it is not written again
            // before this worker has lowered `pending`.
            let region = unsafe { *self.region.get() }.expect("set before the epoch changes");
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| region(index, threads))) {
                self.lock_panic().get_or_insert(panic);
            }
            self.pending.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an epoch other than `seen`. A worker cannot miss one: the next begins only when
    /// every worker has finished the last.
    fn next_epoch(&self, index: usize, seen: usize) -> usize {
        for _ in 0..SPINS {
            let epoch = self.epoch.0.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        let sleeping = &self.sleeping[index - 1].0;
        // Sequentially consistent with the caller's change of the epoch and its look at the flag:
        // either this thread sees the new epoch or the caller sees the flag.
        sleeping.store(true, Ordering::SeqCst);
        let epoch = loop {
            let epoch = self.epoch.0.load(Ordering::SeqCst);
            if epoch != seen {
                break epoch;
            }
            thread::park();
        };
        sleeping.store(false, Ordering::SeqCst);
        epoch
    }

    fn lock_panic(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of threads of a team if nothing else is said: `ANEMONE_THREADS`, otherwise as many
/// as the machine runs at once.
pub fn default_threads() -> Result<usize, Error> {
    match std::env::var_os(THREADS_VARIABLE) {
        Some(word) => parse_threads(&word.to_string_lossy()),
        None => Ok(thread::available_parallelism().map_or(1, |n| n.get())),
    }
}

fn parse_threads(word: &str) -> Result<usize, Error> {
    match word.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err(Error::Count(word.to_owned())),
    }
}

/// Part `index` of `0..total` cut into `parts` of nearly the same size, in multiples of
/// `granularity` but for the end. Parts may be empty.
pub fn split(total: usize, parts: usize, index: usize, granularity: usize) -> Range<usize> {
    let granularity = granularity.max(1);
    let units = total.div_ceil(granularity);
    let cut = |i: usize| {
        let unit = (units / parts) * i + (units % parts).min(i);
        (unit * granularity).min(total)
    };
    cut(index)..cut(index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn every_index_runs_once_in_each_of_many_short_regions() {
        for threads in [1, 2, 3, 5] {
            let team = Team::new(threads).unwrap();
            let counts: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
            for _ in 0..3000 {
                team.run(&|index, n| {
                    assert_eq!(n, threads);
                    counts[index].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 3000));
        }
    }

    #[test]
    fn sleeping_workers_wake() {
        let team = Team::new(3).unwrap();
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(3));
            let sum = AtomicUsize::new(0);
            team.run(&|index, _| _ = sum.fetch_add(index, Ordering::Relaxed));
            assert_eq!(sum.into_inner(), 3);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_survives() {
        let team = Team::new(3).unwrap();
        for culprit in 0..3 {
            let finished = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|index, _| {
                    if index == culprit {
                        resume_unwind(Box::new(culprit));
                    }
                    finished.fetch_add(1, Ordering::Relaxed);
                });
            }));
            let panic = result.unwrap_err();
            assert_eq!(panic.downcast_ref::<usize>(), Some(&culprit));
            assert_eq!(finished.into_inner(), 2);
        }
        let ran = AtomicUsize::new(0);
        team.run(&|_, _| _ = ran.fetch_add(1, Ordering::Relaxed));
        assert_eq!(ran.into_inner(), 3);
    }

    #[test]
    fn a_nested_region_runs_on_its_thread_alone() {
        let team = Team::new(3).unwrap();
        let inner = AtomicUsize::new(0);
        team.run(&|_, _| {
            team.run(&|index, threads| {
                assert_eq!((index, threads), (0, 1));
                inner.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(inner.into_inner(), 3);
    }

    #[test]
    fn parts_cover_the_whole_in_order() {
        for (total, parts, granularity) in [(0, 3, 4), (1, 4, 1), (100, 3, 16), (64, 2, 32)] {
            let mut end = 0;
            for index in 0..parts {
                let part = split(total, parts, index, granularity);
                assert_eq!(part.start, end);
                assert!(part.start.is_multiple_of(granularity) || part.start == total);
                end = part.end;
            }
            assert_eq!(end, total);
        }
    }

    #[test]
    fn a_bad_thread_count_is_an_error() {
        for word in ["0", "-1", "many", "", "99999"] {
            assert!(matches!(parse_threads(word), Err(Error::Count(w)) if w == word));
        }
        assert_eq!(parse_threads("7").unwrap(), 7);
    }
}
