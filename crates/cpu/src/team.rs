//! A fork-join team of threads.
//!
//! A region is one call of [`Team::run`]: the same closure runs once for every index below the
//! number of threads, and the call returns when all have. Starting one allocates nothing and,
//! while the threads are still spinning after the last region, makes no system call: a training
//! step has hundreds of regions of some ten microseconds each.
//!
//! Which thread runs which index is decided while the region runs. Every thread begins with its
//! own; whoever is done takes one that nobody has begun. So a thread that other programs keep from
//! running costs its share of the time, but nobody waits for it to wake: what it has not begun is
//! done by the others, with the same results, for the work of an index does not depend on who
//! does it.

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
    /// For every index the last epoch in which a thread took it.
    taken: Box<[Line<AtomicUsize>]>,
    /// Indices of the region that are not finished.
    pending: Line<AtomicUsize>,
    /// Whether a region runs. Whoever sets it owns `region`.
    busy: AtomicBool,
    stop: AtomicBool,
    region: UnsafeCell<Option<&'static Region<'static>>>,
    sleeping: Box<[Line<AtomicBool>]>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `region` is written only by the thread that set `busy`, while every index of the last
// epoch is finished, and read only by threads that have taken an index of the present epoch, before
// they count it as finished.
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
        let shared = Arc::new(Shared::new(threads));
        let mut team = Team { shared, workers: Vec::with_capacity(threads - 1) };
        for index in 1..threads {
            let shared = team.shared.clone();
            let name = format!("anemone-cpu-{index}");
            let worker = thread::Builder::new().name(name);
            team.workers.push(worker.spawn(move || shared.work(index))?);
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

    /// Runs `region(index, threads)` once for every `index` from 0 below `threads`, on as many
    /// threads as are free, and returns when all are done. Two indices may run one after the
    /// other on one thread: a region must not wait for another index.
    ///
    /// While a region runs, another one (nested, or from a foreign thread) runs as `region(0, 1)`
    /// on the calling thread alone. A panic of any index is carried to the caller, after all have
    /// finished.
    pub fn run(&self, region: &Region<'_>) {
        if self.workers.is_empty() || self.shared.busy.swap(true, Ordering::Acquire) {
            return region(0, 1);
        }
        // SAFETY: the reference is used only by threads that have taken an index, until `pending`
        // is zero, which this function waits for before it returns or unwinds.
        let erased =
            unsafe { std::mem::transmute::<&Region<'_>, &'static Region<'static>>(region) };
        // SAFETY: this thread set `busy`, and nobody can take an index before the epoch changes:
        // all of the last epoch are taken.
        unsafe { *self.shared.region.get() = Some(erased) };
        self.shared.pending.0.store(self.threads(), Ordering::Relaxed);
        let epoch = self.shared.epoch.0.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        self.wake();
        self.shared.take_part(0, epoch);
        self.wait();
        let panic = self.shared.lock_panic().take();
        self.shared.busy.store(false, Ordering::Release);
        if let Some(panic) = panic {
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
    fn new(threads: usize) -> Shared {
        Shared {
            epoch: Line(AtomicUsize::new(0)),
            taken: (0..threads).map(|_| Line(AtomicUsize::new(0))).collect(),
            pending: Line(AtomicUsize::new(0)),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            region: UnsafeCell::new(None),
            sleeping: (1..threads).map(|_| Line(AtomicBool::new(false))).collect(),
            panic: Mutex::new(None),
        }
    }

    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_epoch(index, seen);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            self.take_part(index, seen);
        }
    }

    /// Runs what nobody has begun of the region of an epoch: the thread's own index first, then
    /// any. Does nothing if the region is over already.
    fn take_part(&self, own: usize, epoch: usize) {
        let threads = self.taken.len();
        for index in (own..threads).chain(0..own) {
            let taken = &self.taken[index].0;
            // Of any epoch but the last one before, the index was taken in this epoch or later.
            let free = epoch.wrapping_sub(1);
            // Looking first spares the others' cache lines.
            if taken.load(Ordering::Relaxed) != free
                || taken
                    .compare_exchange(free, epoch, Ordering::Acquire, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            // SAFETY: this thread read the epoch after the cell was written, and the cell is not
            // written again before this index is counted as finished.
            let region = unsafe { *self.region.get() }.expect("set before the epoch changes");
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| region(index, threads))) {
                self.lock_panic().get_or_insert(panic);
            }
            self.pending.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an epoch other than `seen`. A worker that sleeps may miss some: the others have
    /// done its work.
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
    fn what_no_thread_has_begun_is_done_by_the_one_that_is_there() {
        let shared = Shared::new(3);
        let ran: [AtomicUsize; 3] = Default::default();
        let region = |index: usize, threads: usize| {
            assert_eq!(threads, 3);
            ran[index].fetch_add(1, Ordering::Relaxed);
        };
        let counts = || ran.each_ref().map(|c| c.load(Ordering::Relaxed));
        let region: &Region<'_> = &region;
        for round in 1..=2 {
            // SAFETY: no index is left when the round ends, so that nobody uses the region later.
            let erased =
                unsafe { std::mem::transmute::<&Region<'_>, &'static Region<'static>>(region) };
            // SAFETY: there is no other thread.
            unsafe { *shared.region.get() = Some(erased) };
            shared.pending.0.store(3, Ordering::Relaxed);
            shared.take_part(0, round);
            assert_eq!(counts(), [round; 3]);
            assert_eq!(shared.pending.0.load(Ordering::Relaxed), 0);
            // Workers that wake when all is done, and one that wakes a region late.
            shared.take_part(1, round);
            shared.take_part(2, round - 1);
            assert_eq!(counts(), [round; 3]);
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
