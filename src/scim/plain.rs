//! Whether a text can stand in a JSON string as it is. Nearly every one can, and those of an answer and of its log line
//! are looked at for each request: so eight bytes at once. What becomes of the others does not belong here.

/// One in every byte of a word.
const ONES: u64 = u64::from_ne_bytes([1; 8]);
/// The highest bit of every byte of a word.
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Whether nothing in the text needs an escape in a JSON string (RFC 8259 §7): no quotation mark, no backslash, no
/// control character. DEL, which needs none there, is not taken for plain either: it has no place in a log.
pub fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    match bytes.last_chunk::<8>() {
        // The last eight bytes as a whole: some of them twice.
        Some(last) => words.iter().all(word_is_plain) && word_is_plain(last),
        None => rest.iter().all(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f)),
    }
}

fn word_is_plain(bytes: &[u8; 8]) -> bool {
    let word = u64::from_ne_bytes(*bytes);
    // The highest bit of a byte says that it is less than `n`, which is 128 at most; bits above the first that is set
    // may be wrong, but are so only when there is one.
    let less = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHS;
    let is = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    less(word, 0x20) | is(b'"') | is(b'\\') | is(0x7f) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needs_escape(byte: u8) -> bool {
        byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
    }

    #[test]
    fn every_byte_counts_wherever_it_stands() {
        for length in 1..20 {
            for at in 0..length {
                for byte in 0..0x80 {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    let text = String::from_utf8(text).unwrap();
                    assert_eq!(is_plain(&text), !needs_escape(byte), "{text:?}");
                }
            }
        }
        assert!(is_plain("") && is_plain("Zoë Łukasz 李小龍"));
    }

    proptest! {
        #[test]
        fn a_text_is_plain_when_all_of_its_bytes_are(text in ".{0,40}") {
            prop_assert_eq!(is_plain(&text), !text.bytes().any(needs_escape));
        }
    }
}
