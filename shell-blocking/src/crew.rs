//! Threads that carry one job at a time: started as they are needed, up to a bound, and ended when idle for long.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, ThreadId, current};
use std::time::Duration;

/// The stack of each thread; what is not touched takes no memory.
const STACK_BYTES: usize = 256 << 10;
/// A thread without a job for this long ends.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What one thread works with; a panic replaces it.
pub(crate) trait Worker<J>: Send {
    /// Carries one job to its end.
    fn carry(&mut self, job: J);
}

/// A group of threads with one queue. Dropped, its threads end once idle.
pub(crate) struct Crew<J: Send + 'static> {
    shared: Arc<Shared<J>>,
}

type MakeWorker<J> = Box<dyn Fn() -> Box<dyn Worker<J>> + Send + Sync>;

struct Shared<J> {
    name: &'static str,
    threads_max: usize,
    make_worker: MakeWorker<J>,
    state: Mutex<State<J>>,
}

struct State<J> {
    /// Jobs that wait because all threads are at work.
    jobs: VecDeque<J>,
    threads: usize,
    /// The thread that went idle last gets the next job: few stay warm, the others end.
    idle: Vec<(ThreadId, SyncSender<J>)>,
    closed: bool,
}

/// A job that nobody can carry, and why.
pub(crate) struct Unmanned<J> {
    pub(crate) job: J,
    pub(crate) error: io::Error,
}

impl<J: Send + 'static> Crew<J> {
    pub(crate) fn new(
        name: &'static str,
        threads_max: usize,
        make_worker: impl Fn() -> Box<dyn Worker<J>> + Send + Sync + 'static,
    ) -> Self {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: Vec::new(), closed: false };
        let make_worker = Box::new(make_worker);
        Self { shared: Arc::new(Shared { name, threads_max, make_worker, state: Mutex::new(state) }) }
    }

    /// Gives a job to an idle thread, else to a new one, else it waits.
    ///
    /// # Errors
    /// When it would need a new thread that cannot be started.
    pub(crate) fn take(&self, mut job: J) -> Result<(), Box<Unmanned<J>>> {
        let mut state = self.shared.lock();
        while let Some((_, thread)) = state.idle.pop() {
            match thread.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => job = back,
            }
        }
        if state.threads < self.shared.threads_max {
            let shared = Arc::clone(&self.shared);
            let name = shared.name.to_owned();
            let work = move || Place { shared }.work();
            if let Err(error) = Builder::new().name(name).stack_size(STACK_BYTES).spawn(work) {
                return Err(Box::new(Unmanned { job, error }));
            }
            state.threads += 1;
        }
        state.jobs.push_back(job);
        Ok(())
    }
}

impl<J: Send + 'static> fmt::Debug for Crew<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crew({})", self.shared.name)
    }
}

impl<J: Send + 'static> Drop for Crew<J> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.idle.clear();
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the crew's threads, which counts until this is dropped, whatever ends it.
struct Place<J> {
    shared: Arc<Shared<J>>,
}

impl<J> Place<J> {
    fn work(&self) {
        let mut worker = None;
        while let Some(job) = self.next() {
            let carried = catch_unwind(AssertUnwindSafe(|| {
                worker.get_or_insert_with(|| (self.shared.make_worker)()).carry(job);
            }));
            if carried.is_err() {
                worker = None;
            }
        }
    }

    /// The next job; none when the thread is to end.
    fn next(&self) -> Option<J> {
        let handed = {
            let mut state = self.shared.lock();
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            let (hand, handed) = sync_channel(1);
            state.idle.push((current().id(), hand));
            handed
        };
        match handed.recv_timeout(IDLE_MAX) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                self.shared.lock().idle.retain(|(thread, _)| *thread != current().id());
                // A job may have been handed over just before.
                handed.try_recv().ok()
            }
        }
    }
}

impl<J> Drop for Place<J> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.shared.lock();
            state.threads -= 1;
            if state.threads == 0 { std::mem::take(&mut state.jobs) } else { VecDeque::new() }
        };
        // Nobody would carry them; each tells of its own end.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    type Job = Box<dyn FnOnce() + Send>;

    struct Runs;

    impl Worker<Job> for Runs {
        fn carry(&mut self, job: Job) {
            job();
        }
    }

    fn crew(threads_max: usize) -> Crew<Job> {
        Crew::new("test", threads_max, || Box::new(Runs))
    }

    fn blocked(crew: &Crew<Job>) -> (Sender<()>, Receiver<ThreadId>) {
        let (release, held) = channel::<()>();
        let (ended, end) = channel();
        let job = move || {
            let _released = held.recv();
            let _sent = ended.send(current().id());
        };
        assert!(crew.take(Box::new(job)).is_ok());
        (release, end)
    }

    fn until_idle(crew: &Crew<Job>, threads: usize) {
        while crew.shared.lock().idle.len() < threads {
            std::thread::yield_now();
        }
    }

    #[test]
    fn jobs_run_side_by_side_up_to_the_bound() {
        let crew = crew(2);
        let first = blocked(&crew);
        let second = blocked(&crew);
        let third = blocked(&crew);

        assert_eq!(crew.shared.lock().threads, 2);
        drop((second.0, third.0));
        third.1.recv().unwrap();
        drop(first.0);
        first.1.recv().unwrap();
    }

    #[test]
    fn a_panic_costs_one_job_and_no_thread() {
        let crew = crew(1);
        assert!(crew.take(Box::new(|| panic!("on purpose"))).is_ok());
        let (release, end) = blocked(&crew);

        drop(release);

        end.recv().unwrap();
        assert_eq!(crew.shared.lock().threads, 1);
    }

    #[test]
    fn a_panic_while_a_worker_is_made_costs_one_job_and_no_thread() {
        let fails = AtomicBool::new(true);
        let crew = Crew::new("test", 1, move || {
            assert!(!fails.swap(false, Ordering::Relaxed), "on purpose");
            Box::new(Runs)
        });
        let (_release, lost) = blocked(&crew);
        let (release, end) = blocked(&crew);

        assert!(lost.recv().is_err(), "the job is dropped, which answers its promise");
        drop(release);

        end.recv().unwrap();
        assert_eq!(crew.shared.lock().threads, 1);
    }

    #[test]
    fn what_waits_for_a_thread_that_is_gone_is_dropped() {
        let crew = crew(1);
        let (told, end) = channel::<()>();
        crew.shared.lock().threads = 1;
        let job: Job = Box::new(move || drop(told));
        assert!(crew.take(job).is_ok());

        drop(Place { shared: Arc::clone(&crew.shared) });

        assert!(end.recv().is_err());
        assert_eq!(crew.shared.lock().threads, 0);
        let (release, end) = blocked(&crew);
        drop(release);
        end.recv().unwrap();
    }

    #[test]
    fn the_thread_that_went_idle_last_gets_the_next_job() {
        let crew = crew(2);
        let (first, first_end) = blocked(&crew);
        let (last, last_end) = blocked(&crew);
        drop(first);
        first_end.recv().unwrap();
        until_idle(&crew, 1);
        drop(last);
        let warm = last_end.recv().unwrap();
        until_idle(&crew, 2);

        for _ in 0..3 {
            let (release, end) = blocked(&crew);
            drop(release);
            assert_eq!(end.recv().unwrap(), warm);
            until_idle(&crew, 2);
        }
    }

    #[test]
    fn idle_threads_of_a_dropped_crew_end() {
        let crew = crew(1);
        let (release, end) = blocked(&crew);
        drop(release);
        end.recv().unwrap();
        until_idle(&crew, 1);
        let shared = Arc::downgrade(&crew.shared);

        drop(crew);

        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
