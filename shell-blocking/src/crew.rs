//! Threads that carry one job at a time: started as they are needed, up to a bound, and ended when idle for long.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// The stack of each thread; what is not touched takes no memory.
const STACK_BYTES: usize = 256 << 10;
/// A thread without a job for this long ends.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What one thread works with; a panic replaces it.
pub(crate) trait Hand<J>: Send {
    /// Carries one job to its end.
    fn carry(&mut self, job: J);
}

/// Makes a thread's hand.
type Hire<J> = Box<dyn Fn() -> Box<dyn Hand<J>> + Send + Sync>;

/// A group of threads with one queue. Dropped, its threads end once idle.
pub(crate) struct Crew<J: Send + 'static> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    name: &'static str,
    threads_max: usize,
    hire: Hire<J>,
    state: Mutex<State<J>>,
    wake: Condvar,
}

struct State<J> {
    jobs: VecDeque<J>,
    threads: usize,
    idle: usize,
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
        hire: impl Fn() -> Box<dyn Hand<J>> + Send + Sync + 'static,
    ) -> Self {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: 0, closed: false };
        let shared = Shared { name, threads_max, hire: Box::new(hire), state: Mutex::new(state), wake: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Gives a job to an idle thread, else to a new one, else it waits; how many threads there are.
    ///
    /// # Errors
    /// When it would need a new thread that cannot be started.
    pub(crate) fn take(&self, job: J) -> Result<usize, Box<Unmanned<J>>> {
        let mut state = self.shared.lock();
        let lacks = state.idle <= state.jobs.len() && state.threads < self.shared.threads_max;
        if lacks {
            let shared = Arc::clone(&self.shared);
            let spawned =
                Builder::new().name(shared.name.to_owned()).stack_size(STACK_BYTES).spawn(move || shared.work());
            match spawned {
                Ok(_detached) => state.threads += 1,
                Err(error) => return Err(Box::new(Unmanned { job, error })),
            }
        }
        state.jobs.push_back(job);
        let threads = state.threads;
        drop(state);
        self.shared.wake.notify_one();
        Ok(threads)
    }
}

impl<J: Send + 'static> Drop for Crew<J> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl<J> Shared<J> {
    fn work(&self) {
        let mut hand = (self.hire)();
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(|| hand.carry(job))).is_err() {
                hand = (self.hire)();
            }
        }
    }

    /// The next job; none when the thread is to end, which is then counted.
    fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let (woken, late) = self.wake.wait_timeout(state, IDLE_MAX).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if late.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    type Job = Box<dyn FnOnce() + Send>;

    struct Runs;

    impl Hand<Job> for Runs {
        fn carry(&mut self, job: Job) {
            job();
        }
    }

    fn crew(threads_max: usize) -> Crew<Job> {
        Crew::new("test", threads_max, || Box::new(Runs))
    }

    fn blocked(crew: &Crew<Job>) -> (Sender<()>, Receiver<()>) {
        let (release, held) = channel::<()>();
        let (ended, end) = channel();
        let job = move || {
            let _released = held.recv();
            let _sent = ended.send(());
        };
        assert!(crew.take(Box::new(job)).is_ok());
        (release, end)
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
}
