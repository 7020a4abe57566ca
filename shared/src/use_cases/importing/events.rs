//! Pending events that have waited for what was imported.

use jiff::Timestamp;

use crate::adapters::store::StoreError;
use crate::adapters::store::pending_events::PendingEvents;
use crate::domain::PendingEvent;

/// Makes those of the waiting events due that `came` picks.
pub(super) async fn wake_waiting(
    pending_events: &PendingEvents,
    came: impl AsyncFn(&[PendingEvent]) -> Result<Vec<PendingEvent>, StoreError>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    /// DynamoDB reads 100 keys a call.
    const AT_ONCE: usize = 100;
    let mut made_due = 0;
    let mut start = Some(None);
    while let Some(from) = start {
        let page = pending_events.waiting_for_imports(from).await?;
        for keys in page.entries.chunks(AT_ONCE) {
            let events = pending_events.get_many(keys).await?;
            // One that cannot be read is found when it is due.
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
