//! What the probe has made or may have made, so that it can be taken away again. Pure.

/// A user or a group of the probe's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// `Users` or `Groups`.
    pub(super) plural: &'static str,
    /// userName or displayName.
    pub(super) name: String,
    /// None when it was asked for and no answer told what became of it.
    pub(super) id: Option<String>,
}

/// Everything that was asked for and not yet removed, in the order in which it was asked for.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    made: Vec<Made>,
}

impl Ledger {
    /// Notes that something is about to be asked for: from now on it may exist.
    pub(super) fn asked(&mut self, plural: &'static str, name: &str) {
        self.made.push(Made { plural, name: name.to_owned(), id: None });
    }

    /// Notes the answer to the last request of that name: the id, or that nothing was made.
    pub(super) fn answered(&mut self, name: &str, id: Option<&str>) {
        let Some(at) = self.made.iter().rposition(|made| made.name == name && made.id.is_none()) else {
            return;
        };
        match id {
            // A server may answer a second create with the first one's id.
            Some(id) if self.made.iter().any(|made| made.id.as_deref() == Some(id)) => {
                self.made.remove(at);
            }
            Some(id) => self.made[at].id = Some(id.to_owned()),
            None => {
                self.made.remove(at);
            }
        }
    }

    /// Notes that what has this id is called otherwise now.
    pub(super) fn renamed(&mut self, id: &str, name: &str) {
        for made in self.made.iter_mut().filter(|made| made.id.as_deref() == Some(id)) {
            name.clone_into(&mut made.name);
        }
    }

    /// Notes that what has this id is gone.
    pub(super) fn removed(&mut self, id: &str) {
        self.made.retain(|made| made.id.as_deref() != Some(id));
    }

    /// Takes everything that is to be removed, the last first: groups before their members.
    pub(super) fn take(&mut self) -> Vec<Made> {
        self.made.drain(..).rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_exist_is_remembered_until_it_is_known_not_to() {
        let mut ledger = Ledger::default();
        ledger.asked("Users", "ada");
        ledger.answered("ada", Some("1"));
        ledger.asked("Users", "ada");
        ledger.answered("ada", None);
        ledger.asked("Users", "bob");
        ledger.asked("Groups", "staff");
        ledger.answered("staff", Some("9"));
        ledger.renamed("9", "crew");
        let names: Vec<_> = ledger.take().into_iter().map(|made| (made.name, made.id)).collect();
        let expected = [("crew", Some("9")), ("bob", None), ("ada", Some("1"))];
        assert_eq!(names, expected.map(|(name, id)| (name.to_owned(), id.map(str::to_owned))));
    }

    #[test]
    fn what_was_made_twice_is_removed_twice_and_what_is_gone_not_at_all() {
        let mut ledger = Ledger::default();
        for id in ["1", "2", "2"] {
            ledger.asked("Users", "ada");
            ledger.answered("ada", Some(id));
        }
        ledger.removed("1");
        assert_eq!(ledger.take().len(), 1);
        assert!(ledger.take().is_empty());
    }
}
