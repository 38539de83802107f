//! What people and programs see of a command: the only place that writes to stdout and stderr.
//!
//! Data goes to stdout, as an aligned table or as JSON; words about the work go to stderr. Which data a command
//! shows is decided by the command. The server's log does not belong here, see `telemetry`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::telemetry::may_colour;

/// An error that knows its exit code and, where there is one, the next step.
///
/// Commands may return any `anyhow` error; this one is for those that have more to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// What was asked for could not be done: exit code 1.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, code: FAILED }
    }

    /// It was asked for in the wrong way, or the configuration is wrong: exit code 2.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, code: WRONG_USE }
    }

    /// Adds the line that tells what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Exit code of a command that could not do its work.
const FAILED: u8 = 1;
/// Exit code for wrong usage or a wrong configuration; clap uses the same for wrong arguments.
const WRONG_USE: u8 = 2;

/// Tells the person about an error, on stderr, and gives the exit code that belongs to it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let stderr = std::io::stderr();
    // `{:#}` joins the causes with colons: one line a person can read and a program can cut.
    let mut text = format!("{} {}\n", paint("error:", RED, &stderr), clean(&format!("{error:#}")));
    if let Some(hint) = error.downcast_ref::<Failure>().and_then(|failure| failure.hint.as_deref()) {
        text.push_str(&format!("{} {}\n", paint("hint:", CYAN, &stderr), clean(hint)));
    }
    to_stderr(&text);
    ExitCode::from(code_of(error))
}

fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.code,
        None if error.chain().any(is_wrong_configuration) => WRONG_USE,
        None => FAILED,
    }
}

fn is_wrong_configuration(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<crate::config::Error>()
        || cause.is::<crate::tenants::SchemaFault>()
        || matches!(cause.downcast_ref(), Some(crate::tenants::Error::Schemas(_)))
}

/// Words to the person that are no data, such as "token written": one line on stderr.
pub fn note(text: &str) {
    to_stderr(&format!("{}\n", clean(text)));
}

/// Where a stream of data for programs goes on stdout; once its reader has gone, nowhere.
pub fn stream() -> impl Write {
    std::io::BufWriter::new(Stream { gone: false })
}

struct Stream {
    gone: bool,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.gone {
            return Ok(bytes.len());
        }
        match std::io::stdout().write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(bytes.len())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match std::io::stdout().flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Asks a person on a terminal before something is taken away; `yes` is the answer of who was asked before. `deed`
/// begins like "delete user ada of tenant acme for good".
///
/// # Errors
/// When the answer is no; or there is nobody to ask: exit code 2, with the flag that answers.
pub fn confirm(deed: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let message = format!("nothing was done: there is no terminal to ask on whether to {deed}");
        return Err(Failure::usage(message).hint("--yes confirms it").into());
    }
    note(&format!("This will {deed}. Type yes to do so."));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was changed").into()),
    }
}

/// Data on stdout: one line as it stands, without control characters.
///
/// # Errors
/// When stdout cannot be written. That the reader has gone (`| head`) is no error.
pub fn line(text: &str) -> anyhow::Result<()> {
    to_stdout(&format!("{}\n", clean(text)))
}

/// Text of our own on stdout, line ends included; for pages such as the one of `quickstart`.
///
/// # Errors
/// When stdout cannot be written. That the reader has gone is no error.
pub fn page(text: &str) -> anyhow::Result<()> {
    to_stdout(text)
}

/// Data for programs on stdout: indented JSON.
///
/// # Errors
/// When stdout cannot be written. That the reader has gone is no error.
pub fn json(value: &Value) -> anyhow::Result<()> {
    to_stdout(&format!("{value:#}\n"))
}

/// Data for people on stdout: aligned columns.
///
/// # Errors
/// When stdout cannot be written. That the reader has gone is no error.
pub fn table(table: &Table) -> anyhow::Result<()> {
    to_stdout(&table.text(may_colour(&std::io::stdout())))
}

/// Rows under a line of headings; each column as wide as its widest cell, two blanks between columns.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
    /// How a cell is marked, by row and column.
    marks: BTreeMap<(usize, usize), Mark>,
}

/// What a cell tells, where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing in particular.
    None,
    /// Something is to be done soon.
    Warning,
    /// Something is to be done now.
    Bad,
}

impl Table {
    /// An empty table with these headings.
    pub fn new(headings: &[&str]) -> Table {
        Table {
            marks: BTreeMap::new(),
            rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()],
        }
    }

    /// Adds a row. Cells may hold anything: control characters are shown escaped, so that a name from outside
    /// can neither break the layout nor steer the terminal.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell.into())).collect());
    }

    /// Marks a cell of the row that was added last.
    pub fn mark(&mut self, column: usize, mark: Mark) {
        if mark != Mark::None {
            self.marks.insert((self.rows.len() - 1, column), mark);
        }
    }

    /// The lines, each ended, without colours; no blanks at a line's end.
    pub fn render(&self) -> String {
        self.text(false)
    }

    fn text(&self, coloured: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let code = self.marks.get(&(number, column)).and_then(|mark| mark.colour());
                // Blanks after the cell and not in it: a colour takes no room.
                let blanks = " ".repeat(width + 2 - cell.chars().count());
                match code.filter(|_| coloured) {
                    Some(code) => line.push_str(&format!("\u{1b}[{code}m{cell}\u{1b}[0m{blanks}")),
                    None => line.push_str(&format!("{cell}{blanks}")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Mark {
    fn colour(self) -> Option<&'static str> {
        match self {
            Mark::None => None,
            Mark::Warning => Some(YELLOW),
            Mark::Bad => Some(RED),
        }
    }
}

const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";
const BOLD: &str = "1";

/// `text` in bold when stdout is a terminal that may be coloured, else as it stands.
pub fn bold(text: &str) -> String {
    paint(text, BOLD, &std::io::stdout())
}

fn paint(text: &str, code: &str, stream: &impl IsTerminal) -> String {
    if may_colour(stream) { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Control characters escaped, all else unchanged.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}

fn to_stdout(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output"))
        }
        _ => Ok(()),
    }
}

fn to_stderr(text: &str) {
    // Nowhere is left to report that stderr is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_counted_in_characters() {
        let mut table = Table::new(&["NAME", "ACTIVE"]);
        table.row(["Zoë", "yes"]);
        table.row(["Bartholomäus", "no"]);
        assert_eq!(table.render(), "NAME          ACTIVE\nZoë           yes\nBartholomäus  no\n");
    }

    #[test]
    fn a_row_may_be_short_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x"]);
        table.row(["", ""]);
        assert_eq!(table.render(), "A  B\nx\n\n");
    }

    #[test]
    fn a_marked_cell_has_a_colour_where_there_are_some_and_the_columns_stay_aligned() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x", "y"]);
        table.mark(0, Mark::Bad);
        table.row(["zz", "y"]);
        table.mark(1, Mark::None);
        assert_eq!(table.render(), "A   B\nx   y\nzz  y\n");
        assert_eq!(table.text(true), "A   B\n\u{1b}[31mx\u{1b}[0m   y\nzz  y\n");
    }

    #[test]
    fn a_hostile_cell_neither_breaks_the_line_nor_steers_the_terminal() {
        let mut table = Table::new(&["A"]);
        table.row(["x\n\u{1b}[2Jy\u{9b}z"]);
        assert_eq!(table.render(), "A\nx\\n\\u{1b}[2Jy\\u{9b}z\n");
    }

    #[test]
    fn wrong_use_and_failure_have_codes_of_their_own() {
        assert_eq!(code_of(&Failure::failed("x").hint("y").into()), 1);
        assert_eq!(code_of(&Failure::usage("x").into()), 2);
        assert_eq!(code_of(&anyhow::anyhow!("x")), 1);
        let wrong = crate::config::parse("nonsense = 1", "tenants.toml").unwrap_err();
        assert_eq!(code_of(&anyhow::Error::new(wrong).context("cannot start")), 2);
    }
}
