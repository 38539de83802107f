//! The commit queue of a tenant: writers that arrive together share one commit, and a lone one waits for
//! nobody.
//!
//! Whoever finds no leader becomes the leader, which takes what waits, commits it, answers it, and goes on
//! until nothing waits. So there is no thread for an idle tenant and at most one for a busy one. The queue
//! knows neither the directory nor threads: the leader is handed the function that commits, on a thread of
//! the caller's choice.

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

/// What a writer is given.
pub(super) struct Submitted<W, A> {
    /// For the answer.
    pub(super) ticket: Ticket<W, A>,
    /// Where there is one, [`Leader::run`] must be called, on a thread that may block.
    pub(super) leader: Option<Leader<W, A>>,
}

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

    /// Puts a work into the queue.
    ///
    /// # Errors
    /// [`Refused::Full`]
    pub(super) fn submit(self: &Arc<Self>, work: W, bounds: Bounds) -> Result<Submitted<W, A>, Refused> {
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
        Ok(Submitted { ticket: Ticket { queue: Arc::clone(self), number, wait_max, answer }, leader })
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
    /// Commits what waits, in rounds, until nothing does. `commit` gives an answer for each work, in order; `waited`
    /// is told how long each waited for its commit to begin.
    pub(super) fn run(mut self, waited: impl Fn(Duration), commit: impl Fn(Vec<W>) -> Vec<A>) {
        while let Some(round) = self.take_round(&waited) {
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
                // The transaction was rolled back when it was dropped, and those who come after are not at
                // fault.
                Err(_) => drop(answers),
            }
        }
    }

    /// The works of the next commit, without those that waited for too long. `None` when nothing waits: then
    /// the queue has no leader any more.
    fn take_round(&mut self, waited: impl Fn(Duration)) -> Option<Vec<Waiting<W, A>>> {
        let mut state = self.queue.lock();
        if state.waiting.is_empty() {
            state.led = false;
            self.done = true;
            return None;
        }
        let count = state.waiting.len().min(ROUND_MAX);
        let round: Vec<_> = state.waiting.drain(..count).collect();
        drop(state);
        let (in_time, late): (Vec<_>, Vec<_>) = round.into_iter().partition(|waiting| {
            let wait = waiting.since.elapsed();
            waited(wait);
            wait < waiting.wait_max
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const BOUNDS: Bounds = Bounds { waiting_max: 1000, wait_max: Duration::from_secs(10) };

    type Numbers = Arc<Queue<u32, u32>>;

    fn submit(queue: &Numbers, work: u32) -> (Ticket<u32, u32>, Option<Leader<u32, u32>>) {
        submit_within(queue, work, BOUNDS)
    }

    fn submit_within(
        queue: &Numbers,
        work: u32,
        bounds: Bounds,
    ) -> (Ticket<u32, u32>, Option<Leader<u32, u32>>) {
        let submitted = queue.submit(work, bounds).ok().unwrap();
        (submitted.ticket, submitted.leader)
    }

    /// Answers each work with ten times itself and tells the rounds.
    fn tenfold(rounds: &Mutex<Vec<Vec<u32>>>) -> impl Fn(Vec<u32>) -> Vec<u32> {
        |works| {
            rounds.lock().unwrap().push(works.clone());
            works.into_iter().map(|work| work * 10).collect()
        }
    }

    #[tokio::test]
    async fn a_lone_writer_leads_and_waits_for_nobody() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        for work in 1..=3 {
            let (ticket, leader) = submit(&queue, work);
            leader.unwrap().run(|_| {}, tenfold(&rounds));
            assert_eq!(ticket.answer().await, Ok(work * 10));
        }
        assert_eq!(*rounds.lock().unwrap(), [[1], [2], [3]]);
    }

    #[tokio::test]
    async fn writers_that_arrive_together_share_one_commit_in_order() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        let (first, leader) = submit(&queue, 1);
        let others: Vec<_> = (2..=5).map(|work| submit(&queue, work)).collect();
        assert!(others.iter().all(|(_, leader)| leader.is_none()));
        leader.unwrap().run(|_| {}, tenfold(&rounds));
        assert_eq!(*rounds.lock().unwrap(), [[1, 2, 3, 4, 5]]);
        assert_eq!(first.answer().await, Ok(10));
        for (work, (ticket, _)) in (2..=5).zip(others) {
            assert_eq!(ticket.answer().await, Ok(work * 10));
        }
    }

    #[tokio::test]
    async fn who_arrives_during_a_commit_is_in_the_next_one_of_the_same_leader() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        let (first, leader) = submit(&queue, 1);
        let (tickets, arrived) = mpsc::channel();
        leader.unwrap().run(
            |_| {},
            |works| {
                if works == [1] {
                    let (ticket, leader) = submit(&queue, 2);
                    assert!(leader.is_none());
                    tickets.send(ticket).unwrap();
                }
                tenfold(&rounds)(works)
            },
        );
        assert_eq!(*rounds.lock().unwrap(), [[1], [2]]);
        assert_eq!(first.answer().await, Ok(10));
        assert_eq!(arrived.recv().unwrap().answer().await, Ok(20));
        assert!(submit(&queue, 3).1.is_some(), "the next writer leads again");
    }

    #[tokio::test]
    async fn a_commit_has_at_most_256_works() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        let (mut tickets, mut leader) = (Vec::new(), None);
        for work in 0..600 {
            let (ticket, may_lead) = submit(&queue, work);
            tickets.push(ticket);
            leader = leader.or(may_lead);
        }
        leader.unwrap().run(|_| {}, tenfold(&rounds));
        let sizes: Vec<usize> = rounds.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [256, 256, 88]);
        for (work, ticket) in (0..600).zip(tickets) {
            assert_eq!(ticket.answer().await, Ok(work * 10));
        }
    }

    #[tokio::test]
    async fn a_full_queue_takes_nothing_more() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        let bounds = Bounds { waiting_max: 2, ..BOUNDS };
        let (_first, leader) = submit_within(&queue, 1, bounds);
        let (second, _) = submit_within(&queue, 2, bounds);
        assert_eq!(queue.submit(3, bounds).err(), Some(Refused::Full));
        leader.unwrap().run(|_| {}, tenfold(&rounds));
        assert_eq!(second.answer().await, Ok(20));
        assert!(queue.submit(3, bounds).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_is_told_in_time_and_not_run() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        let (first, leader) = submit(&queue, 1);
        let started = tokio::time::Instant::now();
        assert_eq!(first.answer().await, Err(Refused::TooLate));
        assert_eq!(started.elapsed().as_secs(), 10);
        leader.unwrap().run(|_| {}, tenfold(&rounds));
        assert!(rounds.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_leader_does_not_run_what_has_waited_for_too_long() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        let at_once = Bounds { wait_max: Duration::ZERO, ..BOUNDS };
        let (late, leader) = submit_within(&queue, 1, at_once);
        let (in_time, _) = submit(&queue, 2);
        leader.unwrap().run(|_| {}, tenfold(&rounds));
        assert_eq!(*rounds.lock().unwrap(), [[2]]);
        assert_eq!(late.answer().await, Err(Refused::TooLate));
        assert_eq!(in_time.answer().await, Ok(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_has_begun_is_waited_for_however_long_it_takes() {
        let queue: Numbers = Queue::new();
        let (ticket, leader) = submit(&queue, 1);
        let (begun, go_on) = (mpsc::channel(), mpsc::channel());
        let commit = tokio::task::spawn_blocking(move || {
            leader.unwrap().run(
                |_| {},
                |works| {
                    begun.0.send(()).unwrap();
                    go_on.1.recv().unwrap();
                    works
                },
            );
        });
        tokio::task::spawn_blocking(move || begun.1.recv().unwrap()).await.unwrap();
        let waiting = tokio::spawn(ticket.answer());
        tokio::time::advance(Duration::from_secs(60)).await;
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        go_on.0.send(()).unwrap();
        commit.await.unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(1));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_takes_its_work_along() {
        let (queue, rounds) = (Queue::new(), Mutex::default());
        let (first, leader) = submit(&queue, 1);
        let (second, _) = submit(&queue, 2);
        drop(first);
        leader.unwrap().run(|_| {}, tenfold(&rounds));
        assert_eq!(*rounds.lock().unwrap(), [[2]]);
        assert_eq!(second.answer().await, Ok(20));
    }

    #[tokio::test]
    async fn a_commit_that_panics_fails_its_works_and_nobody_elses() {
        let queue: Numbers = Queue::new();
        let (first, leader) = submit(&queue, 1);
        let (tickets, arrived) = mpsc::channel();
        leader.unwrap().run(
            |_| {},
            |works| {
                if works == [1] {
                    tickets.send(submit(&queue, 2).0).unwrap();
                    panic!("on purpose");
                }
                works
            },
        );
        assert_eq!(first.answer().await, Err(Refused::Failed));
        assert_eq!(arrived.recv().unwrap().answer().await, Ok(2));
        assert!(submit(&queue, 3).1.is_some(), "the queue is not stuck");
    }

    #[tokio::test]
    async fn a_leader_that_never_ran_leaves_nobody_waiting() {
        let queue: Numbers = Queue::new();
        let (first, leader) = submit(&queue, 1);
        let (second, _) = submit(&queue, 2);
        drop(leader);
        assert_eq!(first.answer().await, Err(Refused::Failed));
        assert_eq!(second.answer().await, Err(Refused::Failed));
        assert!(submit(&queue, 3).1.is_some(), "the queue is not stuck");
    }

    #[tokio::test]
    async fn a_commit_that_answers_too_little_fails_the_rest() {
        let queue: Numbers = Queue::new();
        let (first, leader) = submit(&queue, 1);
        let (second, _) = submit(&queue, 2);
        leader.unwrap().run(|_| {}, |_| vec![7]);
        assert_eq!(first.answer().await, Ok(7));
        assert_eq!(second.answer().await, Err(Refused::Failed));
    }
}
