//! Groups and instances as replies show them, as the core wants them.

use poolkeeper_core::aws::{AwsError, AwsReply, Group, Instance, LifecycleState, Tag, WarmMember, WarmPool};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_shell::aws::query::xml;

const UNITS: &str = "units";
const HEALTHY: &str = "healthy";
/// The lifecycle state of an instance that a launch hook holds.
const HELD: &str = "Pending:Wait";

/// Reads a page of `DescribeAutoScalingGroups`.
///
/// # Errors
/// When it does not parse, or a group lacks what every group has.
pub(super) fn groups(body: &str, action: &str) -> Result<AwsReply, AwsError> {
    let (mut groups, mut next_token) = (Vec::new(), None);
    let mut group = Draft::default();
    xml::listing(body, action, |path, text| {
        match path {
            [_, "DescribeAutoScalingGroupsResult", "NextToken"] if !text.is_empty() => {
                next_token = Some(text.to_owned());
            }
            [_, _, "AutoScalingGroups", "member"] => groups.push(std::mem::take(&mut group).finish()?),
            [_, _, "AutoScalingGroups", "member", inner @ ..] => group.absorb(inner, text),
            _ => {}
        }
        Ok(())
    })?;
    Ok(AwsReply::Groups { groups, next_token })
}

/// Reads a page of `DescribeWarmPool`.
///
/// # Errors
/// When it does not parse.
pub(super) fn warm_members(body: &str, action: &str) -> Result<AwsReply, AwsError> {
    let (mut members, mut next_token) = (Vec::new(), None);
    let mut member = WarmMember::default();
    xml::listing(body, action, |path, text| {
        match path {
            [_, "DescribeWarmPoolResult", "NextToken"] if !text.is_empty() => next_token = Some(text.to_owned()),
            [_, _, "Instances", "member", "InstanceId"] => member.id = text.into(),
            [_, _, "Instances", "member", "LifecycleState"] => member.state = text.into(),
            [_, _, "Instances", "member"] => {
                members.extend(Some(std::mem::take(&mut member)).filter(|member| !member.id.is_empty()));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(AwsReply::WarmMembers { members, next_token })
}

/// A group of which not all has been read.
#[derive(Default)]
struct Draft {
    group: Group,
    min_size: Option<u32>,
    max_size: Option<u32>,
    desired: Option<u32>,
    instance: InstanceDraft,
    tag: Tag,
}

#[derive(Default)]
struct InstanceDraft {
    id: ShortText,
    state: ShortText,
    healthy: bool,
    protected: bool,
}

impl Draft {
    fn absorb(&mut self, path: &[&str], text: &str) {
        let group = &mut self.group;
        match path {
            ["AutoScalingGroupName"] => group.name = text.into(),
            ["AutoScalingGroupARN"] => text.clone_into(&mut group.arn),
            ["MinSize"] => self.min_size = text.trim().parse().ok(),
            ["MaxSize"] => self.max_size = text.trim().parse().ok(),
            ["DesiredCapacity"] => self.desired = text.trim().parse().ok(),
            ["DesiredCapacityType"] => group.weighted |= text != UNITS,
            ["NewInstancesProtectedFromScaleIn"] => group.new_instances_protected = is_true(text),
            ["MixedInstancesPolicy", "LaunchTemplate", "Overrides", "member", "WeightedCapacity"] => {
                group.weighted = true;
            }
            ["SuspendedProcesses", "member", "ProcessName"] => group.suspended_processes.push(text.into()),
            ["WarmPoolConfiguration"] => {
                group.warm_pool.get_or_insert_default();
            }
            ["WarmPoolConfiguration", "InstanceReusePolicy", "ReuseOnScaleIn"] => {
                group.warm_pool = Some(WarmPool { reuse_on_scale_in: is_true(text) });
            }
            ["Tags", "member", "Key"] => self.tag.key = text.into(),
            ["Tags", "member", "Value"] => self.tag.value = text.into(),
            ["Tags", "member"] => group.tags.push(std::mem::take(&mut self.tag)),
            ["Instances", "member"] => group.instances.push(std::mem::take(&mut self.instance).finish()),
            ["Instances", "member", inner] => self.instance.absorb(inner, text),
            _ => {}
        }
    }

    fn finish(self) -> Result<Group, AwsError> {
        let Self { group, min_size, max_size, desired, .. } = self;
        if group.name.is_empty() || group.arn.is_empty() {
            return Err(misbehaved("a group without name or ARN".to_owned()));
        }
        let size = |what: &str, value: Option<u32>| {
            value.ok_or_else(|| misbehaved(format!("group {} has no usable {what}", group.name)))
        };
        let min_size = size("MinSize", min_size)?;
        let max_size = size("MaxSize", max_size)?;
        let desired = size("DesiredCapacity", desired)?;
        Ok(Group { min_size, max_size, desired, ..group })
    }
}

impl InstanceDraft {
    fn absorb(&mut self, name: &str, text: &str) {
        match name {
            "InstanceId" => self.id = text.into(),
            "LifecycleState" => self.state = text.into(),
            "HealthStatus" => self.healthy = text.eq_ignore_ascii_case(HEALTHY),
            "ProtectedFromScaleIn" => self.protected = is_true(text),
            _ => {}
        }
    }

    fn finish(self) -> Instance {
        let Self { id, state, healthy, protected } = self;
        Instance { waits: state == HELD, id, state: LifecycleState::from(state), healthy, protected }
    }
}

fn is_true(text: &str) -> bool {
    text.trim() == "true"
}

fn misbehaved(message: String) -> AwsError {
    AwsError::Misbehaved { message }
}

#[cfg(test)]
mod tests;
