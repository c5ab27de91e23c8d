//! Requests as `aws-sdk-autoscaling` writes them, and replies as AWS documents them.

use poolkeeper_core::time::{Instant, Now};

use super::*;
use crate::aws::AwsConfig;

const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/autoscaling/aws4_request, \
    SignedHeaders=content-type;host;x-amz-date, \
    Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";

fn now() -> Now {
    Now { mono: Instant::from_millis(1000), unix_ms: 1_767_225_600_000 }
}

fn request(body: &str) -> HttpRequest {
    let header = |name: &'static str, value: &'static str| (name.into(), value.into());
    HttpRequest {
        method: "POST".into(),
        origin: "http://127.0.0.1:1".to_owned(),
        target: "/".to_owned(),
        headers: vec![header("authorization", AUTHORIZATION), header("x-amz-date", "20260101T000000Z")],
        body: body.as_bytes().to_vec(),
    }
}

fn ask(aws: &mut Aws, body: &str) -> (u16, String) {
    let reply = serve(aws, now(), &request(&format!("{body}&Version=2011-01-01")));
    (reply.status, String::from_utf8(reply.body).unwrap())
}

fn aws() -> Aws {
    let mut aws = Aws::new(AwsConfig::default(), 7);
    let (status, body) = ask(
        &mut aws,
        "Action=CreateAutoScalingGroup&AutoScalingGroupName=ci+%26+%3Cweb%3E&MinSize=0&MaxSize=4\
         &NewInstancesProtectedFromScaleIn=true&Tags.member.1.Key=runs-on-stack&Tags.member.1.Value=prod",
    );
    assert_eq!(status, 200, "{body}");
    aws
}

fn error_code(body: &str) -> &str {
    body.split_once("<Code>").unwrap().1.split_once("</Code>").unwrap().0
}

#[test]
fn a_write_answers_with_its_metadata_alone() {
    let mut aws = aws();
    let (status, body) = ask(
        &mut aws,
        "Action=SetDesiredCapacity&AutoScalingGroupName=ci+%26+%3Cweb%3E&DesiredCapacity=2&HonorCooldown=false",
    );
    assert_eq!(status, 200);
    let (head, tail) = body.split_once("<RequestId>").unwrap();
    assert_eq!(
        head,
        "<SetDesiredCapacityResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><ResponseMetadata>"
    );
    assert!(tail.ends_with("</RequestId></ResponseMetadata></SetDesiredCapacityResponse>"), "{tail}");
    assert_eq!(aws.group("ci & <web>").unwrap().desired, 2);
}

#[test]
fn a_describe_shows_escaped_names_tags_and_instances() {
    let mut aws = aws();
    ask(&mut aws, "Action=SetDesiredCapacity&AutoScalingGroupName=ci+%26+%3Cweb%3E&DesiredCapacity=1");
    let (status, body) = ask(
        &mut aws,
        "Action=DescribeAutoScalingGroups&Filters.member.1.Name=tag%3Aruns-on-stack\
         &Filters.member.1.Values.member.1=prod&MaxRecords=100",
    );
    assert_eq!(status, 200);
    for part in [
        "<DescribeAutoScalingGroupsResult><AutoScalingGroups><member>",
        "<AutoScalingGroupName>ci &amp; &lt;web&gt;</AutoScalingGroupName>",
        "<DesiredCapacity>1</DesiredCapacity>",
        "<LifecycleState>Pending</LifecycleState>",
        "<Value>prod</Value><Key>runs-on-stack</Key>",
        "<LoadBalancerNames/>",
        "</AutoScalingGroups></DescribeAutoScalingGroupsResult><ResponseMetadata><RequestId>",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    assert!(!body.contains("NextToken"));
}

#[test]
fn pages_follow_each_other_until_the_last() {
    let mut aws = Aws::new(AwsConfig::default(), 7);
    for n in 0..5 {
        let create = format!("Action=CreateAutoScalingGroup&AutoScalingGroupName=g{n}&MinSize=0&MaxSize=1");
        ask(&mut aws, &create);
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    for _ in 0..3 {
        let page = format!("Action=DescribeAutoScalingGroups&MaxRecords=2&NextToken={token}");
        let (_, body) = ask(&mut aws, &page);
        let names = body.split("<AutoScalingGroupName>").skip(1);
        seen.extend(names.map(|rest| rest.split_once('<').unwrap().0.to_owned()));
        token = match body.split_once("<NextToken>") {
            Some((_, rest)) => rest.split_once('<').unwrap().0.replace('=', "%3D").replace('+', "%2B"),
            None => String::new(),
        };
    }
    assert_eq!(seen, ["g0", "g1", "g2", "g3", "g4"]);
    assert_eq!(token, "");
}

#[test]
fn refusals_have_aws_codes() {
    let mut aws = aws();
    for (body, status, code) in [
        ("Action=FlyToTheMoon", 400, "InvalidAction"),
        ("AutoScalingGroupName=x", 400, "MissingAction"),
        ("Action=SetDesiredCapacity&AutoScalingGroupName=x&DesiredCapacity=1", 400, "ValidationError"),
        ("Action=SetDesiredCapacity&AutoScalingGroupName=ci+%26+%3Cweb%3E&DesiredCapacity=5", 400, "ValidationError"),
        ("Action=SetDesiredCapacity&AutoScalingGroupName=x", 400, "ValidationError"),
        ("Action=SetDesiredCapacity&AutoScalingGroupName=x&DesiredCapacity=-1", 400, "MalformedInput"),
        ("Action=DescribeAutoScalingGroups&MaxRecords=101", 400, "ValidationError"),
        ("Action=DescribeAutoScalingGroups&NextToken=%25", 400, "InvalidNextToken"),
        ("Action=DescribeAutoScalingGroups&Filters.member.1.Name=color", 400, "ValidationError"),
        (
            "Action=TerminateInstanceInAutoScalingGroup&InstanceId=i-0&ShouldDecrementDesiredCapacity=true",
            400,
            "ValidationError",
        ),
        (
            "Action=CreateAutoScalingGroup&AutoScalingGroupName=ci+%26+%3Cweb%3E&MinSize=0&MaxSize=1",
            400,
            "AlreadyExists",
        ),
    ] {
        let (got, reply) = ask(&mut aws, body);
        assert_eq!((got, error_code(&reply)), (status, code), "{body}");
        assert!(reply.contains("<Error><Type>Sender</Type>"), "{reply}");
    }
}

#[test]
fn unsigned_and_badly_signed_requests_are_refused() {
    let mut aws = aws();
    let other_region = AUTHORIZATION.replace("eu-west-1", "us-east-1");
    let other_service = AUTHORIZATION.replace("autoscaling", "ec2");
    let no_signature = AUTHORIZATION.replace("Signature=5d67", "Signature=xyz");
    for (authorization, status, code) in [
        (None, 403, "MissingAuthenticationToken"),
        (Some("Bearer x"), 400, "IncompleteSignature"),
        (Some("AWS4-HMAC-SHA256 Credential=x"), 400, "IncompleteSignature"),
        (Some(other_region.as_str()), 403, "SignatureDoesNotMatch"),
        (Some(other_service.as_str()), 403, "SignatureDoesNotMatch"),
        (Some(no_signature.as_str()), 403, "SignatureDoesNotMatch"),
    ] {
        let mut asked = request("Action=DescribeAutoScalingGroups&Version=2011-01-01");
        asked.headers.retain(|(name, _)| name != "authorization");
        if let Some(value) = authorization {
            asked.headers.push(("authorization".into(), value.to_owned().into()));
        }
        let reply = serve(&mut aws, now(), &asked);
        let body = String::from_utf8(reply.body).unwrap();
        assert_eq!((reply.status, error_code(&body)), (status, code), "{authorization:?}");
    }
}

#[test]
fn weights_show_in_the_mixed_instances_policy() {
    let mut aws = Aws::new(AwsConfig::default(), 7);
    ask(
        &mut aws,
        "Action=CreateAutoScalingGroup&AutoScalingGroupName=w&MinSize=0&MaxSize=1\
         &MixedInstancesPolicy.LaunchTemplate.Overrides.member.1.InstanceType=m5.large\
         &MixedInstancesPolicy.LaunchTemplate.Overrides.member.1.WeightedCapacity=2",
    );
    assert!(aws.group("w").unwrap().weighted);
    let (_, body) = ask(&mut aws, "Action=DescribeAutoScalingGroups");
    assert!(body.contains("<WeightedCapacity>2</WeightedCapacity>"), "{body}");
}

#[test]
fn server_errors_are_the_receivers() {
    let reply = error_reply(503, "ServiceUnavailable", "try again");
    assert_eq!(reply.status, 503);
    assert!(String::from_utf8(reply.body).unwrap().contains("<Type>Receiver</Type>"));
}
