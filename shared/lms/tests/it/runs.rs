//! Grades and enrollments of whole course runs, page by page.

use std::collections::BTreeMap;

use domain::{CourseId, Cursor, PageCursor, Score};
use lms::LmsLimits;
use lms::{About, EnrollmentRow, GradeRow, InvalidResponse, Page};
use serde_json::{Value, json};

use super::server::{Reply, Server};
use super::{CLIENT, RUN, STATIC, Site, is_send, row, run, unavailable};

fn page(names: &[&str], next: Option<&str>) -> Reply {
    let rows: Vec<Value> = names.iter().map(|name| row(name)).collect();
    Reply::json(
        200,
        &json!({"next": next, "previous": null, "results": rows}),
    )
}

fn names(page: Page<GradeRow>) -> Vec<String> {
    let rows = page.rows.into_iter();
    rows.map(|row| row.unwrap().username.into()).collect()
}

fn cursor(text: &str) -> Cursor {
    text.parse().unwrap()
}

/// Three pages, each requested under our own base URL, whatever host the LMS names.
#[tokio::test]
async fn every_page_is_requested_under_our_own_base_url() {
    let other = Server::start(|_| page(&[], None)).await;
    let next = format!(
        "{}/elsewhere/?username=eve&cursor=b%2Bc%3D&page_size=7",
        other.url
    );
    let site = Site::new(STATIC, move |asked| match asked.number {
        1 => page(&["a", "b"], Some(&next)),
        2 => page(&["c"], Some("//other.example.org?cursor=d")),
        _ => page(&[], None),
    })
    .await;
    let (run, mut cursor, mut pages) = (run(), Some(PageCursor::default()), Vec::new());
    while let Some(place) = cursor {
        let page = is_send(site.client.grades_page(&run, place.cursor())).await;
        let page = page.unwrap();
        cursor = place.follow(page.next.clone()).unwrap();
        pages.push(names(page));
    }
    assert_eq!(pages, [vec!["a", "b"], vec!["c"], vec![]]);
    let asked = site.server.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let path = format!("GET /api/grades/v1/courses/{RUN}/?page_size=100");
    assert_eq!(
        lines,
        [
            path.clone(),
            format!("{path}&cursor=b%2Bc%3D"),
            format!("{path}&cursor=d")
        ]
    );
    assert_eq!(other.counts(), (0, 0));
}

/// The bare array of an older site is the whole list.
#[tokio::test]
async fn a_bare_array_is_the_whole_list() {
    let site = Site::new(STATIC, |_| Reply::json(200, &json!([row("a"), row("b")]))).await;
    let page = site.client.grades_page(&run(), None).await.unwrap();
    assert_eq!(page.next, None);
    assert_eq!(names(page), ["a", "b"]);
}

/// An invalid row is an error, and the other rows are returned.
#[tokio::test]
async fn an_invalid_row_does_not_affect_the_others() {
    let site = Site::new(STATIC, |_| {
        let mut broken = row("b");
        broken["percent"] = Value::Null;
        let rows = json!([row("a"), broken, row("c")]);
        Reply::json(200, &json!({"next": null, "results": rows}))
    })
    .await;
    let page = site.client.grades_page(&run(), None).await.unwrap();
    assert_eq!(page.rows.len(), 3);
    assert_eq!(page.rows[1], Err(InvalidResponse::Percent));
    assert_eq!(page.rows[2].as_ref().unwrap().username.as_str(), "c");
}

/// A page that failed can be requested again.
#[tokio::test]
async fn a_failed_page_can_be_requested_again() {
    let site = Site::new(STATIC, |asked| match asked.number {
        1 => Reply::html(503),
        2 => Reply::BROKEN,
        _ => page(&["b"], None),
    })
    .await;
    let at = cursor("b");
    let failed = Err(unavailable(503).into());
    assert_eq!(site.client.grades_page(&run(), Some(&at)).await, failed);
    let page = site.client.grades_page(&run(), Some(&at)).await.unwrap();
    assert_eq!(names(page), ["b"]);
    let asked = site.server.asked();
    assert_eq!(asked[0].line, asked[2].line);
}

/// Enrollments are read like grades: in pages, with a token that is renewed.
#[tokio::test]
async fn enrollments_are_read_in_pages_with_a_renewed_token() {
    let row = |username: &str| json!({"user": username, "course_id": RUN, "mode": "audit", "is_active": false});
    let site = Site::new(CLIENT, move |asked| match asked.number {
        1 => Reply::token("hidden-token"),
        2 => Reply::json(401, &json!({"developer_message": "Invalid token."})),
        3 => Reply::token("hidden-other"),
        4 => {
            let next = "?cursor=b";
            Reply::json(200, &json!({"next": next, "results": [row("a")]}))
        }
        _ => Reply::json(200, &json!({"next": null, "results": [row("b")]})),
    })
    .await;
    site.client.warm_up().await;
    // The token must be older than a second.
    site.advance(1);
    let about = About::Run(run());
    let first = is_send(site.client.enrollments_page(&about, None)).await;
    let first = first.unwrap();
    let second = site.client.enrollments_page(&about, first.next.as_ref());
    let second = second.await.unwrap();
    assert_eq!(second.next, None);
    for (page, username) in [(first, "a"), (second, "b")] {
        let row = EnrollmentRow {
            username: username.parse().unwrap(),
            course_id: run(),
            mode: "audit".parse().unwrap(),
            is_active: false,
        };
        assert_eq!(page.rows, [Ok(row)], "{username}");
    }
    let asked = site.server.asked();
    assert!(asked[3].line.ends_with("&page_size=100"), "{:?}", asked[3]);
    assert!(asked[4].line.ends_with("&cursor=b"), "{:?}", asked[4]);
}

/// The client reads exactly the enrollments of the stand-in's sample file: by run, by
/// learner, and by both.
#[tokio::test]
async fn the_client_reads_the_stand_ins_enrollments() {
    let portal = harness::Portal::new().await;
    let client = portal.use_cases().lms_client(
        portal.secrets_client(),
        harness::http_client(),
        LmsLimits::NONE,
    );
    let client = client.unwrap();
    let mut rows = Vec::new();
    for line in local::lms::SAMPLE_ENROLLMENTS.lines().skip(1) {
        let [username, course_id, mode, is_active] =
            <[&str; 4]>::try_from(Vec::from_iter(line.split(','))).unwrap();
        let is_active = is_active == "true";
        portal.lms.enroll(username, course_id, mode, is_active);
        rows.push(EnrollmentRow {
            username: username.parse().unwrap(),
            course_id: course_id.parse().unwrap(),
            mode: mode.parse().unwrap(),
            is_active,
        });
    }
    let abouts = rows.iter().flat_map(|row| {
        let (username, course_id) = (row.username.clone(), row.course_id.clone());
        [
            About::Run(course_id.clone()),
            About::Learner(username.clone()),
            About::LearnerInRun(username, course_id),
        ]
    });
    let nobody = About::Learner("nobody".parse().unwrap());
    let nothing = About::Run("Org/Course/Run".parse().unwrap());
    for about in abouts.chain([nobody, nothing]) {
        // A username does not show itself.
        let case = (
            about.username().map(|name| name.as_str()),
            about.course_id(),
        );
        let of_run = |row: &&EnrollmentRow| about.course_id().is_none_or(|id| *id == row.course_id);
        let of_name = |row: &&EnrollmentRow| about.username().is_none_or(|n| *n == row.username);
        let mut expected: Vec<_> = rows.iter().filter(of_run).filter(of_name).collect();
        expected.sort_by_key(|row| row.username.key());
        let page = client.enrollments_page(&about, None).await.unwrap();
        let read: Vec<_> = page.rows.iter().map(|row| row.as_ref().unwrap()).collect();
        assert_eq!(read, expected, "{case:?}");
        assert_eq!(page.next, None, "{case:?}");
    }
}

/// The client reads exactly the grades of the stand-in's sample file, learner by learner
/// and page by page. `tools/peers` tests a client that is not ours with the same file.
#[tokio::test]
async fn the_client_reads_the_stand_ins_grades() {
    let portal = harness::Portal::new().await;
    let limits = LmsLimits::NONE;
    let client =
        portal
            .use_cases()
            .lms_client(portal.secrets_client(), harness::http_client(), limits);
    let client = client.unwrap();
    let mut expected: BTreeMap<CourseId, BTreeMap<String, Score>> = BTreeMap::new();
    for line in local::lms::SAMPLE_GRADES.lines().skip(1) {
        let [username, course_id, percent, passed, letter] =
            <[&str; 5]>::try_from(Vec::from_iter(line.split(','))).unwrap();
        let row = local::lms::GradeRow {
            percent: percent.parse().unwrap(),
            passed: passed == "true",
            letter_grade: (!letter.is_empty()).then(|| letter.to_owned()),
        };
        portal.lms.grade(username, course_id, row.clone());
        let score = Score {
            percent: percent.parse().unwrap(),
            passed: row.passed,
            letter_grade: letter.parse().ok(),
        };
        let course_id = course_id.parse().unwrap();
        let learners = expected.entry(course_id).or_default();
        learners.insert(username.to_owned(), score);
    }
    assert!(expected.len() >= 2);
    for (course_id, learners) in expected {
        let mut read = BTreeMap::new();
        let mut cursor = Some(PageCursor::default());
        while let Some(place) = cursor {
            let page = client.grades_page(&course_id, place.cursor()).await;
            let page = page.unwrap();
            for row in page.rows {
                let row = row.unwrap();
                read.insert(row.username.into(), row.score);
            }
            cursor = place.follow(page.next).unwrap();
        }
        assert_eq!(read, learners, "{course_id}");
        for (username, score) in learners {
            let username = username.parse().unwrap();
            let grade = client.grade(&course_id, &username, super::AMPLE).await;
            assert_eq!(grade, Ok(score), "{course_id} {}", username.as_str());
        }
    }
}
