//! The text of an API token.

use std::fmt;

use crate::secret::Error;

/// What every token begins with, so that people and secret scanners know it.
const PREFIX: &str = "ici_";
/// 62^43 is a little more than 2^256.
const RANDOM_CHARS: usize = 43;
/// 62^6 is more than 2^32, the range of the CRC-32.
const CHECKSUM_CHARS: usize = 6;
/// Length of a token in bytes; all of it is ASCII.
const LENGTH: usize = PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random bytes from here on are thrown away: 248 is the largest multiple of 62 that a byte reaches, and
/// without this the first characters of the alphabet would be more likely than the rest.
const FAIR_BELOW: u8 = 248;

/// A well-formed API token: `ici_`, 43 random base62 characters, 6 base62 characters of checksum.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// Makes a new token of 256 random bits.
    ///
    /// # Errors
    /// [`Error::Randomness`] when the operating system gives no random bytes.
    pub fn generate() -> Result<TokenText, Error> {
        let mut text = String::with_capacity(LENGTH);
        text.push_str(PREFIX);
        let mut bytes = [0u8; 64];
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            getrandom::fill(&mut bytes).map_err(|_| Error::Randomness)?;
            let missing = PREFIX.len() + RANDOM_CHARS - text.len();
            let fair = bytes.iter().filter(|byte| **byte < FAIR_BELOW).take(missing);
            text.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
        }
        text.push_str(&checksum(&text));
        Ok(TokenText(text))
    }

    /// Takes a text for a token when prefix, length, alphabet and checksum are right; says nothing about
    /// whether any tenant has such a token.
    pub fn parse(text: &str) -> Option<TokenText> {
        if text.len() != LENGTH || !text.starts_with(PREFIX) {
            return None;
        }
        if !text.bytes().skip(PREFIX.len()).all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let (body, sum) = text.split_at_checked(LENGTH - CHECKSUM_CHARS)?;
        (checksum(body) == sum).then(|| TokenText(text.to_owned()))
    }

    /// The secret itself: to print it once to the person who asked for it, and to hash it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(..)")
    }
}

/// The CRC-32 of `body` as base62, most significant digit first.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_token_is_well_formed_and_never_the_same() {
        let first = TokenText::generate().unwrap();
        let second = TokenText::generate().unwrap();
        assert_eq!(first.expose().len(), 53);
        assert_eq!(TokenText::parse(first.expose()), Some(first.clone()));
        assert_ne!(first, second);
    }

    #[test]
    fn the_form_of_a_token_never_changes() {
        // Issued tokens live for years: this text must be accepted for ever.
        let body = format!("ici_{}", "a1B".repeat(14) + "Z");
        assert_eq!(checksum(&body), "1Rqf9P");
        assert!(TokenText::parse(&(body + "1Rqf9P")).is_some());
    }

    #[test]
    fn every_single_wrong_character_is_noticed() {
        let token = TokenText::generate().unwrap();
        for at in 0..token.expose().len() {
            for wrong in [b'0', b'x', b'_', b' '] {
                let mut bytes = token.expose().as_bytes().to_vec();
                if bytes[at] == wrong {
                    continue;
                }
                bytes[at] = wrong;
                assert_eq!(TokenText::parse(std::str::from_utf8(&bytes).unwrap()), None, "at {at}");
            }
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let token = TokenText::generate().unwrap();
        let text = token.expose();
        for wrong in [
            "",
            "ici_",
            "non-token",
            &text[..52],
            &format!("{text}0"),
            &format!(" {}", &text[1..]),
            &text.to_ascii_uppercase(),
            &format!("ici_{}", "ä".repeat(24) + "0"),
            &"0".repeat(53),
        ] {
            assert_eq!(TokenText::parse(wrong), None);
        }
    }

    #[test]
    fn every_character_of_the_alphabet_occurs_about_equally_often() {
        let mut counts = std::collections::HashMap::<u8, u32>::new();
        for _ in 0..500 {
            for byte in TokenText::generate().unwrap().expose().as_bytes()[4..47].iter() {
                *counts.entry(*byte).or_default() += 1;
            }
        }
        // 21,500 characters: 347 of each on average, standard deviation 18.
        assert_eq!(counts.len(), 62);
        assert!(counts.values().all(|count| (200..500).contains(count)));
    }

    #[test]
    fn debug_does_not_show_the_token() {
        assert_eq!(format!("{:?}", TokenText::generate().unwrap()), "TokenText(..)");
    }
}
