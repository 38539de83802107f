//! The cursors of a page: the one that it was asked for by, and those that lead on from it (RFC 9865 §2).

use crate::directory::Error;
use crate::scim::cursor::{Cursor, CursorKey, Place, PlaceKey};
use crate::scim::query::Query;
use crate::scim::sort::Key;
use crate::store::ReadTx;

/// Where a client has come to in a list.
pub(super) struct At<'q> {
    key: CursorKey,
    query: &'q Query,
    cursor: Cursor,
}

impl<'q> At<'q> {
    /// Reads a cursor; an empty one is the beginning.
    ///
    /// # Errors
    /// 400 when it is none of this tenant and this query.
    pub(super) fn read(tx: &ReadTx<'_>, query: &'q Query, text: &str) -> Result<At<'q>, Error> {
        let key = CursorKey::new(&tx.cursor_key()?);
        let cursor = match text {
            "" => Cursor { backward: false, place: None },
            text => key.open(text, query)?,
        };
        Ok(At { key, query, cursor })
    }

    /// Whether the page before the place is asked for.
    pub(super) fn backward(&self) -> bool {
        self.cursor.backward
    }

    /// The place; `present` gives what the resource of a creation number is sorted by at present.
    ///
    /// # Errors
    /// 400 `expiredCursor` when only the resource could have told its key, and no longer does.
    pub(super) fn place(
        &self,
        present: impl FnOnce(i64) -> Result<Key, Error>,
    ) -> Result<Option<(Key, i64)>, Error> {
        match &self.cursor.place {
            None => Ok(None),
            Some(Place { key, seq }) => Ok(Some((key.resolve(|| present(*seq))?, *seq))),
        }
    }

    /// The cursors before and behind a page with these ends, after which there is more in the direction that it was
    /// looked for in, or not.
    pub(super) fn leading(
        &self,
        ends: Option<&[(Key, i64); 2]>,
        more: bool,
    ) -> (Option<String>, Option<String>) {
        let seal = |backward: bool, place: Option<&(Key, i64)>| {
            let place = place.map(|(key, seq)| Place { key: PlaceKey::of(key.clone()), seq: *seq });
            self.key.seal(&Cursor { backward, place }, self.query)
        };
        let [first, last] = ends.map_or([None, None], |[first, last]| [Some(first), Some(last)]);
        // On the side that the client has come from lies the page that it has come from. A page of nothing leads
        // nowhere: whoever followed would get the same one for ever.
        let leads = self.query.count > 0;
        let came_from = self.cursor.place.is_some();
        let (has_previous, has_next) = if self.backward() { (more, came_from) } else { (came_from, more) };
        ((leads && has_previous).then(|| seal(true, first)), (leads && has_next).then(|| seal(false, last)))
    }
}
