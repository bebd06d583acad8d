//! The objects as far as they are known: what the watch says, and what this instance has just written.

use super::seen::Seen;
use std::collections::BTreeMap;

/// Namespace and name.
pub(super) type Place = (String, String);

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Index {
    objects: BTreeMap<Place, Seen>,
    /// What the watch lists at its beginning, until it is whole.
    listed: BTreeMap<Place, Seen>,
    /// Watches that have not listed everything yet.
    unlisted: usize,
}

impl Index {
    /// Nothing is known before so many watches have listed their objects.
    pub fn new(watches: usize) -> Self {
        Self { unlisted: watches, ..Self::default() }
    }

    /// Whether everything has been seen once.
    pub fn is_whole(&self) -> bool {
        self.unlisted == 0
    }

    /// A watch has listed everything, in this namespace or in all.
    pub fn listed(&mut self, namespace: Option<&str>, first: bool) {
        let concerned = |place: &Place| namespace.is_none_or(|namespace| place.0 == namespace);
        let listed = std::mem::take(&mut self.listed);
        let (mine, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            listed.into_iter().partition(|(place, _)| concerned(place));
        self.listed = others;
        self.objects.retain(|place, _| !concerned(place) || mine.contains_key(place));
        mine.into_values().for_each(|seen| self.put(seen));
        if first {
            self.unlisted = self.unlisted.saturating_sub(1);
        }
    }

    /// A watch lists an object at its beginning.
    pub fn list(&mut self, seen: Seen) {
        self.listed.insert(place(&seen), seen);
    }

    /// An object is so, if nothing newer is known of it.
    pub fn put(&mut self, seen: Seen) {
        let place = place(&seen);
        let newer = self.objects.get(&place).is_none_or(|known| is_newer(&seen.version, &known.version));
        if newer {
            self.objects.insert(place, seen);
        }
    }

    /// An object is gone.
    pub fn remove(&mut self, place: &Place, uid: &str) {
        if self.objects.get(place).is_some_and(|known| known.uid == uid) {
            self.objects.remove(place);
        }
    }

    /// One object.
    pub fn get(&self, place: &Place) -> Option<&Seen> {
        self.objects.get(place)
    }

    /// Those of a policy.
    pub fn owned(&self, namespace: &str, owner: &str) -> impl Iterator<Item = &Seen> {
        let first = (namespace.to_owned(), String::new());
        let inside = self.objects.range(first..).take_while(move |(place, _)| place.0 == namespace);
        inside.map(|(_, seen)| seen).filter(move |seen| seen.owner.as_deref() == Some(owner))
    }
}

/// Where an object is.
pub(super) fn place(seen: &Seen) -> Place {
    (seen.namespace.clone(), seen.name.clone())
}

/// Whether a version is newer than another, or the same. Versions are numbers that rise (KEP-5504).
fn is_newer(version: &str, than: &str) -> bool {
    match (version.parse::<u128>(), than.parse::<u128>()) {
        (Ok(version), Ok(than)) => version >= than,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_api::KafkaReassignmentStatus;
    use jiff::Timestamp;

    fn seen(namespace: &str, name: &str, version: &str) -> Seen {
        Seen {
            namespace: namespace.into(),
            name: name.into(),
            uid: format!("uid of {name}"),
            version: version.into(),
            created: Timestamp::UNIX_EPOCH,
            deleting: false,
            owner: Some("policy".into()),
            spec: None,
            status: KafkaReassignmentStatus::default(),
            word: None,
        }
    }

    fn names(index: &Index, namespace: &str) -> Vec<String> {
        index.owned(namespace, "policy").map(|seen| format!("{}@{}", seen.name, seen.version)).collect()
    }

    #[test]
    fn nothing_is_concluded_before_all_is_listed() {
        let mut index = Index::new(2);
        index.list(seen("a", "one", "1"));
        index.listed(Some("a"), true);
        assert!(!index.is_whole());
        index.listed(Some("b"), true);
        assert!(index.is_whole());
        assert_eq!(names(&index, "a"), ["one@1"]);
    }

    #[test]
    fn an_interrupted_watch_finds_what_is_gone_in_its_namespace_alone() {
        let mut index = Index::new(0);
        for (namespace, name) in [("a", "one"), ("a", "two"), ("b", "three")] {
            index.put(seen(namespace, name, "5"));
        }
        index.list(seen("a", "two", "6"));
        index.listed(Some("a"), false);
        assert_eq!((names(&index, "a"), names(&index, "b")), (vec!["two@6".into()], vec!["three@5".into()]));
        index.listed(None, false);
        assert!(names(&index, "a").is_empty() && names(&index, "b").is_empty());
    }

    #[test]
    fn what_was_just_written_is_not_undone_by_a_late_watch() {
        let mut index = Index::new(0);
        index.put(seen("a", "one", "10"));
        index.put(seen("a", "one", "9"));
        assert_eq!(names(&index, "a"), ["one@10"]);
        index.remove(&("a".into(), "one".into()), "another");
        assert_eq!(names(&index, "a"), ["one@10"]);
        index.remove(&("a".into(), "one".into()), "uid of one");
        assert!(names(&index, "a").is_empty());
        assert!(index.owned("a", "nobody").next().is_none());
    }
}
