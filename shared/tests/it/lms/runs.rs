//! The grades of a whole course run, page by page.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::adapters::lms::{GradeRow, LmsError, Nonsense};
use shared::domain::{CourseId, Score, Username};
use shared::use_cases::asking_the_lms::LmsLimits;

use super::server::{Reply, Server};
use super::{RUN, STATIC, Site, is_send, row, run};

fn page(names: &[&str], next: Option<&str>) -> Reply {
    let rows: Vec<Value> = names.iter().map(|name| row(name)).collect();
    Reply::json(
        200,
        &json!({"next": next, "previous": null, "results": rows}),
    )
}

fn names(rows: Option<Vec<Result<GradeRow, Nonsense>>>) -> Vec<String> {
    let rows = rows.unwrap().into_iter();
    rows.map(|row| row.unwrap().username.into()).collect()
}

/// Three pages, each under our own base URL, whatever the LMS takes itself for.
#[tokio::test]
async fn page_by_page() {
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
    let mut grades = site.client.of_run(run());
    assert_eq!(site.server.asked().len(), 0);
    assert_eq!(names(grades.next_page().await.unwrap()), ["a", "b"]);
    // No page is asked for before it is wanted.
    assert_eq!(site.server.asked().len(), 1);
    assert_eq!(names(grades.next_page().await.unwrap()), ["c"]);
    assert!(names(grades.next_page().await.unwrap()).is_empty());
    for _ in 0..2 {
        assert_eq!(grades.next_page().await, Ok(None));
    }
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

/// An old site's bare array is the whole list.
#[tokio::test]
async fn a_bare_array() {
    let site = Site::new(STATIC, |_| Reply::json(200, &json!([row("a"), row("b")]))).await;
    let mut grades = site.client.of_run(run());
    assert_eq!(names(grades.next_page().await.unwrap()), ["a", "b"]);
    assert_eq!(grades.next_page().await, Ok(None));
}

/// A broken row is told as such, and the others are there.
#[tokio::test]
async fn a_broken_row() {
    let site = Site::new(STATIC, |_| {
        let mut broken = row("b");
        broken["percent"] = Value::Null;
        let rows = json!([row("a"), broken, row("c")]);
        Reply::json(200, &json!({"next": null, "results": rows}))
    })
    .await;
    let mut grades = site.client.of_run(run());
    let rows = is_send(grades.next_page()).await.unwrap().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1], Err(Nonsense::Percent));
    assert_eq!(rows[2].as_ref().unwrap().username.as_str(), "c");
}

/// Pages that lead in a circle end, and those that came before are good.
#[tokio::test]
async fn a_circle() {
    let site = Site::new(STATIC, |asked| {
        let next = if asked.number % 2 == 1 { "b" } else { "a" };
        page(&["x"], Some(&format!("http://lms/?cursor={next}")))
    })
    .await;
    let mut grades = site.client.of_run(run());
    for _ in 0..3 {
        assert_eq!(names(grades.next_page().await.unwrap()), ["x"]);
    }
    for _ in 0..2 {
        let circle = Err(Nonsense::Circle.into());
        assert_eq!(grades.next_page().await, circle);
    }
    assert_eq!(site.server.asked().len(), 3);
}

/// A page that fails can be asked for again.
#[tokio::test]
async fn a_page_that_fails() {
    let site = Site::new(STATIC, |asked| match asked.number {
        1 => page(&["a"], Some("?cursor=b")),
        2 => Reply::html(503),
        3 => Reply::BROKEN,
        _ => page(&["b"], None),
    })
    .await;
    let mut grades = site.client.of_run(run());
    assert_eq!(names(grades.next_page().await.unwrap()), ["a"]);
    let failed = Err(LmsError::Unavailable { status: 503 }.into());
    assert_eq!(grades.next_page().await, failed);
    assert_eq!(names(grades.next_page().await.unwrap()), ["b"]);
    assert_eq!(grades.next_page().await, Ok(None));
    let asked = site.server.asked();
    assert_eq!(asked[1].line, asked[3].line);
}

/// What the stand-in's file says is what the client reads, learner by learner
/// and page by page; `tools/peers` holds a client that is not ours against the
/// same file.
#[tokio::test]
async fn the_stand_ins_file_is_what_is_read() {
    let portal = harness::Portal::new().await;
    let limits = LmsLimits::NONE;
    let client =
        portal
            .use_cases()
            .lms_client(portal.secrets_client(), harness::http_client(), limits);
    let client = client.unwrap();
    let mut expected: BTreeMap<CourseId, BTreeMap<Username, Score>> = BTreeMap::new();
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
        learners.insert(username.parse().unwrap(), score);
    }
    assert!(expected.len() >= 2);
    for (course_id, learners) in expected {
        let mut read = BTreeMap::new();
        let mut run = client.of_run(course_id.clone());
        while let Some(rows) = run.next_page().await.unwrap() {
            for row in rows {
                let row = row.unwrap();
                read.insert(row.username, row.score);
            }
        }
        assert_eq!(read, learners);
        for (username, score) in learners {
            let grade = client.of_learner(&course_id, &username, super::AMPLE).await;
            assert_eq!(grade, Ok(score));
        }
    }
}
