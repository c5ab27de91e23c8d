//! Replies of the query protocol.

use poolkeeper_core::aws::{Group, Instance};

use super::xml::Xml;
use crate::aws::ApiError;
use crate::aws::action::Outcome;
use crate::http::HttpResponse;

const NAMESPACE: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
/// About what one group of a few instances takes.
const BYTES_A_GROUP: usize = 4096;

pub(crate) fn success(action: &str, outcome: &Outcome<'_>, request_id: &str) -> HttpResponse {
    let groups = match outcome {
        Outcome::Groups { groups, .. } => groups.len(),
        Outcome::WarmMembers { members, .. } => members.len(),
        Outcome::Done | Outcome::Terminating { .. } => 0,
    };
    let mut xml = Xml::with_capacity((groups + 1) * BYTES_A_GROUP);
    xml.root(&format!("{action}Response"), Some(NAMESPACE), |xml| {
        result(xml, action, outcome);
        xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
    });
    response(200, xml, request_id)
}

pub(crate) fn failure(error: &ApiError, request_id: &str) -> HttpResponse {
    let at_fault = if error.status >= 500 { "Receiver" } else { "Sender" };
    let mut xml = Xml::with_capacity(BYTES_A_GROUP);
    xml.root("ErrorResponse", Some(NAMESPACE), |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", at_fault);
            xml.text("Code", error.code);
            xml.text("Message", &error.message);
        });
        xml.text("RequestId", request_id);
    });
    response(error.status, xml, request_id)
}

fn response(status: u16, xml: Xml, request_id: &str) -> HttpResponse {
    HttpResponse {
        status,
        headers: vec![
            ("content-type".into(), "text/xml".into()),
            ("x-amzn-requestid".into(), request_id.to_owned().into()),
        ],
        body: xml.into_bytes(),
    }
}

fn result(xml: &mut Xml, action: &str, outcome: &Outcome<'_>) {
    let name = format!("{action}Result");
    match outcome {
        Outcome::Groups { groups, next_token } => xml.element(&name, |xml| {
            if let Some(token) = next_token {
                xml.text("NextToken", token);
            }
            xml.list("AutoScalingGroups", groups, |xml, each| group(xml, each));
        }),
        Outcome::WarmMembers { members, next_token } => xml.element(&name, |xml| {
            if let Some(token) = next_token {
                xml.text("NextToken", token);
            }
            xml.list("Instances", members, |xml, member| {
                xml.text("InstanceId", &member.id);
                xml.text("InstanceType", "m7i.large");
                xml.text("AvailabilityZone", "eu-west-1a");
                xml.text("LifecycleState", &member.state);
                xml.text("HealthStatus", "Healthy");
                xml.element("LaunchTemplate", launch_template);
                xml.text("ProtectedFromScaleIn", "false");
            });
        }),
        Outcome::Terminating { group, id } => xml.element(&name, |xml| activity(xml, group, id)),
        Outcome::Done if matches!(action, "SetInstanceProtection" | "CompleteLifecycleAction") => {
            xml.element(&name, |_| ());
        }
        Outcome::Done => (),
    }
}

fn group(xml: &mut Xml, group: &Group) {
    sizes(xml, group);
    xml.list("Instances", &group.instances, |xml, each| instance(xml, each, group));
    xml.list("Tags", &group.tags, |xml, tag| {
        xml.text("ResourceType", "auto-scaling-group");
        xml.text("ResourceId", &group.name);
        xml.text("PropagateAtLaunch", "false");
        xml.text("Value", &tag.value);
        xml.text("Key", &tag.key);
    });
    xml.list("SuspendedProcesses", &group.suspended_processes, |xml, process| {
        xml.text("ProcessName", process);
        xml.text("SuspensionReason", "User suspended");
    });
    if let Some(pool) = &group.warm_pool {
        xml.element("WarmPoolConfiguration", |xml| {
            xml.text("MinSize", "0");
            xml.text("PoolState", "Stopped");
            xml.element("InstanceReusePolicy", |xml| {
                xml.text("ReuseOnScaleIn", flag(pool.reuse_on_scale_in));
            });
        });
    }
    if group.weighted {
        weights(xml);
    } else {
        xml.element("LaunchTemplate", launch_template);
    }
}

/// What a group is, its lists aside.
fn sizes(xml: &mut Xml, group: &Group) {
    xml.text("AutoScalingGroupName", &group.name);
    xml.text("AutoScalingGroupARN", &group.arn);
    xml.text("MinSize", &group.min_size.to_string());
    xml.text("MaxSize", &group.max_size.to_string());
    xml.text("DesiredCapacity", &group.desired.to_string());
    xml.text("NewInstancesProtectedFromScaleIn", flag(group.new_instances_protected));
    xml.text("DefaultCooldown", "300");
    xml.list("AvailabilityZones", ["a", "b", "c"], |xml, zone| xml.escape(&zone_of(group, zone)));
    xml.element("LoadBalancerNames", |_| ());
    xml.element("TargetGroupARNs", |_| ());
    xml.text("HealthCheckType", "EC2");
    xml.text("HealthCheckGracePeriod", "0");
    xml.text("CreatedTime", "2026-01-01T00:00:00.000Z");
    xml.element("EnabledMetrics", |_| ());
    xml.list("TerminationPolicies", ["Default"], |xml, policy| xml.escape(policy));
    xml.text("VPCZoneIdentifier", "subnet-0a1b2c3d4e5f60718");
    xml.element("TrafficSources", |_| ());
    xml.text("CapacityRebalance", "false");
}

fn instance(xml: &mut Xml, instance: &Instance, group: &Group) {
    xml.text("InstanceId", &instance.id);
    xml.text("InstanceType", "m7i.large");
    xml.text("AvailabilityZone", &zone_of(group, "a"));
    let state = if instance.waits { "Pending:Wait" } else { instance.state.as_str() };
    xml.text("LifecycleState", state);
    xml.text("HealthStatus", if instance.healthy { "Healthy" } else { "Unhealthy" });
    xml.element("LaunchTemplate", launch_template);
    xml.text("ProtectedFromScaleIn", flag(instance.protected));
}

fn launch_template(xml: &mut Xml) {
    xml.text("LaunchTemplateId", "lt-0123456789abcdef0");
    xml.text("LaunchTemplateName", "runner");
    xml.text("Version", "1");
}

fn weights(xml: &mut Xml) {
    xml.element("MixedInstancesPolicy", |xml| {
        xml.element("LaunchTemplate", |xml| {
            xml.element("LaunchTemplateSpecification", launch_template);
            xml.list("Overrides", [("m7i.large", "1"), ("m7i.xlarge", "2")], |xml, (kind, weight)| {
                xml.text("InstanceType", kind);
                xml.text("WeightedCapacity", weight);
            });
        });
    });
}

fn activity(xml: &mut Xml, group: &str, id: &str) {
    xml.element("Activity", |xml| {
        xml.text("ActivityId", &format!("terminate-{id}"));
        xml.text("AutoScalingGroupName", group);
        xml.text("Description", &format!("Terminating EC2 instance: {id}"));
        xml.text("Cause", "An instance was taken out of service in response to a user request.");
        xml.text("StartTime", "2026-01-01T00:00:00.000Z");
        xml.text("StatusCode", "InProgress");
        xml.text("Progress", "0");
    });
}

/// The zone of the region that the group's ARN names.
fn zone_of(group: &Group, zone: &str) -> String {
    format!("{}{zone}", group.arn.split(':').nth(3).unwrap_or_default())
}

const fn flag(set: bool) -> &'static str {
    if set { "true" } else { "false" }
}
