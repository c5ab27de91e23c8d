//! The members of a group's warm pool: seen and told, and never given a config.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::aws::WarmMember;
use crate::short_text::ShortText;
use crate::view::WarmView;

/// The most members of one warm pool that are looked at.
const MOST_MEMBERS: usize = 10_000;

/// What was last listed, and the listing that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Warm {
    /// Lifecycle states, as AWS wrote them, by instance.
    members: BTreeMap<ShortText, ShortText>,
    listing: Option<BTreeMap<ShortText, ShortText>>,
    /// AWS denied the last listing that came to an end.
    is_denied: bool,
}

impl Warm {
    /// A listing begins; whether none was under way.
    pub(crate) fn begins(&mut self) -> bool {
        let idle = self.listing.is_none();
        self.listing.get_or_insert_default();
        idle
    }

    /// A page came; whether the next one is to be asked for.
    pub(crate) fn page(&mut self, members: Vec<WarmMember>, more: bool) -> bool {
        let listing = self.listing.get_or_insert_default();
        listing.extend(members.into_iter().map(|member| (member.id, member.state)));
        if more && listing.len() < MOST_MEMBERS {
            return true;
        }
        self.members = self.listing.take().unwrap_or_default();
        self.is_denied = false;
        false
    }

    /// The listing could not be had: what was known stays. Whether this is the first time that AWS denies it.
    pub(crate) fn failed(&mut self, is_denied: bool) -> bool {
        self.listing = None;
        is_denied && !core::mem::replace(&mut self.is_denied, true)
    }

    /// The instances that stood by when they were last listed.
    pub(crate) const fn members(&self) -> &BTreeMap<ShortText, ShortText> {
        &self.members
    }

    pub(super) fn view(&self) -> WarmView {
        let count = |state: &str| {
            let of_state = self.members.values().filter(|text| text.strip_prefix("Warmed:") == Some(state));
            u32::try_from(of_state.count()).unwrap_or(u32::MAX)
        };
        let (stopped, running, hibernated) = (count("Stopped"), count("Running"), count("Hibernated"));
        let all = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        WarmView { stopped, running, hibernated, moving: all - stopped - running - hibernated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(states: &[(&str, &str)]) -> Vec<WarmMember> {
        states.iter().map(|(id, state)| WarmMember { id: (*id).into(), state: (*state).into() }).collect()
    }

    #[test]
    fn pages_count_once_all_of_them_are_there() {
        let mut warm = Warm::default();
        assert!(warm.begins());
        assert!(!warm.begins(), "one listing at a time");
        assert!(warm.page(page(&[("i-1", "Warmed:Stopped"), ("i-2", "Warmed:Pending:Wait")]), true));
        assert_eq!(warm.view(), WarmView::default());
        assert!(!warm.page(page(&[("i-3", "Warmed:Running")]), false));
        assert_eq!(warm.view(), WarmView { stopped: 1, running: 1, hibernated: 0, moving: 1 });
        assert!(warm.begins());
        assert!(!warm.failed(false));
        assert!(warm.failed(true));
        assert_eq!(warm.members().len(), 3, "what was known stays");
        assert!(!warm.failed(false) && !warm.failed(true), "told once");
        assert!(!warm.page(page(&[]), false));
        assert!(warm.failed(true), "and anew after one that succeeded");
    }

    #[test]
    fn a_listing_without_end_is_cut() {
        let mut warm = Warm::default();
        warm.begins();
        let member = |n| WarmMember { id: alloc::format!("i-{n}").into(), state: "Warmed:Stopped".into() };
        let members = (0..MOST_MEMBERS).map(member).collect();
        assert!(!warm.page(members, true));
    }
}
