//! Groups by name and by tag.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use poolkeeper_core::aws::{Group, Tag};
use poolkeeper_core::short_text::ShortText;

use super::action::Filter;

/// Groups with an index of their tags, so that a page costs what it holds, however many groups there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    groups: BTreeMap<ShortText, Group>,
    by_tag: BTreeMap<ShortText, BTreeMap<ShortText, BTreeSet<ShortText>>>,
}

impl Catalog {
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// A group to be changed in anything but its name and its tags.
    pub(crate) fn group_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Puts a group in the place of the one of its name.
    pub(crate) fn put(&mut self, group: Group) {
        if self.groups.get(&group.name).is_none_or(|old| old.tags != group.tags) {
            self.unindex(&group.name);
            for tag in &group.tags {
                self.index(tag, &group.name);
            }
        }
        self.groups.insert(group.name.clone(), group);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Group> {
        self.unindex(name);
        self.groups.remove(name)
    }

    /// Up to `n` groups with names after `after` that match every filter, by name.
    pub(crate) fn page(&self, filters: &[Filter], after: Option<&str>, n: usize) -> Vec<&Group> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let indexed = filters.iter().find_map(|filter| match filter {
            Filter::Tag { key, values } => Some((key, values)),
            Filter::TagKey(_) | Filter::TagValue(_) => None,
        });
        let matches = |group: &&Group| filters.iter().all(|filter| filter.matches(group));
        match indexed {
            None => {
                let rest = self.groups.range::<str, _>((from, Bound::Unbounded));
                rest.map(|(_, group)| group).filter(matches).take(n).collect()
            }
            Some((key, values)) => {
                let sets = values.iter().filter_map(|value| self.by_tag.get(key)?.get(value));
                // Each value's first n names after the mark contain the first n of all of them.
                let names: BTreeSet<&ShortText> = sets
                    .flat_map(|set| {
                        let rest = set.range::<str, _>((from, Bound::Unbounded));
                        rest.filter(|name| self.groups.get(*name).is_some_and(|g| matches(&g))).take(n)
                    })
                    .collect();
                names.into_iter().take(n).filter_map(|name| self.groups.get(name)).collect()
            }
        }
    }

    fn index(&mut self, tag: &Tag, name: &str) {
        let values = self.by_tag.entry(tag.key.clone()).or_default();
        values.entry(tag.value.clone()).or_default().insert(name.into());
    }

    fn unindex(&mut self, name: &str) {
        let Some(group) = self.groups.get(name) else { return };
        for tag in &group.tags {
            let Some(values) = self.by_tag.get_mut(&tag.key) else { continue };
            let Some(names) = values.get_mut(&tag.value) else { continue };
            names.remove(name);
            if names.is_empty() {
                values.remove(&tag.value);
            }
            if values.is_empty() {
                self.by_tag.remove(&tag.key);
            }
        }
    }
}
