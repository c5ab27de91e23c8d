//! What the core is told of a group.

use super::*;

const SIZES: &str = "<MinSize>0</MinSize><MaxSize>5</MaxSize><DesiredCapacity>2</DesiredCapacity>";

fn read(body: &str) -> Result<AwsReply, AwsError> {
    groups(body, "DescribeAutoScalingGroups")
}

fn page(inner: &str) -> String {
    format!(
        "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
         <DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
         <AutoScalingGroupName>ci-linux</AutoScalingGroupName><AutoScalingGroupARN>arn:ci-linux</AutoScalingGroupARN>\
         {inner}</member></AutoScalingGroups><NextToken>more&amp;more</NextToken></DescribeAutoScalingGroupsResult>\
         <ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></DescribeAutoScalingGroupsResponse>"
    )
}

fn group(inner: &str) -> Group {
    let Ok(AwsReply::Groups { mut groups, .. }) = read(&page(&format!("{SIZES}{inner}"))) else {
        panic!("a page of groups");
    };
    groups.remove(0)
}

#[test]
fn every_part_the_core_uses_is_carried_over() {
    let group = group(
        "<NewInstancesProtectedFromScaleIn>true</NewInstancesProtectedFromScaleIn>\
         <Instances><member><InstanceId>i-1</InstanceId><LifecycleState>InService</LifecycleState>\
         <HealthStatus>HEALTHY</HealthStatus><ProtectedFromScaleIn>true</ProtectedFromScaleIn>\
         <LaunchTemplate><Version>1</Version></LaunchTemplate></member></Instances>\
         <Tags><member><Key>k</Key><Value>v</Value></member></Tags>\
         <SuspendedProcesses><member><ProcessName>Launch</ProcessName></member></SuspendedProcesses>\
         <WarmPoolConfiguration><InstanceReusePolicy><ReuseOnScaleIn>true</ReuseOnScaleIn></InstanceReusePolicy>\
         </WarmPoolConfiguration>",
    );

    assert_eq!((group.min_size, group.max_size, group.desired), (0, 5, 2));
    assert!(group.new_instances_protected && !group.weighted);
    let state = LifecycleState::InService;
    let wanted = Instance { id: "i-1".into(), state, healthy: true, protected: true, waits: false };
    assert_eq!(group.instances, [wanted]);
    assert_eq!(group.tags, [Tag { key: "k".into(), value: "v".into() }]);
    assert_eq!(group.suspended_processes, ["Launch"]);
    assert_eq!(group.warm_pool, Some(WarmPool { reuse_on_scale_in: true }));
}

#[test]
fn weights_and_other_units_make_a_group_weighted() {
    let weights = "<MixedInstancesPolicy><LaunchTemplate><Overrides><member><WeightedCapacity>2</WeightedCapacity>\
                   </member></Overrides></LaunchTemplate></MixedInstancesPolicy>";

    assert!(group(weights).weighted);
    assert!(!group(&weights.replace("WeightedCapacity", "InstanceType")).weighted);
    assert!(group("<DesiredCapacityType>vcpu</DesiredCapacityType>").weighted);
    assert!(!group("<DesiredCapacityType>units</DesiredCapacityType>").weighted);
}

#[test]
fn a_warm_pool_without_a_policy_is_one() {
    assert_eq!(
        group("<WarmPoolConfiguration><MinSize>1</MinSize></WarmPoolConfiguration>").warm_pool,
        Some(WarmPool::default())
    );
    assert_eq!(group("").warm_pool, None);
}

#[test]
fn the_token_of_the_next_page_is_whole() {
    let Ok(AwsReply::Groups { next_token, .. }) = read(&page(SIZES)) else { panic!("a page of groups") };
    assert_eq!(next_token.as_deref(), Some("more&more"));
}

#[test]
fn a_group_without_sizes_is_the_peers_fault() {
    let error = read(&page("<MinSize>0</MinSize>")).unwrap_err();
    assert!(matches!(error, AwsError::Misbehaved { message } if message.contains("MaxSize")));
}

#[test]
fn members_of_a_warm_pool_are_read() {
    let body = "<DescribeWarmPoolResponse><DescribeWarmPoolResult><Instances><member><InstanceId>i-1</InstanceId>\
                <LifecycleState>Warmed:Stopped</LifecycleState></member><member></member></Instances>\
                </DescribeWarmPoolResult></DescribeWarmPoolResponse>";

    let Ok(AwsReply::WarmMembers { members, next_token }) = warm_members(body, "DescribeWarmPool") else {
        panic!("a page of members")
    };

    assert_eq!(members, [WarmMember { id: "i-1".into(), state: "Warmed:Stopped".into() }]);
    assert_eq!(next_token, None);
}
