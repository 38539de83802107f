//! Which statements a piece of work has run, kept for who asks later how SQLite went about them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::store::{Error, Store};

/// Most statements that are kept of one piece of work; a bulk request runs thousands of the same few.
const STATEMENTS_MAX: usize = 32;
/// Longest plan in bytes; what is beyond is cut off.
const PLAN_BYTES_MAX: usize = 4096;

/// The texts of statements, each once, without what was bound to them. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Statements(Arc<Mutex<Vec<Box<str>>>>);

impl Statements {
    /// Keeps a text.
    pub(super) fn note(&self, sql: &str) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < STATEMENTS_MAX && !texts.iter().any(|known| &**known == sql) {
            texts.push(sql.into());
        }
    }

    fn texts(&self) -> Vec<Box<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store {
    /// How SQLite goes about these statements: the lines of `EXPLAIN QUERY PLAN`, each once. They name tables, indexes
    /// and columns, and never a value. Blocks.
    ///
    /// # Errors
    /// That no connection was to be had.
    pub fn plan(&self, statements: &Statements) -> Result<String, Error> {
        let connection = self.readers.get_or_busy()?;
        let mut lines: Vec<String> = Vec::new();
        for text in statements.texts() {
            // What needs a table of the writer's own cannot be explained here, and goes by its key anyway.
            let Ok(mut explain) = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")) else { continue };
            // Nothing is bound: a plan does not depend on values (SQLITE_DBCONFIG_ENABLE_QPSG).
            let told =
                explain.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<Result<Vec<_>, _>>();
            for line in told.unwrap_or_default() {
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        let mut plan = lines.join("; ");
        plan.truncate(plan.floor_char_boundary(PLAN_BYTES_MAX));
        Ok(plan)
    }
}
