//! Connecting: through a proxy or straight, then TLS; and the connections themselves.
//!
//! ureq's own connector keeps a config, with a copy of all certificate authorities, for each agent, and full buffers for
//! each held poll.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::ClientConnection;
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter,
};

use super::buffers::LateBuffers;
use super::fault::NotConnected;
use super::handshake::Tls;
use super::socket::{Deadline, Socket};

/// Makes connections, and says of what fails here that nothing was sent.
pub(super) struct Dial {
    tls: Arc<Tls>,
}

impl Dial {
    pub(super) const fn new(tls: Arc<Tls>) -> Self {
        Self { tls }
    }

    fn open(&self, details: &ConnectionDetails<'_>) -> Result<Box<dyn Transport>, Error> {
        let deadline = Deadline::of(details.timeout);
        let input_bytes = details.config.input_buffer_size();
        if let Some(tunnel) = through_proxy(details)? {
            if !details.needs_tls() {
                return Ok(tunnel);
            }
            let below = TransportAdapter::new(tunnel, Arc::clone(&details.current_time));
            return self.encrypt(details, deadline, Box::new(below), input_bytes);
        }
        let socket = Socket::connect(&details.addrs, deadline)?;
        (details.register_shutdown)(socket.shutdown_handle())?;
        if details.needs_tls() {
            return self.encrypt(details, deadline, Box::new(socket), input_bytes);
        }
        Ok(Box::new(Plain { socket, buffers: LateBuffers::new(input_bytes) }))
    }

    #[inline(never)]
    fn encrypt(
        &self,
        details: &ConnectionDetails<'_>,
        deadline: Deadline,
        mut below: Box<dyn Below>,
        input_bytes: usize,
    ) -> Result<Box<dyn Transport>, Error> {
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        below.end_at(deadline);
        let shaken = self.tls.connect(host, below.as_mut());
        let tls = shaken.map_err(|error| if let Error::Io(error) = error { deadline.error(error) } else { error })?;
        Ok(Box::new(Encrypted { below, tls, buffers: LateBuffers::new(input_bytes) }))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

impl Connector for Dial {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        self.open(details).map(Some).map_err(NotConnected::error)
    }
}

/// A tunnel to the peer, if a proxy is set and is for it.
fn through_proxy(details: &ConnectionDetails<'_>) -> Result<Option<Box<dyn Transport>>, Error> {
    if details.config.proxy().is_none_or(|proxy| proxy.is_no_proxy(details.uri)) {
        return Ok(None);
    }
    tunnel(details)
}

#[inline(never)]
fn tunnel(details: &ConnectionDetails<'_>) -> Result<Option<Box<dyn Transport>>, Error> {
    match ConnectProxyConnector::default().connect(details, None::<()>)? {
        Some(Either::B(tunnel)) => Ok(Some(tunnel)),
        Some(Either::A(())) | None => Err(Error::InvalidProxyUrl),
    }
}

/// What TLS goes over: a socket, or a proxy's tunnel.
pub(super) trait Below: Read + Write + Send + Sync {
    /// When reads and writes end.
    fn end_at(&mut self, deadline: Deadline);
    /// Waits until there is something to read, as far as that can be told.
    fn await_readable(&mut self) -> io::Result<()>;
    /// Whether the connection is at rest.
    fn is_open(&mut self) -> bool;
}

impl Below for Socket {
    fn end_at(&mut self, deadline: Deadline) {
        self.set_deadline(deadline);
    }

    fn await_readable(&mut self) -> io::Result<()> {
        Self::await_readable(self)
    }

    fn is_open(&mut self) -> bool {
        Self::is_open(self)
    }
}

impl Below for TransportAdapter {
    fn end_at(&mut self, deadline: Deadline) {
        self.set_timeout(deadline.timeout());
    }

    fn await_readable(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_open(&mut self) -> bool {
        self.get_mut().is_open()
    }
}

/// A connection without TLS.
struct Plain {
    socket: Socket,
    buffers: LateBuffers,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

impl Transport for Plain {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let deadline = Deadline::of(timeout);
        self.socket.set_deadline(deadline);
        let output = self.buffers.take_output(amount);
        self.socket.write_all(&output).map_err(|error| deadline.error(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::of(timeout);
        self.socket.set_deadline(deadline);
        self.buffers.shed();
        let read = self.socket.await_readable().and_then(|()| self.socket.read(self.buffers.input_append_buf()));
        let amount = read.map_err(|error| deadline.error(error))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.socket.is_open()
    }
}

/// A connection with TLS.
struct Encrypted {
    below: Box<dyn Below>,
    tls: Box<ClientConnection>,
    buffers: LateBuffers,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypted")
    }
}

impl Encrypted {
    fn send(&mut self, output: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(output)?;
        self.send_rest()
    }

    fn send_rest(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.below)?;
        }
        Ok(())
    }

    /// Reads what the peer said; 0 bytes once it has ended.
    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match self.tls.reader().fill_buf() {
                Ok(_) => return self.tls.reader().read(self.buffers.input_append_buf()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.send_rest()?;
            self.below.await_readable()?;
            self.tls.read_tls(&mut self.below)?;
            if let Err(error) = self.tls.process_new_packets() {
                // The peer gets to know why, if it still listens.
                let _alert_lost = self.tls.write_tls(&mut self.below);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let deadline = Deadline::of(timeout);
        self.below.end_at(deadline);
        let output = self.buffers.take_output(amount);
        self.send(&output).map_err(|error| deadline.error(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::of(timeout);
        self.below.end_at(deadline);
        self.buffers.shed();
        let amount = self.receive().map_err(|error| deadline.error(error))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.below.is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
