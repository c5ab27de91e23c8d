//! A TCP connection on which nothing lasts longer than it may.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::transport::{NextTimeout, ShutdownHandle};
use ureq::{Error, Timeout};

/// How long nothing has come until the system asks whether the peer is still there: shorter than routers forget.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A moment at which something ends, and what it is that took too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Option<Instant>,
    reason: Timeout,
}

impl Deadline {
    pub(super) fn of(timeout: NextTimeout) -> Self {
        Self { at: Instant::now().checked_add(*timeout.after), reason: timeout.reason }
    }

    /// What is left; none when there is no end.
    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(at) = self.at else { return Ok(None) };
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }

    /// The timeout for ureq's own parts: what is left of it.
    pub(super) fn timeout(&self) -> NextTimeout {
        let mut timeout = NextTimeout { reason: self.reason, ..NextTimeout::default() };
        if let Some(at) = self.at {
            timeout.after = at.saturating_duration_since(Instant::now()).into();
        }
        timeout
    }

    /// What an error means: the system says of both that the time is over.
    pub(super) fn error(&self, error: io::Error) -> Error {
        if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) {
            Error::Timeout(self.reason)
        } else {
            error.into()
        }
    }
}

/// A connection; each read and write ends at the deadline that was set last.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    deadline: Deadline,
}

impl Socket {
    /// Connects to the first address that answers; each but the last one has half of the time that is left.
    pub(super) fn connect(addresses: &ResolvedSocketAddrs, deadline: Deadline) -> Result<Self, Error> {
        let mut failure = Error::HostNotFound;
        let mut rest = addresses.iter();
        while let Some(address) = rest.next() {
            let left = deadline.left().map_err(|error| deadline.error(error))?;
            let share = left.map(|left| if rest.len() == 0 { left } else { left / 2 });
            match open(address, share) {
                Ok(stream) => return Ok(Self { stream: Arc::new(stream), deadline }),
                Err(error) => failure = deadline.error(error),
            }
        }
        Err(failure)
    }

    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// Ends reads and writes from another thread.
    pub(super) fn shutdown_handle(&self) -> Weak<dyn ShutdownHandle> {
        let stream: Weak<TcpStream> = Arc::downgrade(&self.stream);
        stream
    }

    /// Waits until there is something to read, or the peer has ended.
    pub(super) fn await_readable(&self) -> io::Result<()> {
        self.until_done(|stream| stream.peek(&mut [0; 1])).map(drop)
    }

    /// Whether nothing came, not even the end: what comes unasked spoils a connection.
    pub(super) fn is_open(&self) -> bool {
        let quiet = || {
            self.stream.set_nonblocking(true)?;
            let came = self.stream.peek(&mut [0; 1]);
            self.stream.set_nonblocking(false)?;
            Ok::<_, io::Error>(came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
        };
        quiet().unwrap_or(false)
    }

    fn until_done(&self, mut read: impl FnMut(&TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(self.deadline.left()?)?;
            match read(&self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until_done(|mut stream| stream.read(buffer))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.deadline.left()?)?;
        (&*self.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(address: &SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
    let stream = match timeout {
        Some(timeout) => TcpStream::connect_timeout(address, timeout)?,
        None => TcpStream::connect(address)?,
    };
    stream.set_nodelay(true)?;
    set_socket_keepalive(&stream, true)?;
    set_tcp_keepidle(&stream, KEEPALIVE)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::sockopt::{socket_keepalive, tcp_keepidle};

    use super::*;

    #[test]
    fn a_connection_is_kept_alive_and_time_spent_on_dialling_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses = ResolvedSocketAddrs::from_fn(|_| listener.local_addr().unwrap());
        addresses.push(listener.local_addr().unwrap());
        let deadline = Deadline { at: Instant::now().checked_add(Duration::from_millis(50)), reason: Timeout::Connect };

        let mut socket = Socket::connect(&addresses, deadline).unwrap();

        assert!(socket_keepalive(&socket.stream).unwrap());
        assert_eq!(tcp_keepidle(&socket.stream).unwrap(), KEEPALIVE);
        let error = socket.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(deadline.error(error), Error::Timeout(Timeout::Connect)));
        // The same deadline goes for what comes next, TLS for one.
        assert_eq!(socket.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(socket.write(b"late").is_err());
    }
}
