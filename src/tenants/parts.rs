//! The way of a large answer from the thread that reads it to the connection that sends it, part by part.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::directory::{Answer, Error, Part};

/// Parts that wait to be sent, of 64 KiB each: a client may be so far behind the reading. The reading holds a
/// snapshot of the file, so it should be over soon even where the client is slow.
const WAITING_MAX: usize = 128;

/// An answer, or the beginning of one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered {
    /// The answer; when there is a rest, its body is only the first part.
    pub answer: Answer,
    /// What follows of the body.
    pub rest: Option<Rest>,
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Answered {
        Answered { answer, rest: None }
    }
}

/// What follows of a body, while it is being read. Ends with an error when the reading did, so that nobody takes a
/// part for the whole; dropped, it ends the reading.
#[derive(Debug)]
pub struct Rest(mpsc::Receiver<Next>);

#[derive(Debug)]
enum Next {
    Bytes(Vec<u8>),
    Failure(Error),
    /// The body is complete.
    End,
}

impl Stream for Rest {
    type Item = Result<Vec<u8>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|next| match next {
            Some(Next::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Next::Failure(error)) => Some(Err(error)),
            Some(Next::End) => {
                self.0.close();
                None
            }
            None => Some(Err(broken_off())),
        })
    }
}

/// Sends an answer, from a thread that may block.
pub(super) struct Sender {
    answered: Option<oneshot::Sender<Result<Answered, Error>>>,
    parts: Option<mpsc::Sender<Next>>,
    runtime: Handle,
}

/// Makes a sender and what its answer is awaited by. To be called in a runtime.
pub(super) fn channel() -> (Sender, oneshot::Receiver<Result<Answered, Error>>) {
    let (answered, awaited) = oneshot::channel();
    (Sender { answered: Some(answered), parts: None, runtime: Handle::current() }, awaited)
}

impl Sender {
    /// Sends a part; waits while the client is too far behind.
    ///
    /// # Errors
    /// When nobody takes it any more.
    pub(super) fn send(&mut self, part: Part) -> Result<(), Error> {
        if let (Some(head), Some(answered)) = (part.head, self.answered.take()) {
            let (parts, rest) = mpsc::channel(WAITING_MAX);
            self.parts = Some(parts);
            let answer = Answer { body: Some(part.bytes), ..head };
            return answered.send(Ok(Answered { answer, rest: Some(Rest(rest)) })).map_err(|_| nobody());
        }
        self.next(Next::Bytes(part.bytes))
    }

    /// Sends what the reading gave in the end: the whole answer, or its last part.
    pub(super) fn end(mut self, read: Result<Answer, Error>) {
        // Who has gone learns nothing.
        if let Some(answered) = self.answered.take() {
            let _ = answered.send(read.map(Answered::from));
            return;
        }
        let _ = match read {
            Ok(answer) => {
                self.next(Next::Bytes(answer.body.unwrap_or_default())).and_then(|()| self.next(Next::End))
            }
            Err(error) => self.next(Next::Failure(error)),
        };
    }

    fn next(&self, next: Next) -> Result<(), Error> {
        let parts = self.parts.as_ref().ok_or_else(nobody)?;
        self.runtime.block_on(parts.send(next)).map_err(|_| nobody())
    }
}

fn nobody() -> Error {
    Error::Internal { reason: "the client has gone".to_owned() }
}

fn broken_off() -> Error {
    Error::Internal { reason: "the reading broke off".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    fn head() -> Answer {
        Answer { status: 200, body: None, location: None, etag: None }
    }

    fn part(first: bool, text: &str) -> Part {
        Part { head: first.then(head), bytes: text.into() }
    }

    fn last(text: &str) -> Result<Answer, Error> {
        Ok(Answer { body: Some(text.into()), ..head() })
    }

    #[tokio::test]
    async fn a_small_answer_comes_whole() {
        let (sender, awaited) = channel();
        sender.end(last("all"));
        let answered = awaited.await.unwrap().unwrap();
        assert_eq!(answered.answer.body.as_deref(), Some(&b"all"[..]));
        assert!(answered.rest.is_none());
    }

    #[tokio::test]
    async fn a_large_answer_comes_in_order_and_ends() {
        let (mut sender, awaited) = channel();
        let reading = tokio::task::spawn_blocking(move || {
            for index in 0..1_000 {
                sender.send(part(index == 0, &format!("{index},"))).unwrap();
            }
            sender.end(last("end"));
        });
        let answered = awaited.await.unwrap().unwrap();
        let mut body = answered.answer.body.unwrap();
        let mut rest = answered.rest.unwrap();
        while let Some(bytes) = rest.next().await {
            body.extend(bytes.unwrap());
        }
        reading.await.unwrap();
        let expected: String = (0..1_000).map(|index| format!("{index},")).collect();
        assert_eq!(String::from_utf8(body).unwrap(), expected + "end");
    }

    #[tokio::test]
    async fn a_reading_that_fails_or_breaks_off_ends_with_an_error() {
        for fails in [true, false] {
            let (mut sender, awaited) = channel();
            let reading = tokio::task::spawn_blocking(move || {
                sender.send(part(true, "{")).unwrap();
                if fails {
                    sender.end(Err(broken_off()));
                }
            });
            let mut rest = awaited.await.unwrap().unwrap().rest.unwrap();
            assert_eq!(rest.next().await, Some(Err(broken_off())));
            reading.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_reading() {
        let (mut sender, awaited) = channel();
        let reading = tokio::task::spawn_blocking(move || {
            sender.send(part(true, "{")).unwrap();
            while sender.send(part(false, ",")).is_ok() {}
        });
        drop(awaited.await.unwrap().unwrap());
        reading.await.unwrap();
    }
}
