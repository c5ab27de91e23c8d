//! The groups as a recording's describes show them over time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, GROUPS_A_PAGE, Group, GroupQuery};
use poolkeeper_core::short_text::ShortText;

/// What was seen of each group, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    /// For each name: from when on it was so, and `None` while it was not there.
    seen: BTreeMap<ShortText, Vec<(u64, Option<Group>)>>,
    /// Groups of the listing that is being read.
    listing: BTreeSet<ShortText>,
    /// Those that listings found; a group that only a describe by name found is in none.
    listed: BTreeSet<ShortText>,
    /// When the first listing was complete.
    known_from_ms: Option<u64>,
    failures: VecDeque<(u64, AwsError)>,
}

impl Fleet {
    /// Takes in a describe as it was recorded.
    pub(super) fn record(
        &mut self,
        at_ms: u64,
        query: &GroupQuery,
        is_first_page: bool,
        reply: Result<AwsReply, AwsError>,
    ) {
        let (groups, next_token) = match reply {
            Ok(AwsReply::Groups { groups, next_token }) => (groups, next_token),
            Ok(AwsReply::Done | AwsReply::WarmMembers { .. }) => return,
            Err(error) => return self.failures.push_back((at_ms, error)),
        };
        let is_listing = matches!(query, GroupQuery::Tagged { .. });
        if is_listing && is_first_page {
            self.listing.clear();
        }
        for group in groups {
            if is_listing {
                self.listing.insert(group.name.clone());
                self.listed.insert(group.name.clone());
            }
            self.saw(at_ms, group.name.clone(), Some(group));
        }
        if is_listing && next_token.is_none() {
            let gone: Vec<ShortText> = self.listed.difference(&self.listing).cloned().collect();
            for name in gone {
                self.saw(at_ms, name, None);
            }
            self.known_from_ms.get_or_insert(at_ms);
        }
    }

    /// A failure that a describe met at this time or before, each once.
    pub(super) fn failure(&mut self, at_ms: u64) -> Option<AwsError> {
        self.failures.pop_front_if(|(failed_ms, _)| *failed_ms <= at_ms).map(|(_, error)| error)
    }

    /// Answers a describe with what was so at that time.
    pub(super) fn describe(&self, at_ms: u64, query: &GroupQuery, next_token: Option<&str>) -> AwsReply {
        let at_ms = at_ms.max(self.known_from_ms.unwrap_or_default());
        match query {
            GroupQuery::Named(names) => {
                let groups = names.iter().filter_map(|name| self.group(at_ms, name)).cloned().collect();
                AwsReply::Groups { groups, next_token: None }
            }
            GroupQuery::Tagged { .. } => {
                let start: usize = next_token.and_then(|token| token.parse().ok()).unwrap_or_default();
                let all: Vec<&Group> = self.listed.iter().filter_map(|name| self.group(at_ms, name)).collect();
                let groups: Vec<Group> = all.iter().skip(start).take(GROUPS_A_PAGE).copied().cloned().collect();
                let end = start + groups.len();
                AwsReply::Groups { groups, next_token: (end < all.len()).then(|| end.to_string()) }
            }
        }
    }

    fn group(&self, at_ms: u64, name: &str) -> Option<&Group> {
        let seen = self.seen.get(name)?;
        let known = seen.partition_point(|(from_ms, _)| *from_ms <= at_ms);
        seen.get(known.checked_sub(1)?)?.1.as_ref()
    }

    fn saw(&mut self, at_ms: u64, name: ShortText, group: Option<Group>) {
        let seen = self.seen.entry(name).or_default();
        if seen.last().is_none_or(|(_, last)| *last != group) {
            seen.push((at_ms, group));
        }
    }
}

/// What a describe asks for; `None` for a write.
pub(super) const fn query(call: &AwsCall) -> Option<(&GroupQuery, Option<&String>)> {
    match call {
        AwsCall::DescribeGroups { query, next_token } => Some((query, next_token.as_ref())),
        AwsCall::SetDesiredCapacity { .. } | AwsCall::Instances { .. } => None,
    }
}
