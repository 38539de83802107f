//! API tokens and password hashes: text form, Argon2id, digests that compare in constant time.
//!
//! A token is 256 random bits, so that nobody guesses it, in a form that people and secret scanners know for
//! what it is. The configuration holds its Argon2id hash; a process that has proved a token against the hash
//! once remembers a keyed digest instead. Who may use a token, and until when, is decided in
//! `tenants`. Nothing here prints a secret: `Debug` of every type leaves it out.

mod digest;
mod hash;
mod token;

pub use digest::{Digest, DigestKey};
pub use hash::{HashFault, TokenHash, hash_password, spend_one_check};
pub use token::TokenText;

/// Why a secret could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
    /// Argon2 could not run, as a rule for want of memory.
    #[error("the secret could not be hashed; Argon2id needs 19 MiB of memory for it")]
    Hashing,
}
