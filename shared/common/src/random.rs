//! The source of the random ids of records and changes, so that a test can repeat a run. Tokens are not
//! from here: nothing may make them follow from a seed.

use std::cell::RefCell;

use uuid::{Builder, Uuid};

tokio::task_local! {
    static SEEDED: RefCell<fastrand::Rng>;
}

/// Returns a new random id (UUID version 4), from the operating system's random source.
pub fn id() -> Uuid {
    SEEDED
        .try_with(|random| {
            let bytes = random.borrow_mut().u128(..).to_le_bytes();
            Builder::from_random_bytes(bytes).into_uuid()
        })
        .unwrap_or_else(|_| Uuid::new_v4())
}

/// Runs `work`, a test, whose ids follow from `seed`: two runs with the same seed get the same
/// ids. Tasks that `work` spawns are not included.
pub async fn seeded<F: Future>(seed: u64, work: F) -> F::Output {
    let random = RefCell::new(fastrand::Rng::with_seed(seed));
    SEEDED.scope(random, work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ids_repeat_only_with_the_same_seed() {
        let of = async |seed| seeded(seed, async { [id(), id()] }).await;
        let [first, second] = of(1).await;
        assert_ne!(first, second);
        assert_eq!(of(1).await, [first, second]);
        assert_ne!(of(2).await[0], first);
        assert_eq!(first.get_version_num(), 4);
        assert_ne!(id(), id());
    }
}
