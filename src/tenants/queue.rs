//! The commit queue of a tenant: writers that arrive together share one commit, and a lone one waits for nobody.
//!
//! Whoever finds no leader becomes the leader, which takes what waits, commits it, answers it, and goes on until
//! nothing waits. So there is no thread for an idle tenant and at most one for a busy one. The queue knows neither
//! the directory nor threads: the leader is handed the function that commits, on a thread of the caller's choice.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Stopwatch;

/// Most works in one commit; bounds how long one commit holds the file.
const ROUND_MAX: usize = 256;

/// How much may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Most works that wait.
    pub(super) waiting_max: usize,
    /// Longest time that a work waits until its commit begins.
    pub(super) wait_max: Duration,
}

/// Why a work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many wait. The work was not run.
    Full,
    /// It waited for too long. The work was not run.
    TooLate,
    /// The commit ended without an answer. Nothing of it is in the file.
    Failed,
}

/// Works of type `W`, each answered with an `A`.
pub(super) struct Queue<W, A> {
    state: Mutex<State<W, A>>,
}

struct State<W, A> {
    waiting: VecDeque<Waiting<W, A>>,
    next_number: u64,
    /// Whether a [`Leader`] exists.
    led: bool,
}

struct Waiting<W, A> {
    number: u64,
    work: W,
    since: Stopwatch,
    wait_max: Duration,
    answer: oneshot::Sender<Result<A, Refused>>,
}

/// A place in the queue. Dropping it takes the work out of the queue if its commit has not begun.
pub(super) struct Ticket<W, A> {
    queue: Arc<Queue<W, A>>,
    number: u64,
    wait_max: Duration,
    answer: oneshot::Receiver<Result<A, Refused>>,
}

/// What who submits is given: a ticket, and perhaps the duty to lead.
pub(super) type Place<W, A> = (Ticket<W, A>, Option<Leader<W, A>>);

/// The right and duty to commit what waits.
pub(super) struct Leader<W, A> {
    queue: Arc<Queue<W, A>>,
    done: bool,
}

impl<W, A> Queue<W, A> {
    /// An empty queue.
    pub(super) fn new() -> Arc<Queue<W, A>> {
        let state = State { waiting: VecDeque::new(), next_number: 0, led: false };
        Arc::new(Queue { state: Mutex::new(state) })
    }

    /// Puts a work into the queue. Who is given a leader must call [`Leader::run`], on a thread that may block.
    ///
    /// # Errors
    /// [`Refused::Full`]
    pub(super) fn submit(self: &Arc<Self>, work: W, bounds: Bounds) -> Result<Place<W, A>, Refused> {
        let mut state = self.lock();
        if state.waiting.len() >= bounds.waiting_max {
            return Err(Refused::Full);
        }
        let (sender, answer) = oneshot::channel();
        let (number, wait_max) = (state.next_number, bounds.wait_max);
        state.next_number += 1;
        state.waiting.push_back(Waiting {
            number,
            work,
            since: Stopwatch::start(),
            wait_max,
            answer: sender,
        });
        let leads = !std::mem::replace(&mut state.led, true);
        drop(state);
        let leader = leads.then(|| Leader { queue: Arc::clone(self), done: false });
        Ok((Ticket { queue: Arc::clone(self), number, wait_max, answer }, leader))
    }

    /// Takes a work out; `None` when it is not there any more.
    fn withdraw(&self, number: u64) -> Option<Waiting<W, A>> {
        let mut state = self.lock();
        let place = state.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()?;
        state.waiting.remove(place)
    }

    fn lock(&self) -> MutexGuard<'_, State<W, A>> {
        // No user code runs under the lock, so that what it guards is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W, A> Ticket<W, A> {
    /// Waits for the answer: for the bounded time until the commit begins, and then until it ends.
    ///
    /// # Errors
    /// [`Refused`]
    pub(super) async fn answer(mut self) -> Result<A, Refused> {
        let answered = match tokio::time::timeout(self.wait_max, &mut self.answer).await {
            Ok(answered) => answered,
            Err(_) if self.queue.withdraw(self.number).is_some() => return Err(Refused::TooLate),
            // The commit has begun: what becomes of the work is not open to choice any more.
            Err(_) => (&mut self.answer).await,
        };
        answered.unwrap_or(Err(Refused::Failed))
    }
}

impl<W, A> Drop for Ticket<W, A> {
    fn drop(&mut self) {
        // Nobody is there to hear the answer, so that it is better not done.
        drop(self.queue.withdraw(self.number));
    }
}

impl<W, A> Leader<W, A> {
    /// Commits what waits, in rounds, until nothing does. `commit` gives an answer for each work, in order.
    pub(super) fn run(mut self, commit: impl Fn(Vec<W>) -> Vec<A>) {
        while let Some(round) = self.take_round() {
            let (works, answers): (Vec<_>, Vec<_>) =
                round.into_iter().map(|waiting| (waiting.work, waiting.answer)).unzip();
            if works.is_empty() {
                continue;
            }
            match catch_unwind(AssertUnwindSafe(|| commit(works))) {
                Ok(results) => {
                    // Who gets none learns from the dropped sender that the commit failed.
                    for (answer, result) in answers.into_iter().zip(results) {
                        let _ = answer.send(Ok(result));
                    }
                }
                // The transaction was rolled back when it was dropped, and those who come after are not at fault.
                Err(_) => drop(answers),
            }
        }
    }

    /// The works of the next commit, without those that waited for too long. `None` when nothing waits: then the
    /// queue has no leader any more.
    fn take_round(&mut self) -> Option<Vec<Waiting<W, A>>> {
        let mut state = self.queue.lock();
        if state.waiting.is_empty() {
            state.led = false;
            self.done = true;
            return None;
        }
        let count = state.waiting.len().min(ROUND_MAX);
        let round: Vec<_> = state.waiting.drain(..count).collect();
        drop(state);
        let (in_time, late): (Vec<_>, Vec<_>) =
            round.into_iter().partition(|waiting| waiting.since.elapsed() < waiting.wait_max);
        for waiting in late {
            let _ = waiting.answer.send(Err(Refused::TooLate));
        }
        Some(in_time)
    }
}

impl<W, A> Drop for Leader<W, A> {
    /// A leader that ends before its time, or never began, leaves nobody waiting and the place to the next.
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.queue.lock();
            state.led = false;
            let left = std::mem::take(&mut state.waiting);
            drop(state);
            drop(left);
        }
    }
}
