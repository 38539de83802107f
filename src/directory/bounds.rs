//! How many users a tenant may have. Only active ones count: a seat becomes free when Okta deactivates a person, who
//! stays with id and groups. A bound below what there is takes nobody away.

use crate::directory::{Error, Options};
use crate::scim;
use crate::store::WriteTx;

/// Refuses one more active user where the tenant has as many as it may have; `done` is what would be done to the
/// person. To be asked in the transaction that makes or activates the user.
///
/// # Errors
/// 403: Okta then shows the sentence to its administrator and does not try again by itself, which would not help.
pub(super) fn check_seat(tx: &WriteTx<'_>, options: &Options, done: &str) -> Result<(), Error> {
    let Some(max) = options.max_users else { return Ok(()) };
    if tx.active_users()? < u64::from(max) {
        return Ok(());
    }
    let noun = if max == 1 { "user" } else { "users" };
    Err(scim::Error::forbidden(format!(
        "This tenant may have {max} active {noun} and no more, so this one was not {done}; {ASK}"
    ))
    .into())
}

/// What a client's administrator is to do.
const ASK: &str = "deactivate somebody, or ask the operator of this SCIM server for more.";

/// Whether a client was refused for `max_users`: the operator, who may raise it, is told otherwise.
pub fn is_without_seat(error: &scim::Error) -> bool {
    error.status == 403 && error.detail.ends_with(ASK)
}
