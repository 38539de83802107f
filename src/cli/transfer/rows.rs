//! A file to be imported, as rows with their lines.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::attributes::Target;
use crate::cli::output::Failure;
use crate::cli::session::Session;
use crate::cli::transfer::Format;
use crate::directory::{Content, Members, Row};
use crate::scim::Kind;

/// Longest line of NDJSON, in bytes: a group of half a million members.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Headings that other programs write, and what is meant.
const ALIASES: [(&str, &str); 6] = [
    ("email", "emails[type eq \"work\"].value"),
    ("phone", "phoneNumbers[type eq \"work\"].value"),
    ("mobile", "phoneNumbers[type eq \"mobile\"].value"),
    ("firstName", "name.givenName"),
    ("lastName", "name.familyName"),
    ("login", "userName"),
];

/// A row of the file.
pub(super) struct Numbered {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// What it asks for, or why it asks for nothing.
    pub(super) row: Result<Row, String>,
}

/// The rows, and how many bytes of the file they have taken so far.
pub(super) struct Rows {
    pub(super) rows: Box<dyn Iterator<Item = anyhow::Result<Numbered>>>,
    pub(super) read: Rc<Cell<u64>>,
    /// The length of the file, where there is one.
    pub(super) bytes: Option<u64>,
}

/// How members are to be taken.
#[derive(Clone, Copy)]
pub(super) struct Membership {
    pub(super) keep_others: bool,
    pub(super) skip_unknown: bool,
}

impl Membership {
    fn members(self, names: Vec<String>) -> Members {
        Members { names, keep_others: self.keep_others, skip_unknown: self.skip_unknown }
    }
}

/// Counts the bytes that are read.
struct Counting<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.read.set(self.read.get() + u64::try_from(read).unwrap_or(0));
        Ok(read)
    }
}

/// Opens a file, or standard input.
///
/// # Errors
/// When it cannot be read, or a heading says nothing: wrong usage.
pub(super) fn open(
    file: Option<&Path>,
    format: Format,
    kind: Kind,
    map: &[String],
    membership: Membership,
    session: &Session,
) -> anyhow::Result<Rows> {
    let read = Rc::new(Cell::new(0));
    let (inner, bytes): (Box<dyn Read>, _) = match file {
        Some(path) => {
            let opened = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let bytes = opened.metadata()?.len();
            (Box::new(opened), Some(bytes))
        }
        None => (Box::new(io::stdin()), None),
    };
    let mut input = BufReader::with_capacity(256 * 1024, Counting { inner, read: Rc::clone(&read) });
    if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    let rows: Box<dyn Iterator<Item = anyhow::Result<Numbered>>> = match format {
        Format::Ndjson if map.is_empty() => Box::new(Lines { input, line: 0, kind, membership }),
        Format::Ndjson => return Err(Failure::usage("--map is for CSV files").into()),
        Format::Csv => {
            let first = input.fill_buf()?;
            let first = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
            // A spreadsheet of a country that writes a comma in its numbers.
            let parted = if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' };
            let mut table = csv::ReaderBuilder::new().delimiter(parted).from_reader(input);
            let headings = table.headers().map_err(|error| match error.kind() {
                csv::ErrorKind::Utf8 { .. } => {
                    anyhow::Error::from(Failure::failed("the first line of the file is not UTF-8").hint(
                        "save it as CSV UTF-8; for another program's file: iconv -f UTF-16 -t UTF-8 FILE",
                    ))
                }
                _ => error.into(),
            })?;
            let headings: Vec<String> = headings.iter().map(|cell| cell.trim().to_owned()).collect();
            let columns = columns(&headings, kind, map, session)?;
            match kind {
                Kind::User => Box::new(Users { table, columns }),
                Kind::Group => {
                    Box::new(Groups { table, columns, membership, next: None, seen: HashSet::new() })
                }
            }
        }
    };
    Ok(Rows { rows, read, bytes })
}

/// What a column is.
enum Column {
    Ignored,
    Id,
    Member,
    Attribute {
        target: Target,
        /// The value of a list that it is a part of: `emails[type eq "work"]`.
        element: Option<String>,
    },
}

fn columns(
    headings: &[String],
    kind: Kind,
    map: &[String],
    session: &Session,
) -> anyhow::Result<Vec<Column>> {
    let mut mapped = Vec::new();
    for text in map {
        let (column, attribute) = headings
            .iter()
            .filter_map(|heading| Some((heading, text.strip_prefix(heading.as_str())?.strip_prefix('=')?)))
            .max_by_key(|(heading, _)| heading.len())
            .ok_or_else(|| {
                Failure::usage(format!("--map {text}: the file has no such column"))
                    .hint(format!("its columns are {}", headings.join(", ")))
            })?;
        mapped.push((column, attribute));
    }
    let schema = session.schemas().of(kind);
    let mut columns = Vec::new();
    for heading in headings {
        let given = mapped.iter().find(|(column, _)| *column == heading).map(|(_, attribute)| *attribute);
        let said = given.unwrap_or(heading);
        let alias = ALIASES.iter().find(|(alias, _)| kind == Kind::User && alias.eq_ignore_ascii_case(said));
        let name = alias.map_or(said, |(_, meant)| *meant);
        columns.push(match name {
            "" => Column::Ignored,
            name if name.eq_ignore_ascii_case("id") => Column::Id,
            name if kind == Kind::Group && name.eq_ignore_ascii_case("member") => Column::Member,
            name => {
                let hint =
                    format!("--map '{heading}=ATTR' says what it is, --map '{heading}=' passes it over");
                let what = match given {
                    Some(given) => format!("{given}, which --map says that the column {heading} is"),
                    None => format!("the column {heading}"),
                };
                let target = Target::parse(name, schema, session.bounds())
                    .ok()
                    .filter(|target| target.known)
                    .ok_or_else(|| Failure::usage(format!("no schema knows {what}")).hint(hint))?;
                let element = target.path.rfind(']').map(|end| target.path[..=end].to_owned());
                Column::Attribute { target, element }
            }
        });
    }
    each_says_its_own(headings, &columns)?;
    if columns.iter().all(|column| matches!(column, Column::Ignored)) {
        return Err(Failure::usage("the file has no column that says anything")
            .hint("its first line names the columns, such as userName,email,active")
            .into());
    }
    Ok(columns)
}

/// Of two columns that are the same attribute the last would be taken and the other lost, row by row.
fn each_says_its_own(headings: &[String], columns: &[Column]) -> anyhow::Result<()> {
    let mut seen = HashMap::new();
    for (heading, column) in headings.iter().zip(columns) {
        let what = match column {
            Column::Ignored => continue,
            Column::Id => "id",
            Column::Member => "member",
            Column::Attribute { target, .. } => target.path.as_str(),
        };
        if let Some(other) = seen.insert(what, heading) {
            return Err(Failure::usage(format!("the columns {other} and {heading} are both {what}"))
                .hint(format!(
                    "--map '{heading}=' passes one of them over, --map '{heading}=ATTR' says what it is"
                ))
                .into());
        }
    }
    Ok(())
}

/// NDJSON.
struct Lines<R> {
    input: R,
    line: u64,
    kind: Kind,
    membership: Membership,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = anyhow::Result<Numbered>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.line += 1;
            let mut text = Vec::new();
            match (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(_) if text.len() as u64 >= LINE_BYTES_MAX => {
                    return Some(Err(
                        Failure::failed(format!("line {} is longer than 64 MiB", self.line)).into()
                    ));
                }
                Ok(_) if text.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => return Some(Ok(Numbered { line: self.line, row: self.row(&text) })),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

impl<R> Lines<R> {
    fn row(&self, text: &[u8]) -> Result<Row, String> {
        let mut resource: Value = serde_json::from_slice(text).map_err(|error| not_json(&error))?;
        let Some(attributes) = resource.as_object_mut() else {
            return Err("The line is no JSON object.".to_owned());
        };
        let id = attributes.remove("id").and_then(|id| id.as_str().map(str::to_owned));
        for computed in ["meta", "groups"] {
            attributes.remove(computed);
        }
        let members = match (self.kind, attributes.remove("members")) {
            (Kind::Group, Some(Value::Array(members))) => {
                let names = members.iter().map(|member| member["value"].as_str().or(member.as_str()));
                let names: Option<Vec<String>> = names.map(|name| name.map(str::to_owned)).collect();
                let names = names.ok_or("A member has no value.")?;
                Some(self.membership.members(names))
            }
            (Kind::Group, Some(_)) => return Err("The members are no list.".to_owned()),
            _ => None,
        };
        Ok(Row { id, content: Content::Whole(resource), members })
    }
}

/// Why a line is no JSON. The parser counts lines within what it was given, which would be taken for those of the file.
fn not_json(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let reason = told.split(" at line ").next().unwrap_or_default();
    match error.is_eof() {
        true => format!("The line is no JSON: {reason}."),
        false => format!("The line is no JSON: {reason}, at column {}.", error.column()),
    }
}

/// Users as CSV.
struct Users<R> {
    table: csv::Reader<R>,
    columns: Vec<Column>,
}

impl<R: Read> Iterator for Users<R> {
    type Item = anyhow::Result<Numbered>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match read_record(&mut self.table)? {
            Ok((line, Ok(record))) => (line, record),
            Ok((line, Err(reason))) => return Some(Ok(Numbered { line, row: Err(reason) })),
            Err(error) => return Some(Err(error)),
        };
        let (line, record) = record;
        Some(Ok(Numbered { line, row: Ok(content(&self.columns, &record)) }))
    }
}

/// The next record with its line; inside, why it is none. Records that follow can still be read.
fn read_record<R: Read>(
    table: &mut csv::Reader<R>,
) -> Option<anyhow::Result<(u64, Result<csv::StringRecord, String>)>> {
    let mut record = csv::StringRecord::new();
    let line = table.position().line();
    match table.read_record(&mut record) {
        Ok(false) => None,
        Ok(true) => Some(Ok((record.position().map_or(line, csv::Position::line), Ok(record)))),
        Err(error) => {
            let line = error.position().map_or(line, csv::Position::line);
            Some(match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    Ok((line, Err(format!("The row has {len} cells and the headings are {expected_len}."))))
                }
                csv::ErrorKind::Utf8 { .. } => Ok((line, Err("The row is not UTF-8.".to_owned()))),
                _ => Err(error.into()),
            })
        }
    }
}

fn content(columns: &[Column], record: &csv::StringRecord) -> Row {
    let (mut id, mut set, mut clear) = (None, Vec::new(), Vec::new());
    let cells = || columns.iter().zip(record.iter());
    let mut cleared: Vec<&str> = Vec::new();
    for (column, cell) in cells() {
        match column {
            Column::Id if !cell.is_empty() => id = Some(cell.to_owned()),
            Column::Attribute { target, .. } if !cell.is_empty() => set.push(target.operation(cell)),
            Column::Attribute { target, element: None } => clear.push(target.operation("")),
            Column::Attribute { target, element: Some(element) } => {
                // Of a value that no column says anything of, nothing is to be left.
                let is_empty = cells().all(|(other, cell)| {
                    !matches!(other, Column::Attribute { element: Some(other), .. } if other == element)
                        || cell.is_empty()
                });
                if !is_empty {
                    clear.push(target.operation(""));
                } else if !cleared.contains(&element.as_str()) {
                    cleared.push(element);
                    clear.push(json!({ "op": "remove", "path": element }));
                }
            }
            _ => {}
        }
    }
    Row { id, content: Content::Some { set, clear }, members: None }
}

/// Groups as CSV, a row a member.
struct Groups<R> {
    table: csv::Reader<R>,
    columns: Vec<Column>,
    membership: Membership,
    /// The first row of the next group.
    next: Option<(u64, csv::StringRecord)>,
    seen: HashSet<Vec<String>>,
}

impl<R: Read> Groups<R> {
    /// What is the same in all rows of a group.
    fn key(&self, record: &csv::StringRecord) -> Vec<String> {
        let cells = self.columns.iter().zip(record.iter());
        cells
            .filter(|(column, _)| !matches!(column, Column::Member | Column::Ignored))
            .map(|(_, cell)| cell.to_owned())
            .collect()
    }

    fn member<'r>(&self, record: &'r csv::StringRecord) -> Option<&'r str> {
        let mut cells = self.columns.iter().zip(record.iter());
        cells.find(|(column, _)| matches!(column, Column::Member)).map(|(_, cell)| cell)
    }
}

impl<R: Read> Iterator for Groups<R> {
    type Item = anyhow::Result<Numbered>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, first) = match self.next.take() {
            Some(next) => next,
            None => match read_record(&mut self.table)? {
                Ok((line, Ok(record))) => (line, record),
                Ok((line, Err(reason))) => return Some(Ok(Numbered { line, row: Err(reason) })),
                Err(error) => return Some(Err(error)),
            },
        };
        let key = self.key(&first);
        let mut wrong = None;
        let mut members: Option<Vec<String>> = None;
        let mut record = first.clone();
        loop {
            if let Some(member) = self.member(&record) {
                let members = members.get_or_insert_default();
                if !member.is_empty() {
                    members.push(member.to_owned());
                }
            }
            record = match read_record(&mut self.table) {
                None => break,
                Some(Ok((at, Ok(next)))) if self.key(&next) != key => {
                    self.next = Some((at, next));
                    break;
                }
                Some(Ok((_, Ok(next)))) => next,
                Some(Ok((at, Err(reason)))) => {
                    // Whose row it was is not known; to be sure, this group is left as it is.
                    wrong.get_or_insert(format!("Line {at}: {reason}"));
                    continue;
                }
                Some(Err(error)) => return Some(Err(error)),
            };
        }
        if !self.seen.insert(key) && !self.membership.keep_others {
            wrong.get_or_insert("The rows of a group stand together; this one was there before.".to_owned());
        }
        let row = match wrong {
            Some(reason) => Err(reason),
            None => {
                let members = members.map(|names| self.membership.members(names));
                Ok(Row { members, ..content(&self.columns, &first) })
            }
        };
        Some(Ok(Numbered { line, row }))
    }
}
