//! `moto_server`, an AWS of somebody else's making, as a process of its own.
//!
//! It comes from PyPI into a virtual environment that is made on demand and kept. It checks wire format and paging; it
//! is no model of behaviour.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::pause;

/// Set, and not to `0`: a moto that cannot be had fails the test.
pub const REQUIRED: &str = "POOLKEEPER_REQUIRE_MOTO";
const REQUIREMENTS: &str = include_str!("../moto/requirements.txt");
/// Written into the environment once all is in it.
const STAMP: &str = "complete.txt";
/// Python reads a lot before it serves.
const START_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long it may take to say who it is.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A port that was free may be taken by somebody else before the server has it.
const PORTS_TRIED: usize = 3;

/// A running server, with no state at first. It is killed when it is dropped.
#[derive(Debug)]
pub struct Moto {
    /// What goes into `[aws] endpoint_url`.
    pub url: String,
    child: Child,
}

impl Moto {
    /// Starts a server; `place` keeps the virtual environment.
    ///
    /// # Errors
    /// When there is no Python, the packages cannot be had, or the server does not start: the reason, in words.
    pub fn start(place: &Path) -> Result<Self, String> {
        let programs = environment(place)?;
        let mut trouble = String::new();
        for _ in 0..PORTS_TRIED {
            match Self::on_a_free_port(&programs, place) {
                Ok(moto) => return Ok(moto),
                Err(why) => trouble = why,
            }
        }
        Err(trouble)
    }

    /// Starts a server, or says that it cannot be had and need not be.
    ///
    /// # Panics
    /// When it cannot be had, and [`REQUIRED`] is set.
    #[must_use]
    pub fn unless_left_out(place: &Path) -> Option<Self> {
        match Self::start(place) {
            Ok(moto) => Some(moto),
            Err(why) => {
                assert!(!is_required(), "{REQUIRED} is set, and {why}");
                // Past the capture of a test that succeeds; where nobody reads it, nothing is lost.
                drop(writeln!(std::io::stderr().lock(), "the test against moto did not run: {why}"));
                None
            }
        }
    }

    fn on_a_free_port(programs: &Path, place: &Path) -> Result<Self, String> {
        let port = free_port().map_err(|error| format!("no port is free: {error}"))?;
        let log = &place.join(format!("moto-{port}.log"));
        let file = File::create(log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let child = Command::new(programs.join("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("moto_server does not start: {error}"))?;
        let mut moto = Self { url: format!("http://127.0.0.1:{port}"), child };
        let started = Instant::now();
        while started.elapsed() < START_MAX {
            if is_moto(port) {
                return Ok(moto);
            }
            if let Ok(Some(status)) = moto.child.try_wait() {
                return Err(format!("moto_server ended ({status}): {}", last_line(log)));
            }
            pause(LOOK_EVERY);
        }
        Err(format!("moto_server does not listen after {} s: {}", START_MAX.as_secs(), last_line(log)))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // A process that has ended by itself cannot be killed, and is all the same to us.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether tests against moto must not be left out.
#[must_use]
pub fn is_required() -> bool {
    std::env::var_os(REQUIRED).is_some_and(|value| value != "0" && !value.is_empty())
}

/// The directory of programs in a virtual environment that holds what [`REQUIREMENTS`] lists.
fn environment(place: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(place).map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    let _alone = lock(&place.join("moto.lock"))?;
    let dir = place.join("moto");
    let programs = dir.join("bin");
    let stamp = dir.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(programs);
    }
    let list = place.join("requirements.txt");
    fs::write(&list, REQUIREMENTS).map_err(|error| format!("cannot write {}: {error}", list.display()))?;
    command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
    let install = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
    command(Command::new(programs.join("pip")).args(install).arg(&list))?;
    fs::write(&stamp, REQUIREMENTS).map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(programs)
}

/// One process makes the environment while the others wait; the lock ends with the file.
fn lock(path: &Path) -> Result<File, String> {
    let failed = |error| format!("cannot lock {}: {error}", path.display());
    let file = File::create(path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn command(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{name} does not start: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{name} failed ({}): {}", done.status, said.lines().next_back().unwrap_or("without a word")))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether it is moto that answers there, and not somebody else who took the port meanwhile.
fn is_moto(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(b"GET /moto-api/data.json HTTP/1.0\r\n\r\n")?;
        let mut head = [0; 64];
        let read = stream.read(&mut head)?;
        std::io::Result::Ok(head.get(..read).is_some_and(|head| head.windows(5).any(|word| word == b" 200 ")))
    };
    ask().unwrap_or(false)
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().next_back().unwrap_or("it said nothing").to_owned()
}
