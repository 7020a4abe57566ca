//! The number of calls of a sweep: it grows with the pages, and not with the size of the run.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::sweep::calls_of_a_sweep;
use local::lms::At;

use super::fixture::{Fixture, wired};

fn counts(calls: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let calls = calls.iter().filter(|(_, count)| *count > 0);
    calls
        .map(|(call, count)| ((*call).to_owned(), *count))
        .collect()
}

/// Each page of 50 costs a read of the usernames, one of the enrollments, and one of the passes
/// blocked on the enrollments to be written, and a write for each changed learner. A page with a
/// learner to deactivate costs three calls more. A second sweep writes nothing but its own record.
#[tokio::test]
async fn a_page_costs_a_few_reads_and_a_change_one_write() {
    for pages in [1, 2] {
        let fixture = Fixture::new().await;
        fixture.lms.pages_of(50);
        for learner in 0..50 * pages {
            match learner % 50 {
                // Missing.
                0..20 => {
                    fixture.put_learner(learner).await;
                    fixture.lists(learner, "verified", true);
                }
                // With another mode.
                20..30 => {
                    fixture.enrolled(learner, "audit").await;
                    fixture.lists(learner, "verified", true);
                }
                // To be deactivated.
                30..32 => {
                    fixture.enrolled(learner, "audit").await;
                    fixture.lists(learner, "audit", false);
                }
                // As the LMS has it.
                _ => fixture.enrolled(learner, "audit").await,
            }
        }
        let pages = pages as usize;
        fixture.clock.advance(Duration::from_secs(60));
        let sweep = async || calls_of_a_sweep(fixture.beside(), At::Enrollments, wired).await;
        let expected = counts(&[
            // There was no such sweep before, only a dry run.
            ("GetItem", 2),
            // The run, three for each page, and two for each learner who was held back.
            ("BatchGetItem", 1 + 3 * pages + 2 * 2 * pages),
            ("UpdateItem", 32 * pages),
            // The held-back learners of each page, and the outcome of the sweep.
            ("PutItem", pages + 1),
            // The number of held-back learners, the learners themselves, and the end of their
            // pages.
            ("Query", 3),
            ("DeleteItem", pages),
        ]);
        // The pages, and each held-back learner once more.
        assert_eq!(
            sweep().await,
            (expected, pages + 2 * pages),
            "{pages} pages"
        );

        fixture.clock.advance(Duration::from_secs(60));
        let expected = counts(&[
            ("GetItem", 1),
            ("BatchGetItem", 1 + 2 * pages),
            ("PutItem", 1),
            ("Query", 2),
        ]);
        assert_eq!(sweep().await, (expected, pages), "{pages} pages");
    }
}
