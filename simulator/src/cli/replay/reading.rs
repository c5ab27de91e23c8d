//! Reading beside replaying: a segment is unpacked and parsed in a thread of its own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use poolkeeper_core::recording::{Step, Text};
use poolkeeper_shell::journal::{ReadError, Segment};

use super::Failure;

/// Steps that are handed over at once.
const BATCH: usize = 128;
/// Batches that wait to be taken.
const WAITING: usize = 4;

/// What a segment's file holds, line by line.
#[derive(Debug)]
pub(super) enum Read {
    /// A step, and its line.
    Step(u64, Box<Step<Text>>),
    /// A line that is no step: nothing follows.
    Bad(ReadError),
    /// The file's end; where and how a crash cut it.
    End(Option<String>),
}

/// The lines of a segment, as another thread reads them.
pub(super) struct Reading {
    batches: Receiver<Vec<Read>>,
    batch: std::vec::IntoIter<Read>,
    thread: Option<JoinHandle<()>>,
}

impl Reading {
    /// Begins to read.
    pub(super) fn begin<State: Send + 'static>(segment: Segment<State, Text>) -> Result<Self, Failure> {
        let (sender, batches) = sync_channel(WAITING);
        let thread = Builder::new().name("reader".to_owned()).spawn(move || read(segment, &sender));
        let thread = thread.map_err(|e| Failure::Failed(format!("cannot start a thread: {e}")))?;
        Ok(Self { batches, batch: Vec::new().into_iter(), thread: Some(thread) })
    }
}

impl Iterator for Reading {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        if let Some(read) = self.batch.next() {
            return Some(read);
        }
        let Ok(batch) = self.batches.recv() else {
            let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
            assert!(!panicked, "the reader came to its end");
            return None;
        };
        self.batch = batch.into_iter();
        self.batch.next()
    }
}

fn read<State>(mut segment: Segment<State, Text>, sender: &SyncSender<Vec<Read>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(step) = segment.next() {
        let line = segment.line();
        let is_bad = step.is_err();
        batch.push(match step {
            Ok(step) => Read::Step(line, Box::new(step)),
            Err(error) => Read::Bad(error),
        });
        if is_bad {
            // Nobody may listen any more.
            return drop(sender.send(batch));
        }
        if batch.len() == BATCH && sender.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).is_err() {
            return;
        }
    }
    batch.push(match segment.end() {
        Ok(cut) => Read::End(cut.map(str::to_owned)),
        Err(error) => Read::Bad(error),
    });
    drop(sender.send(batch));
}
