//! Edits of a tenant as a whole: paused, taken out.

use toml_edit::{DocumentMut, Item, Value, value};

use crate::config::edit::{Error, checked, read, unknown_tenant};
use crate::config::{Pause, Settings, TenantName, parse};

use super::FILE;

/// Pauses a tenant, or takes the pause away. Nothing else of the text changes.
///
/// # Errors
/// [`Error::UnknownTenant`], or what is wrong with the text.
pub fn set_paused(text: &str, tenant: &TenantName, pause: Option<Pause>) -> Result<String, Error> {
    let settings = parse(text, FILE)?;
    let known = settings.tenants.get(tenant).ok_or_else(|| unknown_tenant(&settings, tenant))?;
    if known.life.paused == pause {
        return Ok(text.to_owned());
    }
    let mut document = read(text)?;
    let form = || Error::Form(format!("tenants.{tenant}"));
    let tenants = document.get_mut("tenants").and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let table = tenants.get_mut(tenant.as_str()).and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let new = match pause {
        None => Value::from(false),
        Some(Pause::Unavailable) => Value::from(true),
        Some(Pause::TooManyRequests) => Value::from(429),
    };
    let commented = table.key("paused").is_some_and(|key| {
        let prefix = key.leaf_decor().prefix().and_then(|prefix| prefix.as_str());
        !prefix.unwrap_or_default().trim().is_empty()
    });
    match table.get_mut("paused").and_then(Item::as_value_mut) {
        // Comments above the line and in it stay.
        Some(old) if pause.is_some() || commented || has_comment(old) => {
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
        Some(_) => drop(table.remove("paused")),
        None => drop(table.insert("paused", value(new))),
    }
    let changed = checked(document.to_string())?;
    match parse(&changed, FILE)?.tenants.get(tenant) {
        Some(after) if after.life.paused == pause => Ok(changed),
        _ => Err(form()),
    }
}

fn has_comment(value: &Value) -> bool {
    let suffix = value.decor().suffix().and_then(|suffix| suffix.as_str());
    !suffix.unwrap_or_default().trim().is_empty()
}

/// Takes a tenant out, with the comment lines directly above each of its tables. Gives the text that is left, and what
/// was taken out, which is a text of its own that brings the tenant back when it is added again.
///
/// # Errors
/// [`Error::UnknownTenant`], or what is wrong with the text.
pub fn remove_tenant(text: &str, tenant: &TenantName) -> Result<(String, String), Error> {
    let settings = parse(text, FILE)?;
    let Some(known) = settings.tenants.get(tenant) else { return Err(unknown_tenant(&settings, tenant)) };
    let mut wanted = settings.clone();
    wanted.tenants.remove(tenant);
    let (left, taken) = without_lines(text, tenant)
        .filter(|(left, taken)| holds(left, &wanted) && holds_tenant(taken, tenant, known))
        .map_or_else(|| without_table(text, tenant), Ok)?;
    // What did not take effect must not look as if it had.
    if holds(&left, &wanted) && holds_tenant(&taken, tenant, known) {
        Ok((left, taken))
    } else {
        Err(Error::Form(format!("tenants.{tenant}")))
    }
}

fn holds(text: &str, wanted: &Settings) -> bool {
    parse(text, FILE).is_ok_and(|settings| settings == *wanted)
}

fn holds_tenant(text: &str, tenant: &TenantName, known: &crate::config::TenantSettings) -> bool {
    parse(text, FILE).is_ok_and(|settings| settings.tenants.get(tenant) == Some(known))
}

/// Divides the text at its headers of tables. A line within a text of several lines can look like one: who calls this
/// reads again what comes of it.
fn without_lines(text: &str, tenant: &TenantName) -> Option<(String, String)> {
    let (mut left, mut taken) = (String::new(), String::new());
    let (mut ours, mut found) = (false, false);
    // Comment lines whose table is not known yet.
    let mut above = String::new();
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('#') {
            above.push_str(line);
            continue;
        }
        if let Some(header) = header(line) {
            ours = is_of(&header, tenant);
            found |= ours;
        }
        let to = if ours { &mut taken } else { &mut left };
        to.push_str(&std::mem::take(&mut above));
        to.push_str(line);
    }
    // Comments at the end are about the file.
    left.push_str(&above);
    found.then_some((left, taken))
}

/// The document that a line alone makes, when it is the header of a table.
fn header(line: &str) -> Option<DocumentMut> {
    if line.trim_start().starts_with('[') { line.parse().ok() } else { None }
}

fn is_of(header: &DocumentMut, tenant: &TenantName) -> bool {
    header.get("tenants").and_then(|tenants| tenants.get(tenant.as_str())).is_some()
}

/// For the forms that have no header of their own, such as `tenants = { acme = {} }`.
fn without_table(text: &str, tenant: &TenantName) -> Result<(String, String), Error> {
    let form = || Error::Form(format!("tenants.{tenant}"));
    let mut document = read(text)?;
    let tenants = document.get_mut("tenants").and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let taken = tenants.remove(tenant.as_str()).ok_or_else(form)?;
    let mut alone = DocumentMut::new();
    let mut tenants = toml_edit::Table::new();
    tenants.insert(tenant.as_str(), taken);
    tenants.set_implicit(true);
    alone.insert("tenants", Item::Table(tenants));
    Ok((document.to_string(), alone.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT_BY_HAND: &str = r#"# Our tenants.
[server]
listen = "127.0.0.1:9000"

# since 2024
[tenants.acme]
# about the name
name = "Acme" # theirs

# the token of their Okta
[[tenants.acme.tokens]]
name = "okta"
hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"

# the small one
[tenants.globex]
name = "Globex"

# the end
"#;

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    #[test]
    fn a_pause_is_one_line_and_goes_again() {
        let text = KEPT_BY_HAND;
        let paused = set_paused(text, &name("acme"), Some(Pause::Unavailable)).unwrap();
        let line = "name = \"Acme\" # theirs\n";
        assert_eq!(paused, text.replace(line, &format!("{line}paused = true\n")));
        assert_eq!(set_paused(&paused, &name("acme"), Some(Pause::Unavailable)).unwrap(), paused);
        let other = set_paused(&paused, &name("acme"), Some(Pause::TooManyRequests)).unwrap();
        assert_eq!(other, text.replace(line, &format!("{line}paused = 429\n")));
        assert_eq!(set_paused(&other, &name("acme"), None).unwrap(), text);
        assert_eq!(set_paused(text, &name("acme"), None).unwrap(), text);
    }

    #[test]
    fn comments_beside_a_pause_stay() {
        for (before, after) in [
            (
                "[tenants.a]\n# moving on Tuesday\npaused = true\n",
                "[tenants.a]\n# moving on Tuesday\npaused = false\n",
            ),
            ("[tenants.a]\npaused = true # ask Ada\n", "[tenants.a]\npaused = false # ask Ada\n"),
        ] {
            assert_eq!(set_paused(before, &name("a"), None).unwrap(), after);
            assert_eq!(set_paused(after, &name("a"), Some(Pause::Unavailable)).unwrap(), before);
        }
    }

    #[test]
    fn a_pause_is_written_in_every_form_of_a_tenant() {
        for text in [
            "[tenants]\na = {}\n",
            "tenants = { a = { name = \"A\" } }\n",
            "[tenants.a]\n",
            "tenants.a.name = \"A\"\n",
            "[[tenants.a.tokens]]\nname = \"x\"\nhash = \"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\"\n",
        ] {
            let paused = set_paused(text, &name("a"), Some(Pause::Unavailable)).unwrap();
            assert_eq!(
                parse(&paused, "t").unwrap().tenants["a"].life.paused,
                Some(Pause::Unavailable),
                "{paused}"
            );
            let resumed = set_paused(&paused, &name("a"), None).unwrap();
            assert_eq!(parse(&resumed, "t").unwrap(), parse(text, "t").unwrap(), "{resumed}");
        }
        let unknown = set_paused(KEPT_BY_HAND, &name("initech"), None).unwrap_err();
        assert_eq!(unknown.to_string(), "there is no tenant initech; the tenants are acme, globex");
    }

    #[test]
    fn a_tenant_is_taken_out_with_the_comments_above_it() {
        let text = KEPT_BY_HAND;
        let (left, taken) = remove_tenant(text, &name("acme")).unwrap();
        let (head, rest) = text.split_once("# since 2024\n").unwrap();
        let (acme, tail) = rest.split_once("# the small one\n").unwrap();
        assert_eq!(left, format!("{head}# the small one\n{tail}"));
        assert_eq!(taken, format!("# since 2024\n{acme}"));
        // Added again, it is as it was.
        assert_eq!(parse(&format!("{left}{taken}"), "t").unwrap(), parse(text, "t").unwrap());
    }

    #[test]
    fn a_line_that_only_looks_like_a_header_is_not_taken_for_one() {
        let text = "[tenants.a]\n[tenants.b]\nschemas = [\n\"x\",\n[tenants.a]\n]\n";
        // Not TOML: there is no such text with an array. One with a text of several lines follows.
        assert!(remove_tenant(text, &name("a")).is_err());
        let text = "[tenants.a]\n[tenants.b]\nschemas = [\"\"\"\n[tenants.a]\"\"\"]\n";
        let (left, taken) = remove_tenant(text, &name("a")).unwrap();
        assert_eq!(parse(&left, "t").unwrap().tenants.len(), 1, "{left}");
        assert_eq!(parse(&taken, "t").unwrap().tenants.len(), 1, "{taken}");
    }

    #[test]
    fn a_tenant_is_taken_out_in_every_form() {
        for text in [
            "[tenants]\na = {}\nb = {}\n",
            "tenants = { a = {}, b = { name = \"B\" } }\n",
            "tenants.a.name = \"A\"\ntenants.b.name = \"B\"\n",
        ] {
            let (left, taken) = remove_tenant(text, &name("b")).unwrap();
            assert_eq!(parse(&left, "t").unwrap().tenants.len(), 1, "{left}");
            assert!(parse(&taken, "t").unwrap().tenants.contains_key("b"), "{taken}");
        }
        let (left, _) = remove_tenant("[tenants.a]\n", &name("a")).unwrap();
        assert_eq!(left, "");
    }
}
