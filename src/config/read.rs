//! Walks a parsed TOML document and knows the line and the full name of everything in it.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use crate::config::Error;

/// Characters of a key that an error repeats.
const KEY_CHARS_SHOWN: usize = 80;

/// The text that is being read.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The file's name, for errors.
    pub(super) file: &'a str,
    /// The text of the file.
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// An error at a byte of the text.
    pub(super) fn error(&self, at: usize, key: &str, problem: impl Into<String>) -> Error {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Error { file: self.file.to_owned(), line, key: key.to_owned(), problem: problem.into() }
    }
}

/// The lines of a text, for those who ask for many: [`Source::error`] counts anew each time.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// Finds where the lines end.
    pub(super) fn of(text: &str) -> Lines {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines(ends.map(|(at, _)| at).collect())
    }

    /// The line that the byte is in, from 1.
    pub(super) fn of_byte(&self, at: usize) -> usize {
        1 + self.0.partition_point(|end| *end < at)
    }
}

/// A table with its place in the document.
#[derive(Clone)]
pub(super) struct Section<'a> {
    source: Source<'a>,
    /// `tenants.acme`; empty for the document itself.
    path: String,
    table: &'a DeTable<'a>,
    at: usize,
}

/// A value with its place in the document.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    source: Source<'a>,
    path: String,
    value: &'a DeValue<'a>,
    at: usize,
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn document(source: Source<'a>, table: &'a DeTable<'a>) -> Section<'a> {
        Section { source, path: String::new(), table, at: 0 }
    }

    /// Every entry in the order of the text.
    pub(super) fn entries(&self) -> Vec<(&'a str, Entry<'a>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| {
                let path = self.path_of(key.get_ref());
                let at = key.span().start;
                (key.get_ref().as_ref(), Entry { source: self.source, path, value: value.get_ref(), at })
            })
            .collect();
        entries.sort_by_key(|(_, entry)| entry.at);
        entries
    }

    /// Refuses the first key that is not in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Error> {
        match self.entries().iter().find(|(key, _)| !known.contains(key)) {
            None => Ok(()),
            Some((_, entry)) => {
                Err(entry.error(format!("unknown key; the keys known here are {}", known.join(", "))))
            }
        }
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &str) -> Option<Entry<'a>> {
        self.entries().into_iter().find(|(name, _)| *name == key).map(|(_, entry)| entry)
    }

    /// The entry of a key that must be there.
    pub(super) fn require(&self, key: &str, expected: &str) -> Result<Entry<'a>, Error> {
        self.get(key).ok_or_else(|| {
            self.source.error(self.at, &self.path_of(key), format!("missing; expected {expected}"))
        })
    }

    fn path_of(&self, key: &str) -> String {
        let shown: String = key.escape_debug().take(KEY_CHARS_SHOWN).collect();
        if self.path.is_empty() { shown } else { format!("{}.{shown}", self.path) }
    }
}

impl<'a> Entry<'a> {
    /// An error at this entry.
    pub(super) fn error(&self, problem: impl Into<String>) -> Error {
        self.source.error(self.at, &self.path, problem)
    }

    /// Its first byte in the text.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The key with the tables that it is in.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The table that this is.
    pub(super) fn table(&self) -> Result<Section<'a>, Error> {
        match self.value {
            DeValue::Table(table) => {
                Ok(Section { source: self.source, path: self.path.clone(), table, at: self.at })
            }
            _ => Err(self.expected("a table")),
        }
    }

    /// The array of tables that this is.
    pub(super) fn tables(&self) -> Result<Vec<Section<'a>>, Error> {
        let expected = || self.expected("an array of tables");
        let DeValue::Array(array) = self.value else { return Err(expected()) };
        let sections = array.iter().enumerate().map(|(index, value)| match value.get_ref() {
            DeValue::Table(table) => {
                let path = format!("{}[{index}]", self.path);
                Ok(Section { source: self.source, path, table, at: value.span().start })
            }
            _ => Err(expected()),
        });
        sections.collect()
    }

    /// The elements of the array that this is, whatever they are; `expected` is for the error.
    pub(super) fn elements(&self, expected: &str) -> Result<Vec<Entry<'a>>, Error> {
        let DeValue::Array(array) = self.value else { return Err(self.expected(expected)) };
        let elements = array.iter().enumerate().map(|(index, value)| Entry {
            source: self.source,
            path: format!("{}[{index}]", self.path),
            value: value.get_ref(),
            at: value.span().start,
        });
        Ok(elements.collect())
    }

    /// Whether it is a text.
    pub(super) fn is_text(&self) -> bool {
        self.value.as_str().is_some()
    }

    /// The text that this is; `expected` is for the error.
    pub(super) fn text(&self, expected: &str) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| self.expected(expected))
    }

    /// The whole number within `bounds` that this is.
    pub(super) fn number(&self, bounds: RangeInclusive<i64>) -> Result<i64, Error> {
        let number = self.value.as_integer();
        number
            .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                let (min, max) = (bounds.start(), bounds.end());
                let found = if number.is_some() { "another one" } else { self.found() };
                self.error(format!("expected a whole number from {min} to {max}, found {found}"))
            })
    }

    /// The truth value that this is.
    pub(super) fn boolean(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// The meaning of the word that this is.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Error> {
        let found = self.value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.error(format!("expected {}", words.join(" or ")))
        })
    }

    /// The instant that this is, in milliseconds since 1970-01-01T00:00:00Z: a TOML date-time or the same as
    /// a text (RFC 3339), or a date alone, which means its first instant in UTC.
    pub(super) fn instant(&self) -> Result<i64, Error> {
        let text = match self.value {
            DeValue::Datetime(datetime) => datetime.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let with_time = if text.len() == "2026-01-01".len() { text + "T00:00:00Z" } else { text };
        let instant = with_time.parse::<jiff::Timestamp>();
        instant.map(jiff::Timestamp::as_millisecond).map_err(|_| {
            self.error(
                "expected a date and time with an offset, such as 2027-01-31T12:00:00Z, or a date, such as \
                 2027-01-31",
            )
        })
    }

    fn expected(&self, expected: &str) -> Error {
        self.error(format!("expected {expected}, found {}", self.found()))
    }

    fn found(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        }
    }
}

/// The document of a text, or the first place at which it is not TOML.
pub(super) fn document<'a>(source: Source<'a>) -> Result<DeTable<'a>, Error> {
    DeTable::parse(source.text).map(toml::Spanned::into_inner).map_err(|error| {
        let at = error.span().unwrap_or(Range { start: source.text.len(), end: source.text.len() }).start;
        // The parser's message describes and never quotes the text.
        source.error(at, "", format!("not TOML: {}", error.message().replace('\n', " ")))
    })
}
