//! Why the directory could not do what was asked: one message for the client, one for the log.

use crate::scim;
use crate::store;

/// How long a client is told to wait when the tenant's file cannot be used.
const RETRY_AFTER_S: u32 = 5;

/// A refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The client asked for something that cannot be; it is told what.
    Client(scim::Error),
    /// The tenant's file cannot be used at the moment.
    Unavailable {
        /// For the log; never holds what a client sent.
        reason: String,
    },
    /// A defect of ours.
    Internal {
        /// For the log; never holds what a client sent.
        reason: String,
    },
}

impl Error {
    /// What the client is told: of its own fault everything, of ours the id under which the log has it.
    pub fn to_client(&self, request_id: &str) -> scim::Error {
        match self {
            Error::Client(error) => error.clone(),
            Error::Unavailable { .. } => scim::Error::unavailable(
                format!(
                    "The directory cannot be used at the moment; try again later, and its operator finds the reason under request id {request_id}."
                ),
                RETRY_AFTER_S,
            ),
            Error::Internal { .. } => scim::Error::internal(request_id),
        }
    }

    /// What the log is told; nothing where the client was at fault.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Error::Client(_) => None,
            Error::Unavailable { reason } | Error::Internal { reason } => Some(reason),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Client(error) => error.fmt(f),
            Error::Unavailable { reason } | Error::Internal { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

impl From<scim::Error> for Error {
    fn from(error: scim::Error) -> Error {
        Error::Client(error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            // The directory looks before it writes, in one transaction; this is the net below.
            store::Error::Conflict(_) => {
                Error::Client(scim::Error::uniqueness("A value that must be unique is taken already."))
            }
            // RFC 7644 §3.12: more results "than the server is willing to calculate".
            store::Error::TooLong => Error::Client(scim::Error::too_many(
                "The filter takes too long; ask by an attribute that has an index, such as userName, externalId or emails.value.",
            )),
            // Nothing of it is in the file. It may have been the disk's slowness, so it is not 413.
            store::Error::WriteTooLong => Error::Client(scim::Error::unavailable(
                "The change took longer than one write may hold the directory, so nothing of it was done; send it in smaller parts, or try again later.",
                RETRY_AFTER_S,
            )),
            store::Error::Busy
            | store::Error::Full
            | store::Error::Io(_)
            | store::Error::GivenUp
            | store::Error::ReadOnly
            | store::Error::CannotOpen { .. }
            | store::Error::Foreign { .. }
            | store::Error::Newer { .. }
            | store::Error::Corrupt(_) => Error::Unavailable { reason: error.to_string() },
            store::Error::Other(_) => Error::Internal { reason: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_disk_or_the_file_is_503_for_the_client_and_told_in_the_log() {
        for (wrong, reason) in [
            (store::Error::Full, "full"),
            (store::Error::ReadOnly, "cannot be written"),
            (store::Error::Io("disk I/O error".to_owned()), "disk I/O error"),
            (store::Error::Corrupt("malformed".to_owned()), "malformed"),
        ] {
            let error = Error::from(wrong);
            assert!(error.reason().is_some_and(|text| text.contains(reason)), "{error:?}");
            let told = error.to_client("some-request");
            assert_eq!((told.status, told.retry_after_s.is_some()), (503, true), "{told:?}");
            assert!(!told.detail.contains(reason), "{told:?}: that is no business of the client's");
        }
    }
}
