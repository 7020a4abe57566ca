//! Ctrl-C, once to stop at the next page, and once more to end at once.

use std::future::pending;

use tokio::signal;
use tokio::sync::watch;

/// Whether somebody has pressed it.
#[derive(Debug, Default)]
pub struct Interruption(watch::Sender<bool>);

impl Interruption {
    pub fn is_heard(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is pressed.
    pub async fn heard(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|is_heard| *is_heard).await;
    }

    /// Listens for it; ends when it is pressed the second time.
    pub async fn heard_twice(&self) {
        pressed().await;
        self.0.send_replace(true);
        pressed().await;
    }
}

/// Where the system tells of no signals, nobody is heard.
async fn pressed() {
    if signal::ctrl_c().await.is_err() {
        pending().await
    }
}
