//! What can go wrong with the file, by what follows from it. The text is for the log and holds no row's content.

use rusqlite::ErrorCode;

/// A failure of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process holds the file, or every connection is in use.
    #[error("the tenant's file is busy")]
    Busy,
    /// A read took more time than it was given.
    #[error("the read took too long")]
    TooLong,
    /// A write took more time than it may hold the file.
    #[error("the write took too long")]
    WriteTooLong,
    /// The disk is full.
    #[error("the disk is full, or the file may not grow")]
    Full,
    /// The system could not read or write the file.
    #[error("the tenant's file cannot be read or written: {0}")]
    Io(String),
    /// SQLite rolled the whole transaction back by itself, and with it every job in it.
    #[error("SQLite gave the transaction up, as it does when the disk is full or fails")]
    GivenUp,
    /// The file or its folder cannot be written.
    #[error("the tenant's file or its folder cannot be written")]
    ReadOnly,
    /// The file cannot be opened.
    #[error("{file} cannot be opened: {reason}")]
    CannotOpen {
        /// The path.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// The file belongs to another program.
    #[error(
        "{file} is not a file of ici-scim (its SQLite application_id is {application_id:#x}); move it away"
    )]
    Foreign {
        /// The path.
        file: String,
        /// What stands in its header.
        application_id: i64,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "{file} has schema version {found}, and this ici-scim knows versions up to {known}; install a newer one"
    )]
    Newer {
        /// The path.
        file: String,
        /// The file's schema version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The file is damaged.
    #[error("the tenant's file is damaged: {0}")]
    Corrupt(String),
    /// A unique value is taken. The directory looks before it writes, so this means a defect.
    #[error("a unique value is taken: {0}")]
    Conflict(String),
    /// Anything else that SQLite says.
    #[error("SQLite: {0}")]
    Other(String),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy,
            Some(ErrorCode::DiskFull) => Error::Full,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Error::Io(text),
            Some(ErrorCode::ReadOnly) => Error::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(text),
            Some(ErrorCode::ConstraintViolation) => Error::Conflict(text),
            _ => Error::Other(text),
        }
    }
}
