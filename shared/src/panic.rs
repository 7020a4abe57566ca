//! A panic while a request is answered, or an event retried, becomes an
//! error, which tells where it was and nothing of what it said.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic in it is caught and told by its place in the source.
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

/// The message of a panic may hold anything, and the standard hook prints it:
/// for guarded work the hook notes the place and prints nothing.
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
