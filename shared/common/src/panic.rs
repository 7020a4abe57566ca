//! Turns a panic during a request or a retry into an error. The error names the location
//! of the panic and leaves out its message.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`. Catches a panic in it and returns the location of the panic in the
/// source.
///
/// # Errors
/// The place of the panic, as `file:line`.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    hush_guarded_panics();
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        GUARDED.set(true);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        GUARDED.set(false);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(_) => {
                let location = LOCATION.take().unwrap_or_else(|| "unknown".to_owned());
                std::task::Poll::Ready(Err(location))
            }
        }
    })
    .await
}

/// Installs a panic hook that prints nothing for guarded work and notes the location
/// instead. The standard hook prints the message of a panic, which may hold anything.
fn hush_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let standard = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                let location = info
                    .location()
                    .map(|l| format!("{}:{}", l.file(), l.line()));
                LOCATION.set(location);
            } else {
                standard(info);
            }
        }));
    });
}
