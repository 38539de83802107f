//! `docs/conformance.md` held to the tests that it names. That each of them ran and passed is seen by the step
//! `conformance_page` of `.ci/run`, which reads what `cargo test` said.

use std::fs;
use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

struct Row {
    line: usize,
    cells: Vec<String>,
}

impl Row {
    /// The tests of the last column: what stands in backticks and has a path.
    fn tests(&self) -> impl Iterator<Item = &str> {
        let cell = self.cells.last().unwrap();
        cell.split('`').skip(1).step_by(2)
    }
}

/// The rows of every table with five columns, but for heads and rulers.
fn rows() -> Vec<Row> {
    let page = read("docs/conformance.md").unwrap();
    let mut rows = Vec::new();
    for (index, line) in page.lines().enumerate() {
        let Some(inside) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            assert!(!line.contains(" | "), "line {}: a row without its bars", index + 1);
            continue;
        };
        let cells: Vec<String> = inside.split('|').map(|cell| cell.trim().to_owned()).collect();
        let is_ruler = cells.iter().all(|cell| cell.chars().all(|c| c == '-'));
        if !is_ruler && cells[0] != "§" {
            rows.push(Row { line: index + 1, cells });
        }
    }
    rows
}

/// The file that a module's tests lie in, for `it::users` or `scim::patch::tests`.
fn files(module: &str) -> Vec<PathBuf> {
    let (root, rest) = match module.strip_prefix("it::") {
        Some(rest) => ("tests/it", rest),
        None => ("src", module),
    };
    let path = format!("{root}/{}", rest.replace("::", "/"));
    let mut files = vec![format!("{path}.rs").into(), format!("{path}/mod.rs").into()];
    if let Some(parent) = path.strip_suffix("/tests") {
        files.push(format!("{parent}.rs").into());
        files.push(format!("{parent}/mod.rs").into());
    }
    files
}

/// Whether a source has a test of that name: `fn name(` with a test attribute right before it.
fn has_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    source.match_indices(&function).any(|(at, _)| {
        let before = &source[..at];
        let since_last_body = before.rfind("}\n").map_or(before, |end| &before[end..]);
        since_last_body.contains("#[test]") || since_last_body.contains("#[tokio::test")
    })
}

#[test]
fn every_test_of_the_page_exists() {
    for row in rows() {
        assert!(row.tests().next().is_some(), "line {}: no test", row.line);
        for test in row.tests() {
            let (module, name) =
                test.rsplit_once("::").unwrap_or_else(|| panic!("line {}: {test} has no path", row.line));
            let found = files(module).iter().filter_map(read).any(|source| has_test(&source, name));
            assert!(found, "line {}: there is no test {test}", row.line);
        }
    }
}

#[test]
fn no_cell_of_the_page_is_empty_and_every_word_is_known() {
    let rows = rows();
    assert!(rows.len() > 150, "only {} rows", rows.len());
    for row in rows {
        assert_eq!(row.cells.len(), 5, "line {}", row.line);
        assert!(row.cells.iter().all(|cell| !cell.is_empty() && !cell.ends_with('?')), "line {}", row.line);
        let word = row.cells[1].as_str();
        assert!(["must", "must not", "should", "should not"].contains(&word), "line {}: {word}", row.line);
    }
}

#[test]
fn a_test_that_is_not_there_is_noticed() {
    assert!(has_test("#[test]\nfn a_b() {\n}\n", "a_b"));
    assert!(has_test("    #[tokio::test]\n    async fn a_b() {\n", "a_b"));
    assert!(!has_test("#[test]\nfn other() {\n}\nfn a_b() {\n}\n", "a_b"));
    assert!(!has_test("#[test]\nfn a_b_c() {\n}\n", "a_b"));
    assert!(files("scim::patch::tests").contains(&PathBuf::from("src/scim/patch.rs")));
}
