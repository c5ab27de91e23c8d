//! The AWS client against a small server that answers as Auto Scaling does, and as it should not.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use poolkeeper::aws::Aws;
use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, GroupQuery, Instance, LifecycleState, Tag};
use poolkeeper_shell::config::AwsSettings;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(20);
/// Who asks when a call goes through the SDK, and when it takes the shortcut.
const SDK: &str = "user-agent: aws-sdk-rust/";
const SHORTCUT: &str = "user-agent: poolkeeper/";
const GROUPS: &str = r#"<DescribeAutoScalingGroupsResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">
<DescribeAutoScalingGroupsResult><AutoScalingGroups><member>
<AutoScalingGroupName>ci &amp; linux</AutoScalingGroupName>
<AutoScalingGroupARN>arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:x:autoScalingGroupName/ci</AutoScalingGroupARN>
<MinSize>1</MinSize><MaxSize>9</MaxSize><DesiredCapacity>2</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>
<NewInstancesProtectedFromScaleIn>true</NewInstancesProtectedFromScaleIn>
<AvailabilityZones><member>eu-west-1a</member></AvailabilityZones><HealthCheckType>EC2</HealthCheckType>
<CreatedTime>2026-01-01T00:00:00Z</CreatedTime>
<Instances><member><InstanceId>i-1</InstanceId><AvailabilityZone>eu-west-1a</AvailabilityZone>
<LifecycleState>Pending:Wait</LifecycleState><HealthStatus>Healthy</HealthStatus>
<ProtectedFromScaleIn>false</ProtectedFromScaleIn></member></Instances>
<Tags><member><Key>runs-on-stack</Key><Value>prod</Value></member></Tags>
<SuspendedProcesses><member><ProcessName>AZRebalance</ProcessName></member></SuspendedProcesses>
</member></AutoScalingGroups><NextToken>more</NextToken></DescribeAutoScalingGroupsResult>
<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></DescribeAutoScalingGroupsResponse>"#;
const DONE: &str = r#"<SetDesiredCapacityResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">
<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></SetDesiredCapacityResponse>"#;

#[tokio::test]
async fn groups_are_asked_for_by_tag_and_come_as_pages() {
    let mut server = Server::start("200 OK", GROUPS).await;
    let query = GroupQuery::Tagged { key: "runs-on-stack".into(), value: "prod".into() };
    let call = AwsCall::DescribeGroups { query, next_token: Some("page2".into()) };

    let reply = server.call(call).await.unwrap();

    let AwsReply::Groups { groups, next_token } = reply else { panic!("{reply:?}") };
    assert_eq!(next_token.as_deref(), Some("more"));
    let [group] = groups.as_slice() else { panic!("{groups:?}") };
    assert_eq!(group.name, "ci & linux");
    assert_eq!((group.min_size, group.max_size, group.desired), (1, 9, 2));
    assert_eq!(group.tags, [Tag { key: "runs-on-stack".into(), value: "prod".into() }]);
    assert_eq!(group.suspended_processes, ["AZRebalance"]);
    assert_eq!(
        group.instances,
        [Instance { id: "i-1".into(), state: LifecycleState::Pending, healthy: true, protected: false, waits: true }]
    );
    let asked = server.asked().await;
    for part in [
        "Action=DescribeAutoScalingGroups",
        "MaxRecords=100",
        "NextToken=page2",
        "Filters.member.1.Name=tag%3Aruns-on-stack",
        "Filters.member.1.Values.member.1=prod",
        "AWS4-HMAC-SHA256 Credential=",
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
}

#[tokio::test]
async fn groups_are_asked_for_by_name() {
    let mut server = Server::start("200 OK", GROUPS).await;
    let query = GroupQuery::Named(vec!["a".into(), "b".into()]);

    server.call(AwsCall::DescribeGroups { query, next_token: None }).await.unwrap();

    let asked = server.asked().await;
    assert!(asked.contains("AutoScalingGroupNames.member.2=b"), "{asked}");
    assert!(!asked.contains("Filters"), "{asked}");
}

#[tokio::test]
async fn desired_capacity_is_set_without_regard_to_cooldown() {
    let mut server = Server::start("200 OK", DONE).await;
    for by in [SDK, SHORTCUT, SHORTCUT] {
        assert_eq!(server.call(set_desired()).await, Ok(AwsReply::Done));

        let asked = server.asked().await;
        for part in [
            by,
            "AutoScalingGroupName=ci",
            "DesiredCapacity=3",
            "HonorCooldown=false",
            "AWS4-HMAC-SHA256 Credential=id/",
            "/eu-west-1/autoscaling/aws4_request",
        ] {
            assert!(asked.contains(part), "{part} in {asked}");
        }
    }
}

#[tokio::test]
async fn the_shortcut_signs_with_the_newest_keys_and_leaves_ending_ones_to_the_sdk() {
    let keys = SharedCredentialsProvider::new(Counted::new([SOON, SOON, LONG * 60]));
    let mut server = Server::start_with("200 OK", DONE, keys).await;
    for (by, id) in [(SDK, "id-0"), (SDK, "id-1"), (SDK, "id-2"), (SHORTCUT, "id-2"), (SHORTCUT, "id-2")] {
        assert_eq!(server.call(set_desired()).await, Ok(AwsReply::Done));

        let asked = server.asked().await;
        for part in [by, &format!("Credential={id}/"), &format!("x-amz-security-token: token of {id}\r\n")] {
            assert!(asked.contains(part), "{part} in {asked}");
        }
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "both use the same connections");
}

/// The third call is the SDK's, which still has its keys.
#[tokio::test]
async fn what_is_denied_on_the_shortcut_is_asked_through_the_sdk() {
    let body = "<ErrorResponse><Error><Code>RequestExpired</Code><Message>over</Message></Error></ErrorResponse>";
    let mut server = Server::start("403 Forbidden", body).await;
    for all_by in [[SDK].as_slice(), &[SHORTCUT, SDK], &[SDK]] {
        let error = server.call(set_desired()).await.unwrap_err();

        assert_eq!(error, AwsError::Denied { message: "RequestExpired: over".into() });
        for by in all_by {
            let asked = server.asked().await;
            assert!(asked.contains(by), "{by} in {asked}");
        }
    }
}

#[tokio::test]
async fn a_connection_with_a_failing_server_behind_it_is_not_used_again() {
    let mut server = Server::start("500 Internal Server Error", "").await;
    for (by, connections) in [(SDK, 1), (SHORTCUT, 2), (SHORTCUT, 3)] {
        server.call(set_desired()).await.unwrap_err();

        assert!(server.asked().await.contains(by));
        assert_eq!(server.connections.load(Ordering::SeqCst), connections);
    }
}

#[tokio::test]
async fn a_throttled_call_keeps_its_connection() {
    let body = "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>";
    let mut server = Server::start("503 Service Unavailable", body).await;
    let mut connections = Vec::new();
    for by in [SDK, SHORTCUT, SHORTCUT] {
        assert_eq!(server.call(set_desired()).await, Err(AwsError::Throttled));

        assert!(server.asked().await.contains(by));
        connections.push(server.connections.load(Ordering::SeqCst));
    }
    assert_eq!(connections[1], connections[2]);
}

#[tokio::test]
async fn refusals_keep_their_kind_and_are_not_retried() {
    let cases = [
        ("400 Bad Request", "Throttling", "Throttled"),
        ("400 Bad Request", "ValidationError", "Validation"),
        ("403 Forbidden", "AccessDenied", "Denied"),
        ("500 Internal Server Error", "ResourceContention", "Contention"),
        ("500 Internal Server Error", "InternalFailure", "Misbehaved"),
    ];
    for (status, code, expected) in cases {
        let body = format!(
            "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>told so</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        );
        let mut server = Server::start(status, &body).await;

        for by in [SDK, SHORTCUT] {
            let error = server.call(set_desired()).await.unwrap_err();

            assert!(format!("{error:?}").starts_with(expected), "{code}: {error:?}");
            assert!(server.asked().await.contains(by));
            if by == SHORTCUT && expected == "Denied" {
                assert!(server.asked().await.contains(SDK));
            }
            assert!(server.asked.try_recv().is_err(), "{code} was retried");
        }
    }
}

#[tokio::test]
async fn nonsense_is_the_peers_fault_and_silence_is_the_worlds() {
    for (status, body) in [
        ("200 OK", "<html><body>hello</body></html>"),
        ("200 OK", "{}"),
        ("200 OK", "<DescribeAutoScalingGroupsResponse><DescribeAutoScaling"),
        ("502 Bad Gateway", "<html>nginx</html>"),
        ("503 Service Unavailable", ""),
    ] {
        let server = Server::start(status, body).await;
        let query = GroupQuery::Named(vec!["a".into()]);
        for call in [AwsCall::DescribeGroups { query, next_token: None }, set_desired()] {
            let error = server.call(call).await.unwrap_err();
            assert!(matches!(error, AwsError::Misbehaved { .. }), "{body}: {error:?}");
        }
    }

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = aws(&format!("http://{closed}"), keys()).await.call(set_desired()).await.unwrap_err();
    assert!(matches!(error, AwsError::Transport { .. }), "{error:?}");
    let mut server = Server::start("no status", "").await;
    for by in [SDK, SHORTCUT] {
        let error = server.call(set_desired()).await.unwrap_err();
        assert!(matches!(error, AwsError::Transport { .. }), "{error:?}");
        assert!(server.asked().await.contains(by));
    }
}

/// A describe may be long; the answer to a write is not.
#[tokio::test]
async fn a_long_answer_to_a_write_is_not_taken() {
    let long = DONE.replace("<RequestId>", &format!("<RequestId>{}", "r".repeat(100_000)));
    let server = Server::start("200 OK", &long).await;
    assert_eq!(server.call(set_desired()).await, Ok(AwsReply::Done));

    let error = server.call(set_desired()).await.unwrap_err();

    assert!(matches!(error, AwsError::Misbehaved { .. }), "{error:?}");
}

#[tokio::test]
async fn no_credentials_is_denied() {
    let nobody = Some(SharedCredentialsProvider::new(NoCredentials));
    let telemetry = Arc::new(Telemetry::new("test"));
    let aws =
        Aws::open(&settings("http://127.0.0.1:1"), Path::new("test"), "ci", vault(), nobody, telemetry).await.unwrap();

    let error = aws.call(set_desired()).await.unwrap_err();

    assert!(matches!(error, AwsError::Denied { .. }), "{error:?}");
}

/// Keys that the SDK renews with its next call.
const SOON: Duration = Duration::from_secs(5);

/// Gives other keys each time, and each for so long.
#[derive(Debug)]
struct Counted {
    lives: Vec<Duration>,
    given: AtomicUsize,
}

impl Counted {
    fn new(lives: impl Into<Vec<Duration>>) -> Self {
        Self { lives: lives.into(), given: AtomicUsize::new(0) }
    }
}

impl ProvideCredentials for Counted {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let n = self.given.fetch_add(1, Ordering::SeqCst);
        let end = self.lives.get(n).map(|life| SystemTime::now() + *life);
        let keys = Credentials::new(format!("id-{n}"), "secret", Some(format!("token of id-{n}")), end, "test");
        future::ProvideCredentials::ready(Ok(keys))
    }
}

#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("none here")))
    }
}

/// A server that gives everyone the same answer, and tells what it was asked.
struct Server {
    aws: Aws,
    asked: mpsc::UnboundedReceiver<String>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(status: &str, body: &str) -> Self {
        Self::start_with(status, body, keys()).await
    }

    async fn start_with(status: &str, body: &str, keys: SharedCredentialsProvider) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let reply =
            format!("HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (tell, asked) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (tell, reply) = (tell.clone(), reply.clone());
                tokio::spawn(async move {
                    while let Some(request) = request(&mut stream).await {
                        tell.send(request).ok();
                        stream.write_all(reply.as_bytes()).await.ok();
                    }
                });
            }
        });
        Self { aws: aws(&url, keys).await, asked, connections }
    }

    async fn call(&self, call: AwsCall) -> Result<AwsReply, AwsError> {
        tokio::time::timeout(LONG, self.aws.call(call)).await.unwrap()
    }

    async fn asked(&mut self) -> String {
        tokio::time::timeout(LONG, self.asked.recv()).await.unwrap().unwrap()
    }
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn set_desired() -> AwsCall {
    AwsCall::SetDesiredCapacity { group: "ci".into(), desired: 3 }
}

fn settings(url: &str) -> AwsSettings {
    AwsSettings { region: Some("eu-west-1".into()), endpoint_url: Some(url.into()), ..AwsSettings::default() }
}

fn keys() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "test"))
}

async fn aws(url: &str, keys: SharedCredentialsProvider) -> Aws {
    Aws::open(&settings(url), Path::new("test"), "ci", vault(), Some(keys), Arc::new(Telemetry::new("test")))
        .await
        .unwrap()
}

fn vault() -> Arc<Vault> {
    Arc::new(Vault::default())
}
