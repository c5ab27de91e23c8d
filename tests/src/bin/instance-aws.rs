//! What the instances' agent needs of the AWS CLI, for tests: its arguments, its words and its exit codes, with real
//! requests to `AWS_ENDPOINT_URL`.
//!
//! Their signatures have the right form and are otherwise made up: the sandbox has no secret to check them with.

use std::env;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

/// The exit codes of the CLI's version 2: AWS refused, where version 1 ends with 255; the arguments are wrong; anything
/// else.
const REFUSED: u8 = 254;
const USAGE: u8 = 252;
const FAILED: u8 = 255;
const REPLY_MAX: Duration = Duration::from_secs(10);
const DATE: &str = "20260501T000000Z";
const DAY: &str = "20260501";

struct Call {
    service: &'static str,
    operation: &'static str,
    headers: String,
    body: String,
    prints: fn(&str) -> String,
}

enum Trouble {
    Usage(String),
    /// No answer, or none that can be read.
    Failed(String),
    Refused {
        code: String,
        message: String,
    },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (text, code) = match run(&words) {
        Ok(text) => return write(io::stdout().lock(), &text, 0),
        Err(Trouble::Usage(text)) => (text, USAGE),
        Err(Trouble::Failed(text)) => (text, FAILED),
        Err(Trouble::Refused { code, message }) => {
            let operation = call_of(words.get(2..).unwrap_or_default()).map_or("", |call| call.operation);
            (format!("An error occurred ({code}) when calling the {operation} operation: {message}"), REFUSED)
        }
    };
    write(io::stderr().lock(), &format!("\n{text}\n"), code)
}

fn write(mut to: impl Write, text: &str, code: u8) -> ExitCode {
    match to.write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::from(FAILED),
    }
}

fn run(words: &[&str]) -> Result<String, Trouble> {
    let (region, rest) = match words {
        ["--region", region, rest @ ..] => (*region, rest),
        _ => return Err(Trouble::Usage(format!("aws: error: unexpected arguments: {words:?}"))),
    };
    let call = call_of(rest).ok_or_else(|| Trouble::Usage(format!("aws: error: unexpected arguments: {rest:?}")))?;
    let endpoint = env::var("AWS_ENDPOINT_URL").map_err(|_| Trouble::Failed("AWS_ENDPOINT_URL is not set".into()))?;
    let (status, body) = ask(&endpoint, region, &call)
        .map_err(|_| Trouble::Failed(format!("Could not connect to the endpoint URL: \"{endpoint}/\"")))?;
    if status == 200 { Ok((call.prints)(&body)) } else { Err(refusal(&body)) }
}

/// The call that arguments ask for: those the agent passes, and no others.
fn call_of(words: &[&str]) -> Option<Call> {
    let of_store = |operation, body: &Value, prints| {
        let headers = format!("x-amz-target: AmazonSSM.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n");
        Call { service: "ssm", operation, headers, body: body.to_string(), prints }
    };
    match words {
        [
            "ssm",
            "get-parameter",
            "--name",
            name,
            "--with-decryption",
            "--query",
            "Parameter.Value",
            "--output",
            "text",
        ] => Some(of_store("GetParameter", &json!({ "Name": name, "WithDecryption": true }), parameter_value)),
        ["ssm", "delete-parameter", "--name", name] => {
            Some(of_store("DeleteParameter", &json!({ "Name": name }), |_| String::new()))
        }
        ["autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", instance, decrement] => {
            let decrement = match *decrement {
                "--should-decrement-desired-capacity" => true,
                "--no-should-decrement-desired-capacity" => false,
                _ => return None,
            };
            let operation = "TerminateInstanceInAutoScalingGroup";
            let body = format!(
                "Action={operation}&Version=2011-01-01&InstanceId={instance}&ShouldDecrementDesiredCapacity={decrement}"
            );
            let headers = "content-type: application/x-www-form-urlencoded\r\n".to_owned();
            Some(Call {
                service: "autoscaling",
                operation,
                headers,
                body,
                prints: |_| "{\"Activity\": {}}\n".to_owned(),
            })
        }
        _ => None,
    }
}

fn parameter_value(body: &str) -> String {
    let reply: Value = serde_json::from_str(body).unwrap_or_default();
    // The CLI's text output of a value that is not there.
    let value = reply.pointer("/Parameter/Value").and_then(Value::as_str).unwrap_or("None");
    format!("{value}\n")
}

/// A refusal, as JSON or as XML: a fault that the sandbox was told to make is XML whatever the service.
fn refusal(body: &str) -> Trouble {
    let reply: Value = serde_json::from_str(body).unwrap_or_default();
    let told = |json: &str, tag: &str| {
        let of_xml = || Some(body.split_once(&format!("<{tag}>"))?.1.split_once("</")?.0.to_owned());
        reply.get(json).and_then(Value::as_str).map(str::to_owned).or_else(of_xml)
    };
    match told("__type", "Code") {
        Some(code) => Trouble::Refused { code, message: told("message", "Message").unwrap_or_default() },
        None => Trouble::Failed("Unable to parse response".to_owned()),
    }
}

fn ask(endpoint: &str, region: &str, call: &Call) -> io::Result<(u16, String)> {
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(REPLY_MAX))?;
    let scope = format!("test/{DAY}/{region}/{}/aws4_request", call.service);
    let signature = "0".repeat(64);
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}");
    let Call { headers, body, .. } = call;
    let length = body.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-date: {DATE}\r\nauthorization: {authorization}\r\n{headers}\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let parsed = reply.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parsed.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
