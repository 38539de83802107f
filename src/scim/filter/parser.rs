//! From text to the syntax tree of a filter or a PATCH path.
//!
//! A recursive-descent parser without look-back: time grows with the length of the text, the stack with the
//! depth, and both are bounded. What the tree is, and how it is printed, is told in `filter`.

use crate::scim::Error;
use crate::scim::filter::{AttrPath, Bounds, CompareOp, Filter, Literal};

/// How long a name or sign may be to be shown in an error message; longer ones may be somebody's data.
const SHOWN_CHARS_MAX: usize = 32;

/// Which text is read; decides how a mistake is told.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    Filter,
    Path,
}

/// Where a filter stands: there are no brackets inside brackets.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Resource,
    Brackets,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    /// Byte position of what is read next; always at the start of a character.
    at: usize,
    depth_max: usize,
    subject: Subject,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, bounds: Bounds, subject: Subject) -> Result<Parser<'a>, Error> {
        let parser = Parser { text, at: 0, depth_max: bounds.depth_max, subject };
        if text.len() > bounds.bytes_max {
            let max = bounds.bytes_max;
            return Err(
                parser.refuse(format!("The {} is longer than the {max} bytes allowed.", parser.noun()))
            );
        }
        Ok(parser)
    }

    /// `FILTER *(SP "or" SP FILTER)`, where `and` binds tighter.
    pub(super) fn alternatives(&mut self, depth: usize, place: Place) -> Result<Filter, Error> {
        let mut parts = vec![self.conjunction(depth, place)?];
        while self.take_word("or") {
            parts.push(self.conjunction(depth, place)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn conjunction(&mut self, depth: usize, place: Place) -> Result<Filter, Error> {
        let mut parts = vec![self.term(depth, place)?];
        while self.take_word("and") {
            parts.push(self.term(depth, place)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn term(&mut self, depth: usize, place: Place) -> Result<Filter, Error> {
        if self.comes('(') {
            return self.group(depth, place);
        }
        // An attribute may be called `not`; only the parenthesis tells.
        let start = self.at;
        if self.take_word("not") {
            if self.comes('(') {
                return Ok(Filter::Not(Box::new(self.group(depth, place)?)));
            }
            self.at = start;
        }
        let path = self.attr_path()?;
        match place {
            Place::Resource => match self.brackets(depth, &path)? {
                Some(inner) => self.after_brackets(path, inner),
                None => self.comparison(path),
            },
            Place::Brackets => self.comparison(path),
        }
    }

    /// `"(" FILTER ")"`; the parenthesis is the next character.
    fn group(&mut self, depth: usize, place: Place) -> Result<Filter, Error> {
        let depth = self.deeper(depth)?;
        self.take('(');
        let inner = self.alternatives(depth, place)?;
        if !self.take(')') {
            return Err(self.expected("\"and\", \"or\" or a closing parenthesis"));
        }
        Ok(inner)
    }

    /// `"[" valFilter "]"`, if there is one.
    pub(super) fn brackets(&mut self, depth: usize, path: &AttrPath) -> Result<Option<Filter>, Error> {
        if !self.comes('[') {
            return Ok(None);
        }
        if path.name.is_empty() || path.sub.is_some() {
            return Err(self.breaks("brackets may follow only the plain name of an attribute"));
        }
        let depth = self.deeper(depth)?;
        self.take('[');
        let inner = self.alternatives(depth, Place::Brackets)?;
        if !self.take(']') {
            return Err(self.expected("\"and\", \"or\" or a closing bracket"));
        }
        Ok(Some(inner))
    }

    /// `emails[...].value eq "x"` asks the same of an element as `emails[... and value eq "x"]`.
    fn after_brackets(&mut self, path: AttrPath, inner: Filter) -> Result<Filter, Error> {
        let Some(name) = self.sub_attribute()? else {
            return Ok(Filter::ValuePath { path, inner: Box::new(inner) });
        };
        let last = self.comparison(AttrPath { urn: None, name, sub: None })?;
        let mut parts = match inner {
            Filter::And(parts) => parts,
            other => vec![other],
        };
        parts.push(last);
        Ok(Filter::ValuePath { path, inner: Box::new(Filter::And(parts)) })
    }

    /// `SP "pr"` or `SP compareOp SP compValue`.
    fn comparison(&mut self, path: AttrPath) -> Result<Filter, Error> {
        self.blanks();
        let start = self.at;
        let word = self.word();
        if word.eq_ignore_ascii_case("pr") {
            return Ok(Filter::Present(path));
        }
        let Some(op) = CompareOp::from_word(word) else {
            self.at = start;
            return Err(self.expected("an operator such as eq"));
        };
        let literal = self.literal()?;
        Ok(Filter::Compare { path, op, literal })
    }

    fn literal(&mut self) -> Result<Literal, Error> {
        const WANTED: &str = "a value: a text in double quotes, a number, true, false or null";
        self.blanks();
        if self.text[self.at..].starts_with('"') {
            return self.quoted();
        }
        let start = self.at;
        let token = self.token();
        let literal = match token {
            word if word.eq_ignore_ascii_case("true") => Some(Literal::Bool(true)),
            word if word.eq_ignore_ascii_case("false") => Some(Literal::Bool(false)),
            word if word.eq_ignore_ascii_case("null") => Some(Literal::Null),
            word => serde_json::from_str(word).ok().map(Literal::Number),
        };
        literal.ok_or_else(|| {
            // Never shown: what stands here was meant as a value and may be somebody's name.
            self.at = start;
            self.breaks(&format!("expected {WANTED}"))
        })
    }

    /// A JSON string; its quote is the next character.
    fn quoted(&mut self) -> Result<Literal, Error> {
        let start = self.at;
        let mut escaped = false;
        for (offset, byte) in self.text.bytes().enumerate().skip(start + 1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = offset + 1;
                    return serde_json::from_str(&self.text[start..self.at]).map(Literal::Text).map_err(
                        |_| {
                            self.at = start;
                            self.breaks("the text in quotes is not a JSON string")
                        },
                    );
                }
                _ => {}
            }
        }
        Err(self.breaks("the text that starts here has no closing quote"))
    }

    pub(super) fn attr_path(&mut self) -> Result<AttrPath, Error> {
        self.blanks();
        let start = self.at;
        let token = self.token();
        let path = match token.rsplit_once(':') {
            Some((urn, last)) if !last.is_empty() => urn_path(token, urn, last),
            Some(_) => None,
            None => plain_path(token),
        };
        path.ok_or_else(|| {
            self.at = start;
            self.expected("an attribute such as userName or name.familyName")
        })
    }

    /// `"." subAttr` right behind a closing bracket, if there is one.
    pub(super) fn sub_attribute(&mut self) -> Result<Option<String>, Error> {
        if !self.text[self.at..].starts_with('.') {
            return Ok(None);
        }
        self.at += 1;
        let start = self.at;
        let token = self.token();
        if is_name(token) {
            return Ok(Some(token.to_owned()));
        }
        self.at = start;
        Err(self.expected("the name of a sub-attribute"))
    }

    fn deeper(&self, depth: usize) -> Result<usize, Error> {
        if depth >= self.depth_max {
            return Err(self.breaks(&format!("it nests deeper than the {} levels allowed", self.depth_max)));
        }
        Ok(depth + 1)
    }

    pub(super) fn end(&mut self, wanted: &str) -> Result<(), Error> {
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected(wanted)) }
    }

    fn blanks(&mut self) {
        self.at += self.length_of(|c| c.is_ascii_whitespace());
    }

    /// Whether this sign comes next; passes over the blanks before it.
    fn comes(&mut self, sign: char) -> bool {
        self.blanks();
        self.text[self.at..].starts_with(sign)
    }

    /// Takes this sign if it comes next, blanks or not.
    fn take(&mut self, sign: char) -> bool {
        let comes = self.comes(sign);
        if comes {
            self.at += sign.len_utf8();
        }
        comes
    }

    /// Takes this keyword if it comes next, blanks or not.
    fn take_word(&mut self, keyword: &str) -> bool {
        let start = self.at;
        self.blanks();
        if self.word().eq_ignore_ascii_case(keyword) {
            return true;
        }
        self.at = start;
        false
    }

    /// Letters and what else stands in a name, as far as they go.
    fn word(&mut self) -> &'a str {
        self.run(is_name_char)
    }

    /// Everything up to a blank, a quote, a parenthesis or a bracket.
    fn token(&mut self) -> &'a str {
        self.run(|c| !is_delimiter(c))
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let text = &self.text[self.at..];
        let length = self.length_of(belongs);
        self.at += length;
        &text[..length]
    }

    fn length_of(&self, belongs: impl Fn(char) -> bool) -> usize {
        let rest = &self.text[self.at..];
        rest.find(|c| !belongs(c)).unwrap_or(rest.len())
    }

    /// The error for something else than what had to come next.
    fn expected(&mut self, wanted: &str) -> Error {
        self.blanks();
        let found = self.found();
        self.breaks(&format!("expected {wanted}, found {found}"))
    }

    /// What comes next, told so that no value is repeated.
    fn found(&self) -> String {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return format!("the end of the {}", self.noun()) };
        if first == '"' {
            return "a text in quotes".to_owned();
        }
        // A whole name, or one sign; anything else may be part of somebody's data.
        let name = &rest[..self.length_of(is_name_char)];
        let whole = rest[name.len()..].chars().next().is_none_or(is_delimiter);
        if !name.is_empty() && whole && name.len() <= SHOWN_CHARS_MAX {
            return format!("\"{name}\"");
        }
        if first.is_ascii_punctuation() { format!("\"{first}\"") } else { "something else".to_owned() }
    }

    /// The error at the present position.
    fn breaks(&self, what: &str) -> Error {
        let character = self.text[..self.at].chars().count() + 1;
        self.refuse(format!("The {} breaks at character {character}: {what}.", self.noun()))
    }

    fn refuse(&self, detail: String) -> Error {
        match self.subject {
            Subject::Filter => Error::invalid_filter(detail),
            Subject::Path => Error::invalid_path(detail),
        }
    }

    fn noun(&self) -> &'static str {
        match self.subject {
            Subject::Filter => "filter",
            Subject::Path => "path",
        }
    }
}

/// `name` or `name.sub`.
fn plain_path(token: &str) -> Option<AttrPath> {
    let (name, sub) = match token.split_once('.') {
        Some((name, sub)) => (name, Some(sub)),
        None => (token, None),
    };
    let fits = is_name(name) && sub.is_none_or(is_name);
    fits.then(|| AttrPath { urn: None, name: name.to_owned(), sub: sub.map(str::to_owned) })
}

/// A path with an URN; `last` is what follows the last colon of the whole `token`.
fn urn_path(token: &str, urn: &str, last: &str) -> Option<AttrPath> {
    let path = match plain_path(last) {
        Some(path) => AttrPath { urn: Some(urn.to_owned()), ..path },
        None => AttrPath { urn: Some(token.to_owned()), name: String::new(), sub: None },
    };
    path.urn.as_deref().is_some_and(is_urn).then_some(path)
}

/// Characters of RFC 8141 that cannot be taken for the filter's own.
fn is_urn(text: &str) -> bool {
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
    begins_well && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:/@!$&'*+,;=%".contains(c))
}

/// `ATTRNAME` of RFC 7643 §2.1, and `$ref`.
fn is_name(text: &str) -> bool {
    let plain = text.strip_prefix('$').unwrap_or(text);
    plain.starts_with(|c: char| c.is_ascii_alphabetic()) && plain.chars().all(is_name_char)
}

/// What ends a name or a value that is not in quotes.
fn is_delimiter(c: char) -> bool {
    c.is_ascii_whitespace() || matches!(c, '"' | '(' | ')' | '[' | ']')
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}
