//! Pending events that wait for imported items.

use domain::PendingEvent;
use jiff::Timestamp;
use store::StoreError;
use store::pending_events::PendingEvents;

/// Makes due the waiting events that `came` selects, and returns their number.
pub(super) async fn wake_waiting(
    pending_events: &PendingEvents,
    came: impl AsyncFn(&[PendingEvent]) -> Result<Vec<PendingEvent>, StoreError>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    /// The number of keys in one call: DynamoDB reads 100.
    const AT_ONCE: usize = 100;
    let mut made_due = 0;
    let mut start = Some(None);
    while let Some(from) = start {
        let page = pending_events.waiting_for_imports(from).await?;
        for keys in page.entries.chunks(AT_ONCE) {
            let events = pending_events.get_many(keys).await?;
            // An event that cannot be read reports its error at its next attempt.
            let events: Vec<_> = events.into_iter().flatten().collect();
            for event in came(&events).await? {
                if pending_events.make_due(&event, now).await? {
                    made_due += 1;
                }
            }
        }
        start = page.next.map(Some);
    }
    Ok(made_due)
}
