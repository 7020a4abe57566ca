//! Handles Ctrl-C: the first stops the sweep at the next page, the second ends it at
//! once.

use std::future::pending;

use tokio::signal;
use tokio::sync::watch;

/// True once Ctrl-C was pressed.
#[derive(Debug, Default)]
pub struct PipelineError(watch::Sender<bool>);

impl PipelineError {
    pub fn is_pressed(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until Ctrl-C is pressed.
    pub async fn pressed(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|is_pressed| *is_pressed).await;
    }

    /// Listens for Ctrl-C; returns when it is pressed the second time.
    pub async fn pressed_twice(&self) {
        ctrl_c().await;
        self.0.send_replace(true);
        ctrl_c().await;
    }
}

/// Waits for Ctrl-C. If the system does not report signals, never returns.
async fn ctrl_c() {
    if signal::ctrl_c().await.is_err() {
        pending().await
    }
}
