//! Finds the parts of a JSON text that is known to be valid, without building anything.

use std::ops::Range;

use crate::scim::Error;

/// A valid JSON text.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    text: &'a [u8],
}

impl<'a> Scan<'a> {
    /// The text must have been checked. Of one that is not valid the parts are wrong, but they are parts of it.
    pub(super) fn new(text: &'a [u8]) -> Scan<'a> {
        Scan { text }
    }

    /// The text.
    pub(super) fn text(self) -> &'a [u8] {
        self.text
    }

    /// The place of the outermost value.
    pub(super) fn whole(self) -> Range<usize> {
        let start = if self.text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        self.value(self.after_blanks(start))
    }

    /// Visits the entries of the object at a place, in order: each key, and the place of its value. `false` when it
    /// is no object.
    ///
    /// # Errors
    /// What `visit` gives, which ends it.
    pub(super) fn each_entry(
        self,
        object: Range<usize>,
        mut visit: impl FnMut(&str, Range<usize>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if self.at(object.start) != b'{' {
            return Ok(false);
        }
        let mut at = self.after_blanks(object.start + 1);
        while at < object.end && self.at(at) == b'"' {
            let key = self.value(at);
            let value = self.value(self.after_blanks(self.after_blanks(key.end) + 1));
            at = self.after_blanks(self.after_blanks(value.end) + 1);
            let name: Result<String, _> = serde_json::from_slice(self.part(key));
            visit(&name.unwrap_or_default(), value)?;
        }
        Ok(true)
    }

    /// Visits the elements of the list at a place, in order. `false` when it is no list.
    ///
    /// # Errors
    /// What `visit` gives, which ends it.
    pub(super) fn each_element(
        self,
        list: Range<usize>,
        mut visit: impl FnMut(Range<usize>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if self.at(list.start) != b'[' {
            return Ok(false);
        }
        let mut at = self.after_blanks(list.start + 1);
        while at + 1 < list.end {
            let element = self.value(at);
            at = self.after_blanks(self.after_blanks(element.end) + 1);
            visit(element)?;
        }
        Ok(true)
    }

    /// The byte at a place; 0 after the end.
    fn at(self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn part(self, range: Range<usize>) -> &'a [u8] {
        self.text.get(range).unwrap_or_default()
    }

    fn after_blanks(self, mut at: usize) -> usize {
        while self.at(at).is_ascii_whitespace() {
            at += 1;
        }
        at.min(self.text.len())
    }

    /// The place of the value that begins at a byte.
    fn value(self, start: usize) -> Range<usize> {
        let (mut depth, mut in_text, mut at) = (0_usize, false, start);
        while at < self.text.len() {
            match self.at(at) {
                b'\\' if in_text => at += 1,
                b'"' => {
                    in_text = !in_text;
                    if !in_text && depth == 0 {
                        return start..at + 1;
                    }
                }
                _ if in_text => {}
                b'{' | b'[' => depth += 1,
                // The end of a number or word that ends whatever it stands in.
                b'}' | b']' | b',' if depth == 0 => return start..at,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return start..at + 1;
                    }
                }
                blank if depth == 0 && blank.is_ascii_whitespace() => return start..at,
                _ => {}
            }
            at += 1;
        }
        start..self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],: \u{e4}\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-c\"\\\\{ ]{0,3}", inner), 0..5)
                    .prop_map(|entries| Value::Object(Map::from_iter(entries))),
            ]
        })
    }

    /// Builds a value from its parts alone.
    fn rebuilt(scan: Scan<'_>, range: Range<usize>) -> Value {
        let (mut object, mut list) = (Map::new(), Vec::new());
        let entry = |key: &str, value: Range<usize>| {
            object.insert(key.to_owned(), rebuilt(scan, value));
            Ok(())
        };
        if scan.each_entry(range.clone(), entry).unwrap() {
            return Value::Object(object);
        }
        let element = |value| {
            list.push(rebuilt(scan, value));
            Ok(())
        };
        if scan.each_element(range.clone(), element).unwrap() {
            return Value::Array(list);
        }
        serde_json::from_slice(&scan.text()[range]).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_parts_of_a_text_are_those_that_a_parser_finds(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = format!(" {} ", text.unwrap());
            let scan = Scan::new(text.as_bytes());
            prop_assert_eq!(rebuilt(scan, scan.whole()), value);
        }

        #[test]
        fn any_bytes_come_to_an_end(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let scan = Scan::new(&text);
            let ended = scan.each_entry(scan.whole(), |_, _| Ok(())).is_ok()
                && scan.each_element(scan.whole(), |_| Ok(())).is_ok();
            prop_assert!(ended);
        }
    }
}
