//! What a sweep costs: calls for each page, whatever the size of the run.

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

/// Pages of 50: a read of the usernames, one of the enrollments, and one of the
/// passes that wait for what is to be written; a write for each learner whom
/// something changes for. For a page with somebody who is deactivated three calls
/// more. In a second sweep no write but the sweep's own record.
#[tokio::test]
async fn a_handful_of_reads_for_a_page_and_a_write_for_a_change() {
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
            // No such sweep was there before, but a dry run.
            ("GetItem", 2),
            // The run, three for each page, and two for each who was held back.
            ("BatchGetItem", 1 + 3 * pages + 2 * 2 * pages),
            ("UpdateItem", 32 * pages),
            // Whom it holds back of a page, and how it ended.
            ("PutItem", pages + 1),
            // How many they are, who they are, and whether that was all.
            ("Query", 3),
            ("DeleteItem", pages),
        ]);
        // The pages, and each who was held back once more.
        assert_eq!(sweep().await, (expected, pages + 2 * pages));

        fixture.clock.advance(Duration::from_secs(60));
        let expected = counts(&[
            ("GetItem", 1),
            ("BatchGetItem", 1 + 2 * pages),
            ("PutItem", 1),
            ("Query", 2),
        ]);
        assert_eq!(sweep().await, (expected, pages));
    }
}
