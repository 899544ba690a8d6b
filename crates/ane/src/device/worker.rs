//! A thread for host work that may come late.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

type Job = Box<dyn FnOnce() + Send>;

/// One thread that does jobs in the order in which they are given.
pub(super) struct Worker {
    /// Nothing once it is to stop.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// The result of a job, once it is there.
pub(super) struct Pending<T>(Receiver<T>);

impl Worker {
    pub fn new() -> Worker {
        let (sender, receiver) = mpsc::channel::<Job>();
        let run = move || {
            for job in receiver {
                job();
            }
        };
        // Without a thread, jobs are done at once by whoever gives them.
        let thread = thread::Builder::new().name("ane-late".into()).spawn(run).ok();
        Worker { jobs: thread.is_some().then_some(sender), thread }
    }

    /// Has a job done.
    pub fn give<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (sender, receiver) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Whoever waits may have gone.
            let _ = sender.send(job());
        });
        match &self.jobs {
            Some(jobs) => {
                if let Err(mpsc::SendError(job)) = jobs.send(job) {
                    job();
                }
            }
            None => job(),
        }
        Pending(receiver)
    }
}

impl<T> Pending<T> {
    /// Waits for the result; nothing if the job panicked.
    pub fn wait(self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A job that panicked has been reported to whoever waited for it.
            let _ = thread.join();
        }
    }
}
