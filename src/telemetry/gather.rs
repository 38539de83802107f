//! Lines on their way to the log: gathered in memory by whoever logs, written by one thread, many at once.
//!
//! Whoever reads the log may be slow or stand still, and requests must not. A queue of a library would take an
//! allocation and a wake-up for each line; here a line costs its bytes.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long lines are gathered before they are written, when there are any.
const GATHERING: Duration = Duration::from_millis(5);

/// The most bytes that wait to be written; lines that come on top are dropped and counted. About a third of a second
/// at the rate of a busy machine.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Memory that is kept for the next lines; what a burst took beyond it is given back.
const KEPT_BYTES: usize = 64 * 1024;

/// How long the end of the program waits for the last lines to be written.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);

/// Takes lines.
pub(super) struct Gatherer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Lines that found no room and were not told of yet.
    lost: usize,
    /// Whether the thread waits to be told that there are lines.
    asleep: bool,
    /// Nothing comes any more.
    ending: bool,
    /// All is written.
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gatherer {
    /// Starts the thread that writes lines to `out`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Gatherer, Last)> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_out(&theirs, out))?;
        Ok((Gatherer(Arc::clone(&shared)), Last(shared)))
    }
}

impl Write for &Gatherer {
    /// Takes a line, or drops it; never waits for the log.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.waiting.len() + line.len() > WAITING_BYTES_MAX {
            state.lost += 1;
        } else {
            state.waiting.extend_from_slice(line);
        }
        if std::mem::take(&mut state.asleep) {
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has the last lines written when it is dropped.
pub(super) struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ending = true;
        self.0.changed.notify_all();
        // A log that nobody reads does not hold up the end of the program either.
        drop(self.0.changed.wait_timeout_while(state, LAST_LINES_MAX, |state| !state.ended));
    }
}

/// What is to be written, and how many lines were lost before it; `None` at the end.
fn next(shared: &Shared, mut written: Vec<u8>) -> Option<(Vec<u8>, usize)> {
    written.clear();
    written.shrink_to(KEPT_BYTES);
    let mut state = shared.lock();
    while state.waiting.is_empty() && state.lost == 0 {
        if state.ending {
            state.ended = true;
            shared.changed.notify_all();
            return None;
        }
        state.asleep = true;
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    let lines = std::mem::replace(&mut state.waiting, written);
    Some((lines, std::mem::take(&mut state.lost)))
}

/// The thread: writes what has gathered, then lets the next lines gather.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no condition to wait for: time is what gathers lines"
)]
fn write_out(shared: &Shared, mut out: impl Write) {
    let mut written = Vec::with_capacity(KEPT_BYTES);
    while let Some((lines, lost)) = next(shared, written) {
        // What cannot be written is given up: there is nowhere to tell of it.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
        if lost > 0 {
            tracing::warn!(
                lines = lost,
                "lines of this log were lost, since whoever reads it did not keep up"
            );
        }
        written = lines;
        std::thread::sleep(GATHERING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Tells of what is written, once it may.
    struct Told(Sender<Vec<u8>>, Option<Receiver<()>>);

    impl Write for Told {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            if let Some(go_on) = &self.1 {
                let _ = go_on.recv();
            }
            let _ = self.0.send(lines.to_owned());
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_in_order_and_the_last_ones_at_the_end() {
        let (told, written) = channel();
        let (lines, last) = Gatherer::start(Told(told, None)).unwrap();
        let mut expected = Vec::new();
        for number in 0..10_000 {
            let line = format!("line {number}\n");
            (&lines).write_all(line.as_bytes()).unwrap();
            expected.extend_from_slice(line.as_bytes());
        }
        drop(last);
        let written: Vec<Vec<u8>> = written.try_iter().collect();
        assert!(written.len() < 10_000, "lines are written together");
        assert!(written.concat() == expected);
    }

    #[test]
    fn a_log_that_nobody_reads_holds_up_nobody_and_what_is_lost_is_counted() {
        let (told, written) = channel();
        let (go_on, stuck) = channel();
        let (lines, last) = Gatherer::start(Told(told, Some(stuck))).unwrap();
        let line = [b'x'; 1024];
        (&lines).write_all(&line).unwrap();
        while !lines.0.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        // The thread is at the first line now, and stays there.
        for _ in 1..3 * WAITING_BYTES_MAX / line.len() {
            (&lines).write_all(&line).unwrap();
        }
        let lost = lines.0.lock().lost;
        assert!(lost > 0);
        drop(go_on);
        drop(last);
        let bytes: usize = written.try_iter().map(|lines| lines.len()).sum();
        assert_eq!(bytes / line.len() + lost, 3 * WAITING_BYTES_MAX / line.len());
    }
}
