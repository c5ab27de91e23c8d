//! Calls upon groups.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poolkeeper_core::aws::{GROUPS_A_PAGE, Group, LifecycleState};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Now};

use super::action::{Describe, GroupChange, GroupTag, Outcome};
use super::fleet::{Step, is_live};
use super::throttle::Bucket;
use super::warm::WarmPoolModel;
use super::{ApiError, Aws, AwsEvent, Cause, GroupSpec, INSTANCES_A_PROTECTION, Rate};
use crate::digits::uuid;

/// The size of a page when the caller names none.
const DEFAULT_PAGE: usize = 50;
/// The largest group the model holds.
const LARGEST_GROUP: u32 = 100_000;
/// The processes of a group, which a call that names none means all of.
const PROCESSES: [&str; 9] = [
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

impl Aws {
    pub(crate) fn describe(&self, describe: &Describe) -> Result<Outcome<'_>, ApiError> {
        let n = describe.max_records.unwrap_or(DEFAULT_PAGE);
        if !(1..=GROUPS_A_PAGE).contains(&n) {
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value '{n}' at 'maxRecords' failed to satisfy constraint: \
                 Member must have value between 1 and {GROUPS_A_PAGE}"
            )));
        }
        if describe.names.len() > GROUPS_A_PAGE {
            return Err(ApiError::validation(format!(
                "The number of group names exceeds the limit of {GROUPS_A_PAGE}"
            )));
        }
        let after = describe.next_token.as_deref().map(name_of_token).transpose()?;
        let catalog = if self.config.lag == Duration::ZERO { &self.truth } else { &self.seen };
        let mut groups = if describe.names.is_empty() {
            catalog.page(&describe.filters, after.as_deref(), n + 1 + self.hidden.len())
        } else {
            let mut names: Vec<&ShortText> = describe.names.iter().collect();
            names.sort_unstable();
            names.dedup();
            let later = names.into_iter().filter(|name| after.as_ref().is_none_or(|a| *name > a));
            let named = later.filter_map(|name| catalog.group(name));
            named.filter(|g| describe.filters.iter().all(|f| f.matches(g))).take(n + 1 + self.hidden.len()).collect()
        };
        groups.retain(|group| !self.hidden.contains(&group.name));
        let more = groups.len() > n;
        groups.truncate(n);
        let next_token = groups.last().filter(|_| more).map(|last| STANDARD.encode(last.name.as_bytes()));
        Ok(Outcome::Groups { groups, next_token })
    }

    /// Sets a group's desired capacity.
    ///
    /// # Errors
    /// When there is no such group, or its bounds forbid the value.
    pub fn set_desired(&mut self, now: Now, name: &str, desired: u32) -> Result<(), ApiError> {
        let group = self.group_or_error(name)?;
        let (from, min, max) = (group.desired, group.min_size, group.max_size);
        if desired > max {
            return Err(ApiError::validation(format!(
                "New SetDesiredCapacity value {desired} is above max value {max} for the AutoScalingGroup."
            )));
        }
        if desired < min {
            return Err(ApiError::validation(format!(
                "New SetDesiredCapacity value {desired} is below min value {min} for the AutoScalingGroup."
            )));
        }
        self.change(now, name, |group| group.desired = desired);
        self.events.push(AwsEvent::DesiredCapacitySet { group: name.into(), from, desired });
        Ok(())
    }

    /// Terminates an instance, and names its group.
    ///
    /// # Errors
    /// When no group has it, or when desired capacity would go below the group's least size.
    pub fn terminate_instance(&mut self, now: Now, id: &str, decrement: bool) -> Result<ShortText, ApiError> {
        let name = self.homes.get(id).cloned().ok_or_else(|| ApiError::no_instance(id))?;
        let group = self.group_or_error(&name)?;
        let live = group.instances.iter().any(|i| i.id == id && is_live(i));
        if live && decrement {
            if group.desired <= group.min_size {
                let min = group.min_size;
                return Err(ApiError::validation(format!(
                    "Currently, desiredSize equals minSize ({min}). Terminating instance without replacement will \
                     violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false \
                     or lower group's min size."
                )));
            }
            if let Some(group) = self.truth.group_mut(&name) {
                group.desired -= 1;
            }
        }
        self.start_termination(now.mono, &name, id, Cause::Asked { by: self.actor });
        self.change(now, &name, |_| ());
        Ok(name)
    }

    /// Protects instances from scale-in, or releases them.
    ///
    /// # Errors
    /// When there are too many, or one is not in service in this group.
    pub fn set_protection(&mut self, now: Now, name: &str, ids: &[ShortText], protected: bool) -> Result<(), ApiError> {
        let group = self.group_or_error(name)?;
        if ids.is_empty() || ids.len() > INSTANCES_A_PROTECTION {
            return Err(ApiError::validation(format!(
                "The number of instance ids must be between 1 and {INSTANCES_A_PROTECTION}"
            )));
        }
        for id in ids {
            let Some(instance) = group.instances.iter().find(|i| i.id == *id) else {
                return Err(ApiError::validation(format!(
                    "The instance {id} is not part of Auto Scaling group {name}."
                )));
            };
            if instance.state != LifecycleState::InService {
                return Err(ApiError::validation(format!(
                    "The instance {id} is not in InService or EnteringStandby or Standby."
                )));
            }
        }
        self.note_protection(name, protected);
        self.change(now, name, |group| {
            for instance in group.instances.iter_mut().filter(|i| ids.contains(&i.id)) {
                instance.protected = protected;
            }
        });
        Ok(())
    }

    /// Makes a group and launches its instances.
    ///
    /// # Errors
    /// When its name is taken or illegal, or its sizes contradict each other.
    pub fn create_group(&mut self, now: Now, spec: GroupSpec) -> Result<(), ApiError> {
        let name = spec.name.clone();
        if name.is_empty() || name.chars().count() > 255 || name.contains(':') {
            return Err(ApiError::validation("The Auto Scaling group name is not valid"));
        }
        if self.truth.group(&name).is_some() {
            return Err(ApiError::new(
                400,
                "AlreadyExists",
                format!("AutoScalingGroup by this name already exists - A group with the name {name} already exists"),
            ));
        }
        let desired = spec.desired.unwrap_or(spec.min_size);
        self.note_protection(&name, spec.new_instances_protected);
        check_sizes(spec.min_size, spec.max_size, desired)?;
        let arn = self.arn(&name);
        self.truth.put(Group {
            arn,
            name: name.clone(),
            min_size: spec.min_size,
            max_size: spec.max_size,
            desired,
            new_instances_protected: spec.new_instances_protected,
            instances: Vec::new(),
            tags: spec.tags,
            suspended_processes: spec.suspended_processes,
            weighted: spec.weighted,
            warm_pool: spec.warm_pool,
        });
        if spec.warm_size > 0 {
            self.warm.insert(name.clone(), WarmPoolModel::new(spec.warm_size));
        }
        if let Some(hook) = spec.launch_hook {
            self.hooks.insert(name.clone(), hook);
        }
        self.change(now, &name, |_| ());
        Ok(())
    }

    /// Changes a group's settings. Desired capacity follows the bounds when they pass it.
    ///
    /// # Errors
    /// When there is no such group, or the sizes contradict each other.
    pub fn update_group(&mut self, now: Now, change: &GroupChange) -> Result<(), ApiError> {
        let group = self.group_or_error(&change.name)?;
        let min = change.min_size.unwrap_or(group.min_size);
        let max = change.max_size.unwrap_or(group.max_size);
        let desired = change.desired.unwrap_or_else(|| group.desired.max(min).min(max));
        check_sizes(min, max, desired)?;
        self.note_protection(&change.name, change.new_instances_protected.unwrap_or(true));
        self.change(now, &change.name, |group| {
            group.min_size = min;
            group.max_size = max;
            group.desired = desired;
            if let Some(protected) = change.new_instances_protected {
                group.new_instances_protected = protected;
            }
        });
        Ok(())
    }

    /// Deletes a group.
    ///
    /// # Errors
    /// When there is no such group, or it has instances and `force` is not given.
    pub fn delete_group(&mut self, now: Now, name: &str, force: bool) -> Result<(), ApiError> {
        let group = self.group_or_error(name)?;
        let ids: Vec<ShortText> = group.instances.iter().map(|i| i.id.clone()).collect();
        if !ids.is_empty() && !force {
            return Err(ApiError::new(
                400,
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance \
                 request(s) still in the group.",
            ));
        }
        for id in ids {
            self.start_termination(now.mono, name, &id, Cause::GroupDeleted);
            self.homes.remove(&id);
            self.events.push(AwsEvent::InstanceGone { group: name.into(), id });
        }
        self.room.remove(name);
        self.warm.remove(name);
        self.hooks.remove(name);
        self.truth.remove(name);
        self.publish(now.mono, name);
        Ok(())
    }

    /// Sets tags, each on its group; a tag of the same key is replaced.
    ///
    /// # Errors
    /// When a group does not exist; then no tag is set.
    pub fn set_tags(&mut self, now: Now, tags: &[GroupTag]) -> Result<(), ApiError> {
        self.retag(now, tags, |group, wanted| match group.tags.iter_mut().find(|tag| tag.key == wanted.tag.key) {
            Some(tag) => tag.value.clone_from(&wanted.tag.value),
            None => group.tags.push(wanted.tag.clone()),
        })
    }

    /// Removes tags, each from its group.
    ///
    /// # Errors
    /// When a group does not exist; then no tag is removed.
    pub fn delete_tags(&mut self, now: Now, tags: &[GroupTag]) -> Result<(), ApiError> {
        self.retag(now, tags, |group, unwanted| {
            group.tags.retain(|tag| tag.key != unwanted.tag.key);
        })
    }

    fn retag(&mut self, now: Now, tags: &[GroupTag], apply: impl Fn(&mut Group, &GroupTag)) -> Result<(), ApiError> {
        for tag in tags {
            self.group_or_error(&tag.group)?;
        }
        for tag in tags {
            let Some(mut group) = self.truth.group(&tag.group).cloned() else { continue };
            apply(&mut group, tag);
            self.truth.put(group);
            self.publish(now.mono, &tag.group);
        }
        Ok(())
    }

    /// Suspends processes of a group; none named: all.
    ///
    /// # Errors
    /// When there is no such group or process.
    pub fn suspend(&mut self, now: Now, name: &str, processes: &[ShortText]) -> Result<(), ApiError> {
        self.group_or_error(name)?;
        let processes = process_names(processes)?;
        self.change(now, name, |group| {
            for process in processes {
                if !group.suspended_processes.contains(&process) {
                    group.suspended_processes.push(process);
                }
            }
        });
        Ok(())
    }

    /// Resumes processes of a group; none named: all.
    ///
    /// # Errors
    /// When there is no such group or process.
    pub fn resume(&mut self, now: Now, name: &str, processes: &[ShortText]) -> Result<(), ApiError> {
        self.group_or_error(name)?;
        let processes = process_names(processes)?;
        self.change(now, name, |group| {
            group.suspended_processes.retain(|process| !processes.contains(process));
        });
        Ok(())
    }

    /// Lets AWS have room for no more than this many instances of a group; `None`: for all it asks for.
    pub fn set_room(&mut self, now: Now, name: &str, room: Option<u32>) {
        match room {
            Some(room) => self.room.insert(name.into(), room),
            None => self.room.remove(name),
        };
        self.change(now, name, |_| ());
    }

    /// A machine dies on its own: it stays `InService` until the health check finds it, and is then replaced.
    pub fn fail_instance(&mut self, now: Now, id: &str) {
        let Some(name) = self.homes.get(id).cloned() else { return };
        self.schedule(now.mono + self.config.health_check, &name, id, Step::HealthCheck);
    }

    /// AWS takes the Spot capacity of an instance back, and the group launches another.
    pub fn reclaim(&mut self, now: Now, id: &str) {
        let Some(name) = self.homes.get(id).cloned() else { return };
        self.start_termination(now.mono, &name, id, Cause::Reclaimed);
        self.change(now, &name, |_| ());
    }

    /// Leaves a group out of every describe, although it exists, or shows it again.
    pub fn hide(&mut self, name: &str, hidden: bool) {
        if hidden {
            self.hidden.insert(name.into());
        } else {
            self.hidden.remove(name);
        }
    }

    /// Shows every group again.
    pub fn show_all(&mut self) {
        self.hidden.clear();
    }

    /// Lets so many of a hundred instances fail while they boot.
    pub const fn set_failed_boots(&mut self, percent: u64) {
        self.config.failed_boot_percent = percent;
    }

    /// Changes the account's rate of calls; `None`: unlimited.
    pub fn set_rate(&mut self, rate: Option<Rate>) {
        self.bucket = rate.map(Bucket::new);
    }

    /// Protects every instance of a group from scale-in, or releases them.
    pub fn protect_all(&mut self, now: Now, name: &str, protected: bool) {
        self.note_protection(name, protected);
        self.change(now, name, |group| {
            for instance in group.instances.iter_mut().filter(|i| i.state == LifecycleState::InService) {
                instance.protected = protected;
            }
        });
    }

    fn note_protection(&mut self, name: &str, protected: bool) {
        if !protected {
            self.released.insert(name.into());
        }
    }

    fn change(&mut self, now: Now, name: &str, apply: impl FnOnce(&mut Group)) {
        if let Some(group) = self.truth.group_mut(name) {
            apply(group);
            self.reconcile(now.mono, name);
            self.publish(now.mono, name);
        }
    }

    fn group_or_error(&self, name: &str) -> Result<&Group, ApiError> {
        self.truth.group(name).ok_or_else(|| ApiError::no_group(name))
    }

    fn arn(&mut self, name: &str) -> String {
        let uuid = self.uuid();
        let (region, account) = (&self.config.region, &self.config.account);
        format!("arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{uuid}:autoScalingGroupName/{name}")
    }

    /// A fresh id in the form of a UUID.
    pub(crate) fn uuid(&mut self) -> String {
        uuid(self.rng.next(), self.rng.next())
    }
}

fn check_sizes(min: u32, max: u32, desired: u32) -> Result<(), ApiError> {
    if max > LARGEST_GROUP {
        return Err(ApiError::validation(format!("MaxSize {max} is above {LARGEST_GROUP}")));
    }
    if min > max {
        return Err(ApiError::validation(format!(
            "Max bound, {max}, must be greater than or equal to min bound, {min}"
        )));
    }
    if !(min..=max).contains(&desired) {
        return Err(ApiError::validation(format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
        )));
    }
    Ok(())
}

fn process_names(named: &[ShortText]) -> Result<Vec<ShortText>, ApiError> {
    if named.is_empty() {
        return Ok(PROCESSES.iter().map(|process| (*process).into()).collect());
    }
    if let Some(unknown) = named.iter().find(|name| !PROCESSES.contains(&name.as_str())) {
        return Err(ApiError::validation(format!("Process type not found - {unknown}")));
    }
    Ok(named.to_vec())
}

pub(super) fn name_of_token(token: &str) -> Result<ShortText, ApiError> {
    let bytes = STANDARD.decode(token).ok();
    bytes
        .and_then(|bytes| ShortText::from_utf8(bytes).ok())
        .ok_or_else(|| ApiError::new(400, "InvalidNextToken", "The NextToken value is not valid."))
}
