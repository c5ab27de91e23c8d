//! The arithmetic of TLS handshakes, on a few threads: it takes a deep stack, which each listener would else keep for
//! ever. Waiting for the peer stays with the thread that dials, so no peer holds up another's handshake.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use ureq::Error;

use super::dial::Below;
use super::fault::NotConnected;
use crate::crew::{Crew, Worker};

/// As many as compute at once; a step takes a few milliseconds.
const THREADS_MAX: usize = 2;

/// The client side of TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    crew: Crew<Step>,
}

/// One step of a handshake.
struct Step {
    work: Work,
    done: SyncSender<Done>,
}

enum Work {
    Begin(Arc<ClientConfig>, ServerName<'static>),
    GoOn(Box<ClientConnection>),
}

type Done = Result<Box<ClientConnection>, (Option<Box<ClientConnection>>, rustls::Error)>;

impl Tls {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self { config: Arc::new(config), crew: Crew::new("tls", THREADS_MAX, || Box::new(Steps)) }
    }

    /// Shakes hands over a connection.
    pub(super) fn connect(&self, host: &str, below: &mut dyn Below) -> Result<Box<ClientConnection>, Error> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| Error::Tls("the host is no name that TLS knows"))?;
        let mut tls = self.step(Work::Begin(Arc::clone(&self.config), name), below)?;
        loop {
            while tls.wants_write() {
                tls.write_tls(below)?;
            }
            if !tls.is_handshaking() {
                return Ok(tls);
            }
            if tls.read_tls(below)? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            tls = self.step(Work::GoOn(tls), below)?;
        }
    }

    fn step(&self, work: Work, below: &mut dyn Below) -> Result<Box<ClientConnection>, Error> {
        let (done, outcome) = sync_channel(1);
        if let Err(unmanned) = self.crew.take(Step { work, done }) {
            return Err(unmanned.error.into());
        }
        let outcome = outcome.recv().map_err(|_| NotConnected::because("the TLS handshake's thread failed"))?;
        outcome.map_err(|(tls, error)| {
            // The peer gets to know why, if it still listens.
            let _alert_lost = tls.map(|mut tls| tls.write_tls(below));
            Error::Rustls(error)
        })
    }
}

struct Steps;

impl Worker<Step> for Steps {
    fn carry(&mut self, Step { work, done }: Step) {
        let outcome = match work {
            Work::Begin(config, name) => {
                ClientConnection::new(config, name).map(Box::new).map_err(|error| (None, error))
            }
            Work::GoOn(mut tls) => match tls.process_new_packets() {
                Ok(_) => Ok(tls),
                Err(error) => Err((Some(tls), error)),
            },
        };
        let _gave_up_waiting = done.send(outcome);
    }
}
