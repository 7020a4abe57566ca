//! Handles Ctrl-C: the first stops the sweep at the next page, the second ends it at
//! once.

use std::future::pending;

use tokio::signal;
use tokio::sync::watch;

/// True once Ctrl-C was pressed.
#[derive(Debug, Default)]
pub struct Interruption(watch::Sender<bool>);

impl Interruption {
    pub fn is_heard(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until Ctrl-C is pressed.
    pub async fn heard(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|is_heard| *is_heard).await;
    }

    /// Listens for Ctrl-C; returns when it is pressed the second time.
    pub async fn heard_twice(&self) {
        pressed().await;
        self.0.send_replace(true);
        pressed().await;
    }
}

/// Waits for Ctrl-C. If the system does not report signals, never returns.
async fn pressed() {
    if signal::ctrl_c().await.is_err() {
        pending().await
    }
}
