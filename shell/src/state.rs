//! The state directory: what outlives the daemon, and a lock against a second one.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use poolkeeper_core::event::Memory;
use serde::{Deserialize, Serialize};

use crate::config::ConfigProblem;

#[cfg(test)]
mod tests;

/// The format of the state file: it rises when an older version can no longer read it.
const FORMAT: u32 = 1;
const FILE: &str = "state.json";
const NEW_FILE: &str = "state.json.new";
const ASIDE: &str = "state.json.unreadable";
const LOCK: &str = "lock";
/// The most bytes of a state file that are read: 10,000 pools take a hundredth of it.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// The most memories that wait to be written: pools remember one thing at a time.
const MAX_WAITING: usize = 100_000;

/// An opened and locked state directory, or none.
#[derive(Debug)]
pub struct State {
    place: Option<Place>,
    memories: BTreeMap<String, String>,
    warning: Option<String>,
}

#[derive(Debug)]
struct Place {
    dir: PathBuf,
    /// Held for as long as the daemon lives: the operating system lets go of it, whatever the end.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Contents<Memories> {
    format: u32,
    memories: Memories,
}

impl State {
    /// Locks the directory and reads what is remembered; without a directory nothing is, and nothing will be.
    ///
    /// # Errors
    /// When the directory cannot be used, or another daemon holds it.
    pub fn open(dir: Option<&Path>) -> Result<Self, ConfigProblem> {
        let Some(dir) = dir else {
            let warning = "no state_dir is configured: what is remembered now will not outlive \
                           this daemon; set state_dir";
            let memories = BTreeMap::new();
            return Ok(Self { place: None, memories, warning: Some(warning.to_owned()) });
        };
        let lock = lock(dir)?;
        let (memories, warning) = match read(&dir.join(FILE)) {
            Ok(memories) => (memories, None),
            Err(problem) => (BTreeMap::new(), Some(put_aside(dir, &problem))),
        };
        let place = Some(Place { dir: dir.to_owned(), _lock: lock });
        Ok(Self { place, memories, warning })
    }

    /// What the operator should know: no directory, or an unreadable file.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// All that is remembered.
    #[must_use]
    pub fn memories(&self) -> Vec<Memory> {
        self.memories.iter().map(|(key, value)| Memory { key: key.clone(), value: value.clone() }).collect()
    }

    /// Starts the thread that writes; it calls `done(key, ok)` once for each [`Keeper::remember`].
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(self, done: impl FnMut(String, bool) + Send + 'static) -> io::Result<Keeper> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("state".to_owned()).spawn(move || write_all(&theirs, self, done))?;
        Ok(Keeper { shared, thread: Some(thread) })
    }
}

/// Writes memories to the state directory, on a thread of its own.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(String, Option<String>)>,
    refused: Vec<String>,
    closed: bool,
}

impl Keeper {
    /// Keeps a value under a key, or forgets the key.
    pub fn remember(&self, key: String, value: Option<String>) {
        let mut queue = self.shared.lock();
        if queue.waiting.len() < MAX_WAITING {
            queue.waiting.push((key, value));
        } else {
            queue.refused.push(key);
        }
        self.shared.changed.notify_one();
    }

    /// Writes what waits and ends the thread.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that writes the state directory panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that waits, taken at once so that one write serves it; `None` at the end.
    fn take(&self) -> Option<Queue> {
        let mut queue = self
            .changed
            .wait_while(self.lock(), |queue| queue.waiting.is_empty() && queue.refused.is_empty() && !queue.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.is_empty() && queue.refused.is_empty() {
            return None;
        }
        let closed = queue.closed;
        Some(std::mem::replace(&mut *queue, Queue { closed, ..Queue::default() }))
    }
}

fn write_all(shared: &Shared, mut state: State, mut done: impl FnMut(String, bool)) {
    while let Some(Queue { waiting, refused, .. }) = shared.take() {
        let mut keys = Vec::with_capacity(waiting.len());
        for (key, value) in waiting {
            match value {
                Some(value) => state.memories.insert(key.clone(), value),
                None => state.memories.remove(&key),
            };
            keys.push(key);
        }
        let written = state.place.as_ref().map_or(Ok(()), |place| write(&place.dir, &state.memories));
        if let Err(error) = &written {
            tracing::error!(%error, "the state directory cannot be written; free or mend its disk");
        }
        for key in keys {
            done(key, written.is_ok());
        }
        for key in refused {
            done(key, false);
        }
    }
}

/// Written beside, made durable, then renamed: a crash leaves the old file or the new one, never half of one.
fn write(dir: &Path, memories: &BTreeMap<String, String>) -> io::Result<()> {
    let json = serde_json::to_vec(&Contents { format: FORMAT, memories })?;
    let beside = dir.join(NEW_FILE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&json)?;
    file.sync_all()?;
    std::fs::rename(&beside, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    }
    let contents: Contents<BTreeMap<String, String>> =
        serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if contents.format != FORMAT {
        return Err(format!("it is of format {}, not {FORMAT}", contents.format));
    }
    Ok(contents.memories)
}

fn put_aside(dir: &Path, problem: &str) -> String {
    let file = dir.join(FILE);
    let aside = dir.join(ASIDE);
    let kept = match std::fs::rename(&file, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it could not be put aside ({error})"),
    };
    format!(
        "{}: cannot be read ({problem}); {kept}; the daemon begins with an empty memory and may \
         have to wait for old sessions to end",
        file.display()
    )
}

fn lock(dir: &Path) -> Result<File, ConfigProblem> {
    let unusable = |error: io::Error| {
        let mend = "name a directory that the daemon may write to";
        problem(dir, format!("cannot be used: {error}"), mend)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(LOCK))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let mend = "stop the other daemon, or give this one another state_dir";
            Err(problem(dir, "another daemon is using it".to_owned(), mend))
        }
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn problem(dir: &Path, problem: String, mend: &str) -> ConfigProblem {
    ConfigProblem { place: dir.display().to_string(), key: "state_dir".to_owned(), problem, mend: mend.to_owned() }
}
