//! Argon2id (RFC 9106) in PHC text form.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier, Version};

use crate::secret::{Error, TokenText};

/// Memory of one hash that we make, in KiB. With [`ITERATIONS`] and [`LANES`] the first choice of the OWASP
/// Password Storage Cheat Sheet.
const MEMORY_KIB: u32 = 19 * 1024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;

/// Most memory that a configured hash may ask for, in KiB: 256 MiB.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const ITERATIONS_MAX: u32 = 16;
const LANES_MAX: u32 = 4;
/// Shortest output in bytes that a configured hash may have: 128 bits.
const OUTPUT_BYTES_MIN: usize = 16;
/// Longest PHC text: salt and output of 64 bytes each need less than half of it.
const TEXT_BYTES_MAX: usize = 512;

/// Why a text is not taken for the hash of a token. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashFault {
    /// Not Argon2id in PHC form.
    #[error("an Argon2id hash in PHC form (\"$argon2id$...\")")]
    NotArgon2id,
    /// The parameters would let a check take too much time or memory.
    #[error("an Argon2id hash of at most m=262144 (256 MiB), t=16 and p=4")]
    TooCostly,
    /// Salt or output is missing or too short.
    #[error("an Argon2id hash with a salt of at least 8 and an output of at least 16 bytes")]
    TooShort,
}

/// The Argon2id hash of a token, as it stands in `tenants.toml`.
///
/// Kept as text, a quarter of what it takes in its parts: there are thousands of them, and each is checked once or
/// never, which costs a thousand times as much as reading it anew.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenHash {
    /// Checked by [`read`].
    text: Box<str>,
}

impl TokenHash {
    /// Takes a PHC text for a hash when it is Argon2id version 19 within the bounds of this module.
    ///
    /// # Errors
    /// A [`HashFault`] that says what was expected.
    pub fn parse(text: &str) -> Result<TokenHash, HashFault> {
        read(text)?;
        Ok(TokenHash { text: text.into() })
    }

    /// Hashes a token with a random salt; takes some 20 ms and 19 MiB.
    ///
    /// # Errors
    /// [`Error`] when there are no random bytes or not enough memory.
    pub fn hash(token: &TokenText) -> Result<TokenHash, Error> {
        Ok(TokenHash { text: hash(token.expose().as_bytes())?.to_string().into() })
    }

    /// A hash that costs nearly nothing, for tests that make many.
    #[cfg(test)]
    pub fn hash_cheaply(token: &TokenText) -> TokenHash {
        let argon2 = Argon2::from(Params::new(8, 1, 1, None).unwrap());
        let parsed = argon2.hash_password_with_salt(token.expose().as_bytes(), b"sixteen bytes...").unwrap();
        TokenHash { text: parsed.to_string().into() }
    }

    /// Whether this is the hash of `token`. Takes as long as the hash's own parameters ask for, so callers
    /// bound how many run at once.
    ///
    /// # Errors
    /// [`Error::Hashing`] when it cannot be told, for want of memory.
    pub fn check(&self, token: &TokenText) -> Result<bool, Error> {
        let parsed = read(&self.text).map_err(|_| Error::Hashing)?;
        match Argon2::default().verify_password(token.expose().as_bytes(), &parsed) {
            Ok(()) => Ok(true),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(_) => Err(Error::Hashing),
        }
    }

    /// [`TokenHash::check`], where what cannot be told is no proof.
    pub fn verify(&self, token: &TokenText) -> bool {
        self.check(token).unwrap_or(false)
    }

    /// The PHC text, to write it to `tenants.toml`. Not for logs and messages.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// The parts of a PHC text that is Argon2id version 19 within the bounds of this module.
fn read(text: &str) -> Result<PasswordHash, HashFault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(HashFault::NotArgon2id);
    }
    let parsed = PasswordHash::new(text).map_err(|_| HashFault::NotArgon2id)?;
    if parsed.algorithm != argon2::ARGON2ID_IDENT || parsed.version != Some(Version::V0x13.into()) {
        return Err(HashFault::NotArgon2id);
    }
    let (Some(_), Some(output)) = (parsed.salt, parsed.hash) else { return Err(HashFault::TooShort) };
    if output.len() < OUTPUT_BYTES_MIN {
        return Err(HashFault::TooShort);
    }
    let params = Params::try_from(&parsed).map_err(|_| HashFault::NotArgon2id)?;
    if !params.keyid().is_empty() || !params.data().is_empty() {
        return Err(HashFault::NotArgon2id);
    }
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > ITERATIONS_MAX || params.p_cost() > LANES_MAX {
        return Err(HashFault::TooCostly);
    }
    Ok(parsed)
}

/// Hashes a password for `store_passwords`; takes some 20 ms and 19 MiB.
///
/// # Errors
/// [`Error`] when there are no random bytes or not enough memory.
pub fn hash_password(password: &str) -> Result<String, Error> {
    hash(password.as_bytes()).map(|hash| hash.to_string())
}

/// Spends the time and memory of one [`TokenHash::verify`] of a hash that we made ourselves, for refusals
/// that must not be quicker than a wrong token.
pub fn spend_one_check(token: &TokenText) {
    let mut output = [0u8; Params::DEFAULT_OUTPUT_LEN];
    if let Ok(argon2) = context() {
        let spent = argon2.hash_password_into(token.expose().as_bytes(), b"spend-one-check", &mut output);
        std::hint::black_box((spent.is_ok(), output));
    }
}

fn context() -> Result<Argon2<'static>, Error> {
    Params::new(MEMORY_KIB, ITERATIONS, LANES, None).map(Argon2::from).map_err(|_| Error::Hashing)
}

fn hash(secret: &[u8]) -> Result<PasswordHash, Error> {
    let mut salt = [0u8; argon2::RECOMMENDED_SALT_LEN];
    getrandom::fill(&mut salt).map_err(|_| Error::Randomness)?;
    context()?.hash_password_with_salt(secret, &salt).map_err(|_| Error::Hashing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106 has no PHC text; this one is from the tests of the reference implementation
    /// (phc-winner-argon2, test.c), for the password `password`.
    const REFERENCE: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn a_hash_proves_its_own_token_and_no_other() {
        let (token, other) = (TokenText::generate().unwrap(), TokenText::generate().unwrap());
        let hash = TokenHash::hash(&token).unwrap();
        assert!(hash.verify(&token));
        assert_eq!((hash.check(&token), hash.check(&other)), (Ok(true), Ok(false)));
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let read_back = TokenHash::parse(hash.expose()).unwrap();
        assert_eq!(read_back, hash);
        assert!(read_back.verify(&token));
    }

    #[test]
    fn the_same_token_is_hashed_differently_each_time() {
        let token = TokenText::generate().unwrap();
        assert_ne!(TokenHash::hash(&token).unwrap(), TokenHash::hash(&token).unwrap());
    }

    #[test]
    fn a_hash_of_the_reference_implementation_is_understood() {
        let hash = TokenHash::parse(REFERENCE).unwrap();
        assert!(Argon2::default().verify_password(b"password", &read(&hash.text).unwrap()).is_ok());
        assert!(Argon2::default().verify_password(b"", &read(&hash.text).unwrap()).is_err());
    }

    #[test]
    fn only_argon2id_within_bounds_is_taken() {
        let with = |from: &str, to: &str| TokenHash::parse(&REFERENCE.replace(from, to)).unwrap_err();
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("argon2id", "argon2d"),
            ("argon2id", "scrypt"),
            ("v=19", "v=16"),
            ("v=19$", ""),
            ("m=256,", "m=x,"),
            ("p=1$", "p=1,data=aGFsbG8$"),
            ("p=1$", "p=1,huh=1$"),
            ("$argon2id", "argon2id"),
            ("c29tZXNhbHQ", "c29tZXNhbHQ="),
            ("Gi/4", "Gi/4$x"),
        ] {
            assert_eq!(with(from, to), HashFault::NotArgon2id, "{from} -> {to}");
        }
        assert_eq!(with("m=256", "m=262145"), HashFault::TooCostly);
        assert_eq!(with("t=2", "t=17"), HashFault::TooCostly);
        assert_eq!(with("p=1", "p=5"), HashFault::TooCostly);
        assert_eq!(with("$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", ""), HashFault::TooShort);
        assert_eq!(with("nA4rEsF5h7TKyQwu9U1bMCHGi/4", ""), HashFault::TooShort);
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for wrong in ["", "$", "$argon2id$", "hunter2", &"$".repeat(600), "ici_000", &REFERENCE.repeat(9)] {
            assert_eq!(TokenHash::parse(wrong).unwrap_err(), HashFault::NotArgon2id);
        }
    }

    #[test]
    fn a_password_hash_verifies_and_does_not_show_the_password() {
        let text = hash_password("correct horse").unwrap();
        let hash = TokenHash::parse(&text).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &read(&hash.text).unwrap()).is_ok());
        assert!(Argon2::default().verify_password(b"battery staple", &read(&hash.text).unwrap()).is_err());
        assert!(!text.contains("horse"));
    }

    #[test]
    fn debug_and_faults_show_nothing_of_the_hash() {
        assert_eq!(format!("{:?}", TokenHash::parse(REFERENCE).unwrap()), "TokenHash(..)");
        let fault = TokenHash::parse("$argon2id$secret").unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("secret"));
    }

    #[test]
    fn spending_a_check_works_on_any_token() {
        spend_one_check(&TokenText::generate().unwrap());
    }
}
