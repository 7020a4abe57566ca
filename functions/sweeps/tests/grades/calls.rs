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

/// Each page of 50 costs a read of the usernames, two of the learners' records, and two more if
/// certificates are issued, and a write for each changed learner. A second sweep writes nothing but
/// its own record.
#[tokio::test]
async fn a_page_costs_a_few_reads_and_a_change_one_write() {
    for pages in [1, 3] {
        let fixture = Fixture::new().await;
        fixture.lms.pages_of(50);
        let learners = 50 * pages;
        for learner in 0..learners {
            fixture.learner(learner).await;
            // One in five has passed.
            fixture.says(learner, if learner % 5 == 0 { 0.9 } else { 0.3 });
        }
        let (learners, pages) = (learners as usize, pages as usize);
        let passed = learners / 5;
        let (calls, asked) = calls_of_a_sweep(fixture.beside(), At::Grades, wired).await;
        let expected = counts(&[
            ("GetItem", 1),
            ("BatchGetItem", 1 + 5 * pages),
            ("PutItem", learners - passed + 1),
            ("TransactWriteItems", passed),
            // Nobody is held back.
            ("Query", 2),
        ]);
        assert_eq!((calls, asked), (expected, pages), "{pages} pages");

        fixture.clock.advance(Duration::from_secs(60));
        let (calls, asked) = calls_of_a_sweep(fixture.beside(), At::Grades, wired).await;
        let expected = counts(&[
            ("GetItem", 1),
            ("BatchGetItem", 1 + 3 * pages),
            ("PutItem", 1),
            ("Query", 2),
        ]);
        assert_eq!((calls, asked), (expected, pages), "{pages} pages");
    }
}
