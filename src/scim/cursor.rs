//! The cursors of RFC 9865: places in a list, sealed, so that a client can neither read nor make one.
//!
//! A cursor holds the sort key and the creation number of the resource at which a page ended, the way on, and of which
//! query it is; nothing is remembered for it elsewhere. It is sealed with a key of the tenant: what stands in it may be
//! a person's name, and addresses end up in the logs of proxies. Nothing random goes into it, so one place of one query
//! always has the same cursor.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::scim::Error;
use crate::scim::query::Query;
use crate::scim::sort::Key;

/// The longest sort key that stands in a cursor, in bytes; of a longer one there is only the digest.
const KEY_BYTES_MAX: usize = 512;
/// The longest text that is looked at; ours are shorter.
const TEXT_BYTES_MAX: usize = 1024;
/// The form of what is sealed. A cursor of another form is of another version of this program.
const FORM: u8 = 1;
const TAG_BYTES: usize = 16;
const DIGEST_BYTES: usize = 16;

/// Where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// Whether it leads to what comes before the place, not after it.
    pub backward: bool,
    /// The place; `None` for the beginning, or the end when it leads backward.
    pub place: Option<Place>,
}

/// A place in a list: that of a resource which is there, or was.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The resource's sort key; absent in a list that is not sorted.
    pub key: PlaceKey,
    /// Its creation number.
    pub seq: i64,
}

/// A sort key as a cursor holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceKey {
    /// The key itself.
    Given(Key),
    /// The digest of one too long for a cursor; the key is that of the resource, if it still has it.
    Digest([u8; DIGEST_BYTES]),
}

impl PlaceKey {
    /// The key as it goes into a cursor.
    pub fn of(key: Key) -> PlaceKey {
        match &key {
            Key::Text(text) if text.len() > KEY_BYTES_MAX => PlaceKey::Digest(digest_of(text)),
            _ => PlaceKey::Given(key),
        }
    }

    /// The key itself; `present` gives what the resource is sorted by at present.
    ///
    /// # Errors
    /// 400 `expiredCursor` when only the digest is known and the resource's key is no longer the one it is of; what
    /// `present` gives.
    pub fn resolve<E: From<Error>>(&self, present: impl FnOnce() -> Result<Key, E>) -> Result<Key, E> {
        let digest = match self {
            PlaceKey::Given(key) => return Ok(key.clone()),
            PlaceKey::Digest(digest) => digest,
        };
        match present()? {
            Key::Text(text) if digest_of(&text) == *digest => Ok(Key::Text(text)),
            _ => Err(E::from(Error::expired_cursor(
                "The resource at which this cursor stood has changed; begin the query again with an empty cursor.",
            ))),
        }
    }
}

fn digest_of(text: &str) -> [u8; DIGEST_BYTES] {
    first(blake3::hash(text.as_bytes()).as_bytes())
}

/// A tenant's key for cursors. Its own kind of text is made of it for each use, so that no two share one.
pub struct CursorKey {
    tag: [u8; 32],
    stream: [u8; 32],
}

impl CursorKey {
    /// Takes 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> CursorKey {
        CursorKey {
            tag: blake3::derive_key("ici-scim 2026-11-24 cursor tag", secret),
            stream: blake3::derive_key("ici-scim 2026-11-24 cursor stream", secret),
        }
    }

    /// The cursor as a client gets it, for this query and no other: letters, digits, `-` and `_`.
    pub fn seal(&self, cursor: &Cursor, query: &Query) -> String {
        let mut plain = vec![FORM, u8::from(cursor.backward)];
        plain.extend_from_slice(&query.fingerprint());
        plain.extend_from_slice(&count_bytes(query));
        if let Some(place) = &cursor.place {
            plain.extend_from_slice(&place.seq.to_be_bytes());
            match &place.key {
                PlaceKey::Given(Key::Absent) => plain.push(b'a'),
                PlaceKey::Given(Key::Whole(whole)) => {
                    plain.push(b'w');
                    plain.extend_from_slice(&whole.to_be_bytes());
                }
                PlaceKey::Given(Key::Real(real)) => {
                    plain.push(b'r');
                    plain.extend_from_slice(&real.to_bits().to_be_bytes());
                }
                PlaceKey::Given(Key::Text(text)) => {
                    plain.push(b't');
                    plain.extend_from_slice(text.as_bytes());
                }
                PlaceKey::Digest(digest) => {
                    plain.push(b'd');
                    plain.extend_from_slice(digest);
                }
            }
        }
        self.seal_bytes(plain)
    }

    /// Reads a cursor that a client sends with this query.
    ///
    /// # Errors
    /// 400: `invalidCursor` when it is not of this tenant and this query, `invalidCount` when the query's `count` is
    /// another than it was, `expiredCursor` when another version of this program gave it out.
    pub fn open(&self, text: &str, query: &Query) -> Result<Cursor, Error> {
        let plain = self.open_bytes(text).ok_or_else(|| {
            Error::invalid_cursor(
                "This cursor is none that was given out here; begin the query again with an empty cursor.",
            )
        })?;
        let expired = || {
            Error::expired_cursor(
                "This cursor is of another version of the server; begin the query again with an empty cursor.",
            )
        };
        let (&[form, backward], rest) = plain.split_first_chunk::<2>().ok_or_else(expired)?;
        if form != FORM {
            return Err(expired());
        }
        let (fingerprint, rest) = rest.split_first_chunk::<DIGEST_BYTES>().ok_or_else(expired)?;
        if *fingerprint != query.fingerprint() {
            return Err(Error::invalid_cursor(
                "This cursor belongs to another query; send it with the filter and sorting that it was given out for.",
            ));
        }
        let (count, rest) = rest.split_first_chunk::<9>().ok_or_else(expired)?;
        if *count != count_bytes(query) {
            return Err(Error::invalid_count(
                "count must stay the same from page to page of a query with a cursor.",
            ));
        }
        let place = if rest.is_empty() { None } else { Some(place(rest).ok_or_else(expired)?) };
        Ok(Cursor { backward: backward == 1, place })
    }

    /// The tag, made of what is sealed and the key, also chooses the stream of bytes that hides it: equal tags mean
    /// equal texts, so no stream is used for two (the construction is known as SIV).
    fn seal_bytes(&self, plain: Vec<u8>) -> String {
        let tag: [u8; TAG_BYTES] = first(blake3::keyed_hash(&self.tag, &plain).as_bytes());
        let mut sealed = tag.to_vec();
        sealed.extend(plain);
        self.hide(&tag, &mut sealed[TAG_BYTES..]);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    fn open_bytes(&self, text: &str) -> Option<Vec<u8>> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, hidden) = sealed.split_first_chunk::<TAG_BYTES>()?;
        let mut plain = hidden.to_vec();
        self.hide(tag, &mut plain);
        let expected = blake3::keyed_hash(&self.tag, &plain);
        // Compared as hashes are, in constant time: a tag must not be found byte by byte.
        let mut whole = *expected.as_bytes();
        whole[..TAG_BYTES].copy_from_slice(tag);
        (expected == blake3::Hash::from_bytes(whole)).then_some(plain)
    }

    /// Hides bytes, or shows hidden ones.
    fn hide(&self, tag: &[u8; TAG_BYTES], bytes: &mut [u8]) {
        let mut stream = vec![0; bytes.len()];
        blake3::Hasher::new_keyed(&self.stream).update(tag).finalize_xof().fill(&mut stream);
        bytes.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// The count as the client asked for it: what is in force for those who do not say may change between two pages.
fn count_bytes(query: &Query) -> [u8; 9] {
    let mut bytes = [0; 9];
    if let Some(count) = query.count_asked {
        bytes[0] = 1;
        bytes[1..].copy_from_slice(&count.to_be_bytes());
    }
    bytes
}

fn place(bytes: &[u8]) -> Option<Place> {
    let (seq, rest) = bytes.split_first_chunk::<8>()?;
    let (tag, rest) = rest.split_first()?;
    let key = match tag {
        b'a' => PlaceKey::Given(Key::Absent),
        b'w' => PlaceKey::Given(Key::Whole(i64::from_be_bytes(rest.try_into().ok()?))),
        b'r' => PlaceKey::Given(Key::Real(f64::from_bits(u64::from_be_bytes(rest.try_into().ok()?)))),
        b't' => PlaceKey::Given(Key::Text(String::from_utf8(rest.to_vec()).ok()?)),
        b'd' => PlaceKey::Digest(rest.try_into().ok()?),
        _ => return None,
    };
    Some(Place { key, seq: i64::from_be_bytes(*seq) })
}

/// The first bytes of a hash.
fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::filter::Bounds;
    use crate::scim::query::PageBounds;
    use crate::scim::schema::Schemas;
    use crate::scim::{Kind, ScimType};
    use proptest::prelude::*;

    fn query(kind: Kind, text: &str) -> Query {
        let bounds = PageBounds {
            page_resources_max: 1000,
            page_resources_default: 100,
            filter: Bounds { bytes_max: 4096, depth_max: 32 },
            profile: crate::scim::Profile::Okta,
        };
        Query::parse(text, &[Schemas::builtin().unwrap().of(kind)], bounds).unwrap()
    }

    fn key() -> CursorKey {
        CursorKey::new(&[7; 32])
    }

    fn at(key: Key, seq: i64) -> Cursor {
        Cursor { backward: false, place: Some(Place { key: PlaceKey::of(key), seq }) }
    }

    fn refusal(text: &str, query: &Query) -> Option<ScimType> {
        key().open(text, query).unwrap_err().scim_type
    }

    #[test]
    fn a_cursor_is_of_its_tenant_and_its_query() {
        let asked = query(Kind::User, "filter=title+pr&sortBy=userName&count=10&cursor");
        let text = key().seal(&at(Key::Text("ann".to_owned()), 5), &asked);
        assert_eq!(key().open(&text, &asked), Ok(at(Key::Text("ann".to_owned()), 5)));
        let respelled =
            query(Kind::User, "count=10&sortBy=username&cursor=x&filter=TITLE%20pr&attributes=id");
        assert!(key().open(&text, &respelled).is_ok());
        for other in [
            query(Kind::User, "filter=nickName+pr&sortBy=userName&count=10"),
            query(Kind::User, "sortBy=userName&count=10"),
            query(Kind::User, "filter=title+pr&sortBy=id&count=10"),
            query(Kind::User, "filter=title+pr&sortBy=userName&sortOrder=descending&count=10"),
            query(Kind::Group, "count=10"),
        ] {
            assert_eq!(refusal(&text, &other), Some(ScimType::InvalidCursor));
        }
        for count in ["", "&count=9", "&count=0"] {
            let other = query(Kind::User, &format!("filter=title+pr&sortBy=userName{count}"));
            assert_eq!(refusal(&text, &other), Some(ScimType::InvalidCount));
        }
        let elsewhere = CursorKey::new(&[8; 32]).open(&text, &asked).unwrap_err();
        assert_eq!(elsewhere.scim_type, Some(ScimType::InvalidCursor));
    }

    #[test]
    fn nothing_of_a_key_can_be_read_and_nothing_changed() {
        let asked = query(Kind::User, "sortBy=userName&cursor");
        let name = "somebody@example.com";
        let text = key().seal(&at(Key::Text(name.to_owned()), 5), &asked);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert!(!bytes.windows(4).any(|part| name.as_bytes().windows(4).any(|other| other == part)));
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert_eq!(refusal(&URL_SAFE_NO_PAD.encode(forged), &asked), Some(ScimType::InvalidCursor));
        }
        for end in 0..bytes.len() {
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..end]);
            assert_eq!(refusal(&cut, &asked), Some(ScimType::InvalidCursor));
        }
        for nonsense in ["x", "*", "ä", &"A".repeat(5000), &format!("{text}=")] {
            assert_eq!(refusal(nonsense, &asked), Some(ScimType::InvalidCursor));
        }
    }

    #[test]
    fn a_long_key_is_told_by_its_digest_and_must_still_be_there() {
        let asked = query(Kind::User, "sortBy=title&cursor");
        let long = Key::Text("ä".repeat(10_000));
        let text = key().seal(&at(long.clone(), 5), &asked);
        assert!(text.len() < TEXT_BYTES_MAX, "{}", text.len());
        let place = key().open(&text, &asked).unwrap().place.unwrap();
        assert_eq!(place.key.resolve(|| Ok::<_, Error>(long.clone())), Ok(long));
        for present in [Key::Absent, Key::Text("b".repeat(10_000))] {
            let expired = place.key.resolve(|| Ok::<_, Error>(present)).unwrap_err();
            assert_eq!(expired.scim_type, Some(ScimType::ExpiredCursor));
        }
        let longest = at(Key::Text("x".repeat(KEY_BYTES_MAX)), i64::MAX);
        assert!(key().seal(&longest, &asked).len() < TEXT_BYTES_MAX);
        assert_eq!(key().open(&key().seal(&longest, &asked), &asked), Ok(longest));
    }

    #[test]
    fn a_cursor_of_another_version_has_expired() {
        let asked = query(Kind::User, "cursor");
        let other_form = key().seal_bytes(vec![FORM + 1, 0]);
        assert_eq!(refusal(&other_form, &asked), Some(ScimType::ExpiredCursor));
        let short = key().seal_bytes(vec![FORM]);
        assert_eq!(refusal(&short, &asked), Some(ScimType::ExpiredCursor));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_sealed_comes_back(
            backward in any::<bool>(),
            place in prop::option::of((any::<i64>(), prop_oneof![
                Just(Key::Absent),
                any::<i64>().prop_map(Key::Whole),
                (-1e300..1e300).prop_map(Key::Real),
                any::<String>().prop_map(Key::Text),
            ])),
        ) {
            let place = place.map(|(seq, key)| Place { key: PlaceKey::of(key), seq });
            let (cursor, asked) = (Cursor { backward, place }, query(Kind::User, "sortBy=title&cursor"));
            let text = key().seal(&cursor, &asked);
            prop_assert_eq!(key().seal(&cursor, &asked), text.clone());
            prop_assert_eq!(key().open(&text, &asked), Ok(cursor));
        }
    }
}
