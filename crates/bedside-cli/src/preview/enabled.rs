//! With the page.

use std::net::{SocketAddr, TcpListener};

use bedside_live::Stop;
use bedside_preview::{ErrorKind, Facts, Preview, Server, Token};

use super::Shown;
use crate::failure::{Exit, Failure};

/// An address that the page will be served at.
pub(crate) struct Page {
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
}

/// A page that is served.
pub(crate) struct Serving(Server);

impl Page {
    /// Take an address; one that other machines reach only if `anyone` may look.
    pub(crate) fn bind(address: SocketAddr, anyone: bool) -> Result<Self, Failure> {
        let listener = bedside_preview::bind(address, anyone)?;
        let taken = listener.local_addr();
        let address = taken.map_err(|e| Failure::new(Exit::Internal, format!("{address}: {e}")))?;
        Ok(Self {
            listener,
            address,
            token: Token::random()?,
        })
    }

    /// What a browser opens: with the port that port 0 became, and with the token that lets it
    /// change the session. Behind `#`, so that no browser sends it or keeps it in a history of
    /// visits to other pages.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/#token={}", self.address, self.token)
    }

    /// Serve until `stop` says so.
    pub(crate) fn serve(self, shown: Shown<'_>, stop: Stop) -> Result<Serving, Failure> {
        let preview = Preview {
            monitor: shown.monitor,
            control: shown.control,
            metrics: shown.metrics,
            facts: Facts {
                session: shown.opening,
                licence: shown.loader.bundle().manifest().licence.clone(),
                max_age_ms: shown.max_age_ms,
            },
            token: self.token,
            offers: shown.loader.trained_prompts(),
        };
        Ok(Serving(bedside_preview::serve(
            self.listener,
            preview,
            stop,
        )?))
    }
}

impl Serving {
    /// Wait until serving has ended.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        Ok(self.0.finish()?)
    }
}

impl From<bedside_preview::Error> for Failure {
    fn from(error: bedside_preview::Error) -> Self {
        match error.kind() {
            ErrorKind::Exposed => Self::new(Exit::Usage, format!("{error} (--preview-anyone)")),
            ErrorKind::Address => Self::new(Exit::Usage, error.to_string()),
            _ => Self::new(Exit::Internal, error.to_string()),
        }
    }
}
