//! The AWS query protocol: form-encoded requests in, XML out, as Auto Scaling's API of 2011-01-01 speaks it.
//!
//! See <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/Welcome.html>.

mod auth;
mod form;
mod reply;
mod xml;

use poolkeeper_core::aws::Tag;
use poolkeeper_core::time::Now;

use super::action::{Action, Describe, Filter, GroupChange, GroupTag};
use super::{ApiError, Aws, GroupSpec};
use crate::http::{HttpRequest, HttpResponse};
pub(crate) use auth::check as check_signature;
use form::Form;

const SERVICE: &str = "autoscaling";
/// The version of the API.
const VERSION: &str = "2011-01-01";

/// Serves one request as the endpoint `autoscaling.REGION.amazonaws.com` would.
pub fn serve(aws: &mut Aws, now: Now, request: &HttpRequest) -> HttpResponse {
    let request_id = aws.uuid();
    let answer =
        check_signature(request, SERVICE, &aws.config().region).and_then(|()| Form::parse(request)).and_then(|form| {
            let name = form.action()?;
            let action = read(&name, &form)?;
            let outcome = aws.act(now, action)?;
            Ok(reply::success(&name, &outcome, &request_id))
        });
    answer.unwrap_or_else(|error| reply::failure(&error, &request_id))
}

/// The `Action` a request names, for example `SetDesiredCapacity`.
#[must_use]
pub fn action_name(request: &HttpRequest) -> Option<String> {
    Form::parse(request).ok()?.action().ok()
}

/// The reply that stands for an error of the given status and code, for example 500 and `InternalFailure`.
#[must_use]
pub fn error_reply(status: u16, code: &'static str, message: &str) -> HttpResponse {
    let error = ApiError::new(status, code, message);
    reply::failure(&error, "00000000-0000-4000-8000-000000000000")
}

fn read(name: &str, form: &Form) -> Result<Action, ApiError> {
    let group = || form.name("AutoScalingGroupName");
    Ok(match name {
        "DescribeAutoScalingGroups" => Action::Describe(describe(form)?),
        "SetDesiredCapacity" => {
            Action::SetDesiredCapacity { group: group()?, desired: form.required_number("DesiredCapacity")? }
        }
        "TerminateInstanceInAutoScalingGroup" => Action::Terminate {
            id: form.name("InstanceId")?,
            decrement: form.required_flag("ShouldDecrementDesiredCapacity")?,
        },
        "SetInstanceProtection" => Action::SetProtection {
            group: group()?,
            ids: form.list("InstanceIds"),
            protected: form.required_flag("ProtectedFromScaleIn")?,
        },
        "CompleteLifecycleAction" => Action::CompleteHook {
            group: group()?,
            hook: form.name("LifecycleHookName")?,
            id: form.name("InstanceId")?,
        },
        "DescribeWarmPool" => Action::DescribeWarmPool {
            group: group()?,
            max_records: form.number("MaxRecords")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            next_token: form.text("NextToken"),
        },
        "CreateAutoScalingGroup" => Action::Create(Box::new(group_spec(form)?)),
        "UpdateAutoScalingGroup" => Action::Update(GroupChange {
            name: group()?,
            min_size: form.number("MinSize")?,
            max_size: form.number("MaxSize")?,
            desired: form.number("DesiredCapacity")?,
            new_instances_protected: form.flag("NewInstancesProtectedFromScaleIn")?,
        }),
        "DeleteAutoScalingGroup" => {
            Action::Delete { group: group()?, force: form.flag("ForceDelete")?.unwrap_or(false) }
        }
        "CreateOrUpdateTags" => Action::SetTags(tags(form)?),
        "DeleteTags" => Action::DeleteTags(tags(form)?),
        "SuspendProcesses" => Action::Suspend { group: group()?, processes: form.list("ScalingProcesses") },
        "ResumeProcesses" => Action::Resume { group: group()?, processes: form.list("ScalingProcesses") },
        _ => {
            let message = format!("Could not find operation {name} for version {VERSION}");
            return Err(ApiError::new(400, "InvalidAction", message));
        }
    })
}

fn describe(form: &Form) -> Result<Describe, ApiError> {
    let mut filters = Vec::new();
    for prefix in form.members("Filters") {
        let name = form.required(&format!("{prefix}.Name"))?;
        let values = form.list(&format!("{prefix}.Values"));
        filters.push(match name.as_str() {
            "tag-key" => Filter::TagKey(values),
            "tag-value" => Filter::TagValue(values),
            other => match other.strip_prefix("tag:") {
                Some(key) => Filter::Tag { key: key.into(), values },
                None => {
                    let message = format!(
                        "Filter type {other} is not correct. Allowed Filter types are: tag-key tag-value tag:<key>"
                    );
                    return Err(ApiError::validation(message));
                }
            },
        });
    }
    Ok(Describe {
        names: form.list("AutoScalingGroupNames"),
        filters,
        max_records: form.number("MaxRecords")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        next_token: form.text("NextToken"),
    })
}

fn group_spec(form: &Form) -> Result<GroupSpec, ApiError> {
    let overrides = "MixedInstancesPolicy.LaunchTemplate.Overrides";
    let weights =
        form.members(overrides).iter().any(|prefix| form.text(&format!("{prefix}.WeightedCapacity")).is_some());
    let by_units = form.text("DesiredCapacityType").is_none_or(|kind| kind == "units");
    let name = form.name("AutoScalingGroupName")?;
    let mut tags = Vec::new();
    for prefix in form.members("Tags") {
        tags.push(tag(form, &prefix)?);
    }
    Ok(GroupSpec {
        name,
        min_size: form.required_number("MinSize")?,
        max_size: form.required_number("MaxSize")?,
        desired: form.number("DesiredCapacity")?,
        new_instances_protected: form.flag("NewInstancesProtectedFromScaleIn")?.unwrap_or(false),
        tags,
        suspended_processes: Vec::new(),
        weighted: weights || !by_units,
        warm_pool: None,
        warm_size: 0,
        launch_hook: None,
    })
}

fn tags(form: &Form) -> Result<Vec<GroupTag>, ApiError> {
    let prefixes = form.members("Tags");
    let read = |prefix: &String| {
        let group = form.name(&format!("{prefix}.ResourceId"))?;
        Ok(GroupTag { group, tag: tag(form, prefix)? })
    };
    prefixes.iter().map(read).collect()
}

fn tag(form: &Form, prefix: &str) -> Result<Tag, ApiError> {
    Ok(Tag {
        key: form.name(&format!("{prefix}.Key"))?,
        value: form.text(&format!("{prefix}.Value")).unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests;
