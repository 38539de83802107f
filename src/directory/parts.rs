//! Answers in parts: a group of a hundred thousand members is sent while it is read, and never held as a whole.
//!
//! Whoever reads offers what is written so far; whether it is taken is for the caller of the directory to say. What
//! never grows beyond a part is answered whole, so that an error still can be.

use crate::directory::{Answer, Error};

/// A body is handed on when so much of it is written.
const PART_BYTES: usize = 64 * 1024;
/// Room for what is written between two offers: a resource or a member.
const OVERHANG_BYTES: usize = 8 * 1024;

/// A part of an answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// With the first part: the answer, without its body.
    pub head: Option<Answer>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Takes parts; an error ends the reading.
pub type TakeParts<'a> = dyn FnMut(Part) -> Result<(), Error> + 'a;

/// Where the parts of a body go, if anywhere.
pub(super) struct Parts<'a> {
    to: Option<&'a mut TakeParts<'a>>,
    begun: bool,
}

impl<'a> Parts<'a> {
    /// The body is kept as a whole.
    pub(super) fn kept() -> Parts<'a> {
        Parts { to: None, begun: false }
    }

    /// The body is handed on.
    pub(super) fn handed_to(to: &'a mut TakeParts<'a>) -> Parts<'a> {
        Parts { to: Some(to), begun: false }
    }

    /// Hands on what is written if it is enough for a part; `head` tells of the answer that it belongs to.
    ///
    /// # Errors
    /// When nobody takes it any more.
    pub(super) fn offer(
        &mut self,
        written: &mut Vec<u8>,
        head: impl FnOnce() -> Answer,
    ) -> Result<(), Error> {
        let Some(to) = self.to.as_mut().filter(|_| written.len() >= PART_BYTES) else { return Ok(()) };
        let head = if std::mem::replace(&mut self.begun, true) { None } else { Some(head()) };
        to(Part { head, bytes: std::mem::replace(written, Vec::with_capacity(PART_BYTES + OVERHANG_BYTES)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Answer {
        Answer { status: 200, body: None, location: None, etag: None }
    }

    #[test]
    fn a_part_is_handed_on_when_it_is_large_enough_and_the_head_comes_with_the_first() {
        let mut taken = Vec::new();
        let mut take = |part: Part| {
            taken.push(part);
            Ok(())
        };
        let mut parts = Parts::handed_to(&mut take);
        let mut written = vec![b'a'; PART_BYTES - 1];
        parts.offer(&mut written, head).unwrap();
        assert_eq!(written.len(), PART_BYTES - 1);
        for byte in [b'b', b'c'] {
            written.resize(PART_BYTES, byte);
            parts.offer(&mut written, head).unwrap();
            assert!(written.is_empty());
        }
        assert_eq!(taken.len(), 2);
        assert_eq!((&taken[0].head, &taken[1].head), (&Some(head()), &None));
        assert!(taken.iter().all(|part| part.bytes.len() == PART_BYTES));
    }

    #[test]
    fn what_is_kept_stays_whole() {
        let mut written = vec![b'a'; 3 * PART_BYTES];
        Parts::kept().offer(&mut written, head).unwrap();
        assert_eq!(written.len(), 3 * PART_BYTES);
    }
}
