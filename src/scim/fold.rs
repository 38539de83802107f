//! The one way in which texts are compared without regard to case: canonical caseless matching (The Unicode
//! Standard, section 3.13), so that `Ä` is `ä` whether it was sent as one code point or as two.
//!
//! Which attributes are compared so is told by the schema; nothing of that belongs here.

use unicase::UniCase;
use unicode_normalization::UnicodeNormalization;

/// Returns the text with all differences of case taken away, in Unicode normalisation form C.
///
/// Two texts are equal ignoring case exactly when their folded forms are equal. Folding a folded text
/// changes nothing.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Decomposed first: a letter with its mark already in it, and the same two apart, must fold alike.
    let decomposed: String = text.nfd().collect();
    UniCase::unicode(decomposed).to_folded_case().nfc().collect()
}

/// Whether two texts are equal ignoring case.
pub fn same(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    fold(one) == fold(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    #[test]
    fn case_is_taken_away_in_every_script() {
        assert_eq!(fold("Bob@Example.COM"), "bob@example.com");
        assert_eq!(fold("ÄÖÜ"), fold("äöü"));
        assert_eq!(fold("STRASSE"), fold("straße"));
        assert_eq!(fold("ΣΊΣΥΦΟΣ"), fold("σίσυφος"));
        assert_eq!(fold("Ж"), "ж");
    }

    #[test]
    fn one_code_point_and_two_are_the_same_letter() {
        assert_eq!(fold("A\u{308}"), fold("\u{e4}"));
        assert_eq!(fold("A\u{308}"), "\u{e4}");
    }

    #[test]
    fn texts_are_the_same_when_their_folded_forms_are() {
        for (one, other) in
            [("Bob", "bOB"), ("\u{c4}", "a\u{308}"), ("K", "\u{212a}"), ("a", "b"), ("a", "\u{e4}")]
        {
            assert_eq!(same(one, other), fold(one) == fold(other), "{one} {other}");
        }
    }

    #[test]
    fn letters_that_only_look_alike_stay_apart() {
        assert_ne!(fold("a"), fold("а"));
        assert_ne!(fold("é"), fold("e"));
    }

    #[test]
    fn folding_every_single_code_point_twice_changes_nothing_more() {
        // Beyond these two planes no code point has a case or a decomposition.
        for letter in '\0'..='\u{1ffff}' {
            let once = fold(&letter.to_string());
            assert_eq!(fold(&once), once, "U+{:04X}", u32::from(letter));
            assert!(!once.is_empty());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
