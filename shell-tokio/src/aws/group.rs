//! Groups as the SDK shows them, as the core wants them.

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance as SdkInstance, MixedInstancesPolicy, TagDescription};
use poolkeeper_core::aws::{AwsError, Group, Instance, LifecycleState, Tag, WarmMember, WarmPool};
use poolkeeper_core::short_text::ShortText;

const UNITS: &str = "units";
const HEALTHY: &str = "healthy";
/// The lifecycle state of an instance that a launch hook holds.
const HELD: &str = "Pending:Wait";

pub(super) fn group(sdk: AutoScalingGroup) -> Result<Group, AwsError> {
    let name = sdk.auto_scaling_group_name.unwrap_or_default();
    let arn = sdk.auto_scaling_group_arn.unwrap_or_default();
    if name.is_empty() || arn.is_empty() {
        return Err(misbehaved("a group without name or ARN".to_owned()));
    }
    let size = |what: &str, value: Option<i32>| {
        value
            .and_then(|size| u32::try_from(size).ok())
            .ok_or_else(|| misbehaved(format!("group {name} has no usable {what}")))
    };
    let min_size = size("MinSize", sdk.min_size)?;
    let max_size = size("MaxSize", sdk.max_size)?;
    let desired = size("DesiredCapacity", sdk.desired_capacity)?;
    let typed = sdk.desired_capacity_type.is_some_and(|kind| kind != UNITS);
    let weighted = typed || sdk.mixed_instances_policy.as_ref().is_some_and(has_weights);
    Ok(Group {
        min_size,
        max_size,
        desired,
        new_instances_protected: sdk.new_instances_protected_from_scale_in.unwrap_or(false),
        instances: sdk.instances.unwrap_or_default().into_iter().map(instance).collect(),
        tags: sdk.tags.unwrap_or_default().into_iter().map(tag).collect(),
        suspended_processes: sdk
            .suspended_processes
            .unwrap_or_default()
            .into_iter()
            .filter_map(|process| process.process_name.map(Into::into))
            .collect(),
        weighted,
        warm_pool: sdk.warm_pool_configuration.map(|pool| WarmPool {
            reuse_on_scale_in: pool.instance_reuse_policy.and_then(|policy| policy.reuse_on_scale_in).unwrap_or(false),
        }),
        arn,
        name: name.into(),
    })
}

fn has_weights(policy: &MixedInstancesPolicy) -> bool {
    policy.launch_template().is_some_and(|t| t.overrides().iter().any(|o| o.weighted_capacity().is_some()))
}

fn instance(sdk: SdkInstance) -> Instance {
    let state = sdk.lifecycle_state.map(|state| ShortText::from(state.as_str())).unwrap_or_default();
    Instance {
        waits: state == HELD,
        id: sdk.instance_id.unwrap_or_default().into(),
        state: LifecycleState::from(state),
        healthy: sdk.health_status.is_some_and(|health| health.eq_ignore_ascii_case(HEALTHY)),
        protected: sdk.protected_from_scale_in.unwrap_or(false),
    }
}

/// A member of a warm pool; one without an id is none.
pub(super) fn warm_member(sdk: SdkInstance) -> Option<WarmMember> {
    let state = sdk.lifecycle_state.map(|state| ShortText::from(state.as_str())).unwrap_or_default();
    Some(WarmMember { id: sdk.instance_id?.into(), state })
}

fn tag(sdk: TagDescription) -> Tag {
    Tag { key: sdk.key.unwrap_or_default().into(), value: sdk.value.unwrap_or_default().into() }
}

fn misbehaved(message: String) -> AwsError {
    AwsError::Misbehaved { message }
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::{
        InstanceReusePolicy, LaunchTemplate, LaunchTemplateOverrides, SuspendedProcess, WarmPoolConfiguration,
    };

    use super::*;

    fn sdk() -> aws_sdk_autoscaling::types::builders::AutoScalingGroupBuilder {
        AutoScalingGroup::builder()
            .auto_scaling_group_name("ci-linux")
            .auto_scaling_group_arn("arn:ci-linux")
            .min_size(0)
            .max_size(5)
            .desired_capacity(2)
    }

    fn overrides(weight: Option<&str>) -> MixedInstancesPolicy {
        let entry = LaunchTemplateOverrides::builder()
            .instance_type("m5.large")
            .set_weighted_capacity(weight.map(str::to_owned))
            .build();
        MixedInstancesPolicy::builder().launch_template(LaunchTemplate::builder().overrides(entry).build()).build()
    }

    #[test]
    fn every_part_the_core_uses_is_carried_over() {
        let pool = WarmPoolConfiguration::builder()
            .instance_reuse_policy(InstanceReusePolicy::builder().reuse_on_scale_in(true).build())
            .build();
        let member = SdkInstance::builder()
            .instance_id("i-1")
            .lifecycle_state("InService".into())
            .health_status("HEALTHY")
            .protected_from_scale_in(true)
            .build();

        let group = group(
            sdk()
                .new_instances_protected_from_scale_in(true)
                .instances(member)
                .tags(TagDescription::builder().key("k").value("v").build())
                .suspended_processes(SuspendedProcess::builder().process_name("Launch").build())
                .warm_pool_configuration(pool)
                .build(),
        )
        .unwrap();

        assert_eq!((group.min_size, group.max_size, group.desired), (0, 5, 2));
        assert!(group.new_instances_protected && !group.weighted);
        assert_eq!(
            group.instances,
            [Instance {
                id: "i-1".into(),
                state: LifecycleState::InService,
                healthy: true,
                protected: true,
                waits: false
            }]
        );
        assert_eq!(group.tags, [Tag { key: "k".into(), value: "v".into() }]);
        assert_eq!(group.suspended_processes, ["Launch"]);
        assert_eq!(group.warm_pool, Some(WarmPool { reuse_on_scale_in: true }));
    }

    #[test]
    fn weights_and_other_units_make_a_group_weighted() {
        let weighted = |sdk: AutoScalingGroup| group(sdk).unwrap().weighted;

        assert!(weighted(sdk().mixed_instances_policy(overrides(Some("2"))).build()));
        assert!(!weighted(sdk().mixed_instances_policy(overrides(None)).build()));
        assert!(weighted(sdk().desired_capacity_type("vcpu").build()));
        assert!(!weighted(sdk().desired_capacity_type("units").build()));
    }

    #[test]
    fn an_unknown_lifecycle_state_is_kept() {
        let member = SdkInstance::builder().instance_id("i-1").lifecycle_state("Hovering".into()).build();

        let group = group(sdk().instances(member).build()).unwrap();

        assert_eq!(group.instances[0].state, LifecycleState::Other("Hovering".into()));
    }

    #[test]
    fn a_group_without_sizes_is_the_peers_fault() {
        let error = group(sdk().set_max_size(None).build()).unwrap_err();

        assert!(matches!(error, AwsError::Misbehaved { message } if message.contains("MaxSize")));
    }
}
