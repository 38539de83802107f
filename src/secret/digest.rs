//! What a process remembers of a token that it has proved: a digest under a key that nobody else has.

use std::fmt;

use crate::secret::{Error, TokenText};

/// The key of one process's digests; random, never written anywhere.
pub struct DigestKey([u8; blake3::KEY_LEN]);

impl DigestKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`Error::Randomness`] when the operating system gives no random bytes.
    pub fn random() -> Result<DigestKey, Error> {
        let mut key = [0u8; blake3::KEY_LEN];
        getrandom::fill(&mut key).map_err(|_| Error::Randomness)?;
        Ok(DigestKey(key))
    }

    /// The digest of a token; takes less than a microsecond.
    pub fn digest(&self, token: &TokenText) -> Digest {
        self.digest_text(token.expose())
    }

    /// The digest of a text that may be a token: it is that of the token if it is one, and of no token else.
    pub fn digest_text(&self, text: &str) -> Digest {
        Digest(blake3::keyed_hash(&self.0, text.as_bytes()))
    }

    /// The digest of a token together with the place where it was shown, so that the same token shown
    /// elsewhere has another digest. Differs from every [`DigestKey::digest`] too.
    pub fn digest_at(&self, place: &str, token: &TokenText) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // The token is of fixed length and comes first, so no two pairs give the same input.
        hasher.update(token.expose().as_bytes()).update(b" ").update(place.as_bytes());
        Digest(hasher.finalize())
    }

    /// The digest of one part of what a digest stands for. Differs from every [`DigestKey::digest`] and
    /// [`DigestKey::digest_at`], whose input is longer.
    pub fn digest_part(&self, whole: &Digest, part: usize) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(whole.0.as_bytes()).update(&(part as u64).to_le_bytes());
        Digest(hasher.finalize())
    }

    /// A number below `bound` that is always the same for a text, and that nobody can tell who has not the key; 0 where
    /// there is none below.
    pub fn choose(&self, text: &str, bound: usize) -> usize {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"choose ").update(text.as_bytes());
        let number = hasher
            .finalize()
            .as_bytes()
            .iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        // So much smaller than the number that each is as likely as the others.
        number.checked_rem(bound as u64).and_then(|chosen| usize::try_from(chosen).ok()).unwrap_or(0)
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// A keyed BLAKE3 digest. `==` takes the same time wherever the first difference is. As a key of a hash map
/// it is safe too: who does not know the process's key cannot choose its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(blake3::Hash);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_token_place_and_key() {
        let (key, other_key) = (DigestKey::random().unwrap(), DigestKey::random().unwrap());
        let (token, other) = (TokenText::generate().unwrap(), TokenText::generate().unwrap());
        assert!(key.digest(&token) == key.digest(&token));
        assert!(key.digest(&token) != key.digest(&other));
        assert!(key.digest(&token) != other_key.digest(&token));
        assert!(key.digest_at("acme", &token) == key.digest_at("acme", &token));
        assert!(key.digest_at("acme", &token) != key.digest_at("globex", &token));
        assert!(key.digest_at("", &token) != key.digest(&token));
    }

    #[test]
    fn a_part_has_a_digest_of_its_own() {
        let key = DigestKey::random().unwrap();
        let token = TokenText::generate().unwrap();
        let whole = key.digest_at("acme", &token);
        assert!(key.digest_part(&whole, 0) == key.digest_part(&whole, 0));
        assert!(key.digest_part(&whole, 0) != key.digest_part(&whole, 1));
        assert!(key.digest_part(&whole, 0) != key.digest_part(&key.digest_at("globex", &token), 0));
        assert!(key.digest_part(&whole, 0) != whole);
    }

    #[test]
    fn a_choice_is_the_same_for_a_text_and_about_as_often_each() {
        let key = DigestKey::random().unwrap();
        assert_eq!((key.choose("acme", 0), key.choose("acme", 1)), (0, 0));
        let mut counts = [0; 10];
        for number in 0..5000 {
            let text = number.to_string();
            let chosen = key.choose(&text, 10);
            assert_eq!(chosen, key.choose(&text, 10));
            counts[chosen] += 1;
        }
        // 500 of each on average, standard deviation 21.
        assert!(counts.iter().all(|count| (350..650).contains(count)), "{counts:?}");
    }

    #[test]
    fn debug_shows_neither_key_nor_digest() {
        let key = DigestKey::random().unwrap();
        let token = TokenText::generate().unwrap();
        assert_eq!(format!("{key:?} {:?}", key.digest(&token)), "DigestKey(..) Digest(..)");
    }
}
