//! The daemon as a process: started, signalled, asked, ended.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait::{LONG, until};

/// How long one answer of the status server may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// A TCP socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// A TCP connection that is up, in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// A running daemon, which does not outlive this value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    status: OnceCell<SocketAddr>,
}

/// What the status server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Page {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Daemon {
    /// Starts a program whose log lines are appended to a file.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let file = File::options().append(true).create(true).open(log).expect("the log can be made");
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        Self { child: spawned.expect("the daemon starts"), log: log.to_owned(), status: OnceCell::new() }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged, and those before it that logged to the same file.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).expect("the log can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it has not ended.
    ///
    /// # Panics
    /// When the operating system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked for").is_none()
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon takes signals");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait(&mut self) -> ExitStatus {
        let (child, log) = (&mut self.child, &self.log);
        let ended = || child.try_wait().expect("a child can be asked for");
        until("the daemon's end", LONG, ended, || fs::read_to_string(log).unwrap_or_default())
    }

    /// Asks it to end in order and returns its exit code.
    ///
    /// # Panics
    /// When it does not end, or a signal ended it.
    #[must_use]
    pub fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        let status = self.wait();
        status.code().unwrap_or_else(|| panic!("{status}: {}", self.log()))
    }

    /// Where its status server listens: the one socket of the process that does.
    ///
    /// # Panics
    /// When it opens none in time.
    pub fn status_addr(&self) -> SocketAddr {
        *self.status.get_or_init(|| {
            let port = until("a status server", LONG, || self.listening_port(), || self.log());
            SocketAddr::from((Ipv4Addr::LOCALHOST, port))
        })
    }

    /// Asks the status server; `None` when it does not answer.
    #[must_use]
    pub fn try_get(&self, path: &str) -> Option<Page> {
        ask(self.status_addr(), path)
    }

    /// Asks the status server.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Page {
        self.try_get(path).unwrap_or_else(|| panic!("{path} was not answered: {}", self.log()))
    }

    /// The sum of all samples of a metric whose labels contain every one of `having`.
    ///
    /// # Panics
    /// When the status server does not answer.
    #[must_use]
    pub fn metric(&self, name: &str, having: &[&str]) -> f64 {
        sum_of(&self.get("/metrics").body, name, having)
    }

    /// How many TCP connections it has to a port.
    ///
    /// # Panics
    /// When the operating system does not tell.
    #[must_use]
    pub fn connections_to(&self, port: u16) -> usize {
        let remote = format!(":{port:04X}");
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.pid())).expect("/proc tells of sockets");
        table.lines().filter(|line| is_connection(line, &remote)).count()
    }

    fn listening_port(&self) -> Option<u16> {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.pid())).ok()?;
        let own = self.socket_inodes();
        table.lines().skip(1).find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
            let inode = fields.nth(5)?;
            let is_ours = state == LISTENING && own.iter().any(|own| own == inode);
            let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
            is_ours.then_some(port)
        })
    }

    fn socket_inodes(&self) -> Vec<String> {
        let Ok(open) = fs::read_dir(format!("/proc/{}/fd", self.pid())) else { return Vec::new() };
        open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn is_connection(line: &str, remote: &str) -> bool {
    let mut fields = line.split_whitespace().skip(2);
    fields.next().is_some_and(|address| address.ends_with(remote)) && fields.next() == Some(ESTABLISHED)
}

/// Asks a server for a page; `None` when it does not answer.
#[must_use]
pub fn ask(address: SocketAddr, path: &str) -> Option<Page> {
    exchange(address, path).ok().and_then(|text| parse(&text))
}

fn exchange(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Option<Page> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Page { status, body: body.to_owned() })
}

/// The sum of all samples of a metric, in Prometheus's text format, whose labels contain every one of `having`.
#[must_use]
pub fn sum_of(metrics: &str, name: &str, having: &[&str]) -> f64 {
    metrics
        .lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            let fits = is_it && having.iter().all(|label| labels.contains(label));
            fits.then(|| value.parse::<f64>().ok())?
        })
        .sum()
}
