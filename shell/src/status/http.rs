//! One HTTP/1.1 request a connection: read it, answer it, close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The most bytes of a request's head; bodies are not read.
const MAX_HEAD_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// How long a request may take to arrive.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer may take to leave.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the rest of a request that was refused is read.
const DISCARD_DEADLINE: Duration = Duration::from_millis(500);
/// How much is written before the deadline is looked at again.
const CHUNK_BYTES: usize = 64 << 10;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

impl Answer {
    pub(super) fn text(status: Status, text: impl Into<String>) -> Self {
        let mut body = text.into();
        body.push('\n');
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into_bytes() }
    }
}

/// Reads one request and answers it with what `answer` makes of its path and query.
pub(super) fn serve(stream: &TcpStream, answer: impl FnOnce(&str, &str) -> Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = read_head(stream)?;
    let unread = matches!(head, Head::Bad(_));
    let (answer, with_body) = match head {
        Head::Request { method, target } => match method.as_str() {
            "GET" | "HEAD" => {
                let (path, query) = target.split_once('?').unwrap_or((&target, ""));
                (answer(path, query), method == "GET")
            }
            _ => (Answer::text(Status::MethodNotAllowed, "only GET and HEAD are answered"), true),
        },
        Head::Bad(status) => (Answer::text(status, status.line()), true),
    };
    write_answer(stream, &answer, with_body)?;
    stream.shutdown(Shutdown::Write)?;
    if unread { discard(stream) } else { Ok(()) }
}

/// Closing with unread bytes resets the connection, and the answer may be lost with it.
fn discard(mut stream: &TcpStream) -> io::Result<()> {
    let deadline = Instant::now() + DISCARD_DEADLINE;
    let mut chunk = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        if stream.read(&mut chunk)? == 0 {
            return Ok(());
        }
    }
}

enum Head {
    Request { method: String, target: String },
    Bad(Status),
}

fn read_head(mut stream: &TcpStream) -> io::Result<Head> {
    let deadline = Instant::now() + READ_DEADLINE;
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some(head) = parse(&bytes) {
            return Ok(head);
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Ok(Head::Bad(Status::HeadTooLarge));
        }
    }
}

/// The head, or `None` while it is not complete.
fn parse(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let (Some(method), Some(target)) = (request.method, request.path) else {
                return Some(Head::Bad(Status::BadRequest));
            };
            Some(Head::Request { method: method.to_owned(), target: target.to_owned() })
        }
        Err(httparse::Error::TooManyHeaders) => Some(Head::Bad(Status::HeadTooLarge)),
        Err(_) => Some(Head::Bad(Status::BadRequest)),
    }
}

fn write_answer(mut stream: &TcpStream, answer: &Answer, with_body: bool) -> io::Result<()> {
    let Answer { status, content_type, body } = answer;
    let deadline = Instant::now() + WRITE_DEADLINE;
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: \
         no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src \
         'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src \
         'self'\r\nConnection: close\r\n\r\n",
        status.line(),
        body.len()
    );
    let mut out = head.into_bytes();
    if with_body {
        out.extend_from_slice(body);
    }
    for chunk in out.chunks(CHUNK_BYTES) {
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(chunk)?;
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}
