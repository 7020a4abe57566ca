use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::background::client;

const RUN: &str = "course-v1:Demo+RustOnLambda+2026_T3";
const OTHER_RUN: &str = "course-v1:Demo+DistributedSystems+2026_T3";
/// The URL of a port that nothing listens on.
const NOWHERE: &str = "http://127.0.0.1:1";
/// A time longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(20);

fn row(percent: f64, passed: bool, letter_grade: Option<&str>) -> GradeRow {
    GradeRow {
        percent,
        passed,
        letter_grade: letter_grade.map(str::to_owned),
    }
}

/// Returns an LMS where ada has passed, and basho is in another run.
async fn with_ada() -> Lms {
    let lms = Lms::start(0).await.unwrap();
    lms.grade("ada", RUN, row(0.93, true, Some("A")));
    lms.grade("basho", OTHER_RUN, row(0.5, false, None));
    lms
}

fn path(course: &str) -> String {
    format!("/api/grades/v1/courses/{course}/")
}

fn adas() -> String {
    format!("{}?username=ada", path(RUN))
}

/// Returns a client that follows no redirect, like that of the functions.
#[expect(clippy::disallowed_methods, reason = "a client for tests")]
fn careful() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let builder = builder.redirect(reqwest::redirect::Policy::none());
    builder.timeout(LIMIT).build().unwrap()
}

async fn send(lms: &Lms, target: &str, authorization: &str) -> reqwest::Result<reqwest::Response> {
    let request = careful().get(format!("{}{target}", lms.url));
    let request = match authorization {
        "" => request,
        _ => request.header(header::AUTHORIZATION, authorization),
    };
    request.send().await
}

/// Sends a request with a valid credential; returns the status, and JSON or `null`.
async fn ask(lms: &Lms, target: &str) -> (u16, Value) {
    ask_as(lms, target, &format!("Bearer {STATIC_TOKEN}")).await
}

async fn ask_as(lms: &Lms, target: &str, authorization: &str) -> (u16, Value) {
    let answer = send(lms, target, authorization).await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn fetch(lms: &Lms, secret: &str, more: &str) -> reqwest::Response {
    let body =
        format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={secret}{more}");
    let request = careful().post(format!("{}/oauth2/access_token", lms.url));
    let form = "application/x-www-form-urlencoded";
    let request = request.header(header::CONTENT_TYPE, form).body(body);
    request.send().await.unwrap()
}

/// Fetches a token with the known client.
async fn token(lms: &Lms) -> Value {
    let answer = fetch(lms, CLIENT_SECRET, "&token_type=jwt").await;
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

async fn authorization(lms: &Lms) -> String {
    format!("JWT {}", token(lms).await["access_token"].as_str().unwrap())
}

async fn add_fault(lms: &Lms, rule: &Value) -> (u16, Value) {
    let request = client()
        .unwrap()
        .post(format!("{}/_local/fault-rules", lms.url));
    let answer = request.body(rule.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

#[tokio::test]
async fn the_known_client_gets_a_jwt() {
    let lms = Lms::start(0).await.unwrap();
    let first = token(&lms).await;
    assert_eq!(first["expires_in"], 3600);
    assert_eq!(first["token_type"], "JWT");
    assert!(first["scope"].is_string());
    assert_ne!(first["access_token"], token(&lms).await["access_token"]);
}

#[tokio::test]
async fn another_client_is_refused() {
    let lms = Lms::start(0).await.unwrap();
    let answer = fetch(&lms, "wrong", "&token_type=jwt").await;
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({"error": "invalid_client"}));
}

#[tokio::test]
async fn another_grant_is_refused() {
    let lms = Lms::start(0).await.unwrap();
    let url = format!("{}/oauth2/access_token", lms.url);
    for form in ["grant_type=password", ""] {
        let request = client().unwrap().post(&url);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.body(form).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body, json!({"error": "unsupported_grant_type"}));
    }
}

#[tokio::test]
async fn everything_else_is_not_found() {
    let lms = Lms::start(0).await.unwrap();
    for path in ["/oauth2/", "/api/grades/v1/courses/", "/"] {
        let (status, body) = ask(&lms, path).await;
        assert_eq!(status, 404);
        assert!(body["developer_message"].is_string());
    }
    let answer = send(&lms, "/oauth2/access_token", "").await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn a_learner_is_an_array_of_one() {
    let lms = with_ada().await;
    lms.grade("extra", RUN, row(1.07, true, Some("")));
    lms.grade("none", RUN, row(0.0, false, None));
    let expected = json!([{
        "username": "ada", "email": "", "course_id": RUN,
        "passed": true, "percent": 0.93, "letter_grade": "A",
    }]);
    assert_eq!(ask(&lms, &adas()).await, (200, expected));
    let (_, extra) = ask(&lms, &format!("{}?username=extra", path(RUN))).await;
    assert_eq!(extra[0]["percent"], 1.07);
    assert_eq!(extra[0]["letter_grade"], "");
    let (_, none) = ask(&lms, &format!("{}?username=none", path(RUN))).await;
    assert_eq!(none[0]["percent"], 0.0);
    assert_eq!(none[0]["letter_grade"], Value::Null);
}

#[tokio::test]
async fn a_course_id_may_be_raw_encoded_or_legacy() {
    let lms = with_ada().await;
    lms.grade("ada", "Org/Course/Run", row(0.5, false, None));
    for (course, id) in [
        (RUN, RUN),
        ("course-v1%3ADemo%2BRustOnLambda%2B2026_T3", RUN),
        ("Org/Course/Run", "Org/Course/Run"),
        ("Org%2FCourse%2FRun", "Org/Course/Run"),
    ] {
        let (status, body) = ask(&lms, &format!("{}?username=ada", path(course))).await;
        assert_eq!((status, &body[0]["course_id"]), (200, &json!(id)));
    }
}

#[tokio::test]
async fn a_path_without_the_slash_is_redirected() {
    let lms = with_ada().await;
    let target = format!("/api/grades/v1/courses/{RUN}?username=ada");
    let answer = send(&lms, &target, "").await.unwrap();
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()[header::LOCATION], adas());
}

#[tokio::test]
async fn unknown_runs_and_learners_have_an_error_code() {
    let lms = with_ada().await;
    for (course, username, code) in [
        ("None", "ada", "invalid_course_key"),
        ("course-v1:A+B", "ada", "invalid_course_key"),
        ("Org/Course", "ada", "invalid_course_key"),
        ("course-v1:A+B+C", "ada", "course_does_not_exist"),
        ("Org/Course/Run", "ada", "course_does_not_exist"),
        (RUN, "basho", "user_not_enrolled"),
        (RUN, "nobody", "user_does_not_exist"),
    ] {
        let (status, body) = ask(&lms, &format!("{}?username={username}", path(course))).await;
        assert_eq!((status, &body["error_code"]), (404, &json!(code)));
        assert!(body["developer_message"].is_string());
    }
    lms.grade("ada", OTHER_RUN, row(0.0, false, None));
    lms.remove("ada", RUN);
    let (_, body) = ask(&lms, &adas()).await;
    assert_eq!(body["error_code"], "user_not_enrolled");
    let nobody = json!({"next": null, "previous": null, "results": []});
    assert_eq!(ask(&lms, &path(RUN)).await, (200, nobody));
}

#[tokio::test]
async fn a_credential_is_needed() {
    let lms = with_ada().await;
    let jwt = authorization(&lms).await;
    let other = authorization(&with_ada().await).await;
    let swapped = jwt.replace("JWT", "Bearer");
    let plain: Value = fetch(&lms, CLIENT_SECRET, "").await.json().await.unwrap();
    assert_eq!(plain["token_type"], "Bearer");
    let plain = plain["access_token"].as_str().unwrap();
    // The error of a JWT is not named.
    let [invalid, absent] = [
        "Invalid token.",
        "Authentication credentials were not provided.",
    ]
    .map(|message| Some(json!(message)));
    let code = |code: &str| Some(json!(code));
    for (authorization, said) in [
        (jwt.as_str(), None),
        (&jwt.replace("JWT", "jwt"), None),
        (&format!("Bearer {plain}"), None),
        (&format!("Bearer {STATIC_TOKEN}"), None),
        (&format!("JWT {STATIC_TOKEN}"), invalid.clone()),
        (&swapped, code("token_nonexistent")),
        ("Bearer", code("token_not_provided")),
        ("Bearer a b", code("token_malformed")),
        (&other, invalid),
        ("", absent.clone()),
        ("Basic YWRh", absent.clone()),
        ("JWT", absent.clone()),
        ("JWT a b", absent),
    ] {
        let (status, body) = ask_as(&lms, &adas(), authorization).await;
        let message = &body["developer_message"];
        match said {
            None => assert_eq!(status, 200, "{authorization}"),
            Some(said) => {
                let found = message.get("error_code").unwrap_or(message);
                assert_eq!((status, found), (401, &said), "{authorization}");
            }
        }
    }
}

#[tokio::test]
async fn tokens_expire_by_rule_and_by_age() {
    let lms = with_ada().await;
    let old = authorization(&lms).await;
    assert_eq!(ask_as(&lms, &adas(), &old).await.0, 200);
    lms.add_fault(FaultRule::of(LmsFault::Expire));
    let (status, body) = ask_as(&lms, &adas(), &old).await;
    let invalid = json!({"developer_message": "Invalid token."});
    assert_eq!((status, &body), (401, &invalid));
    let new = authorization(&lms).await;
    assert_eq!(ask_as(&lms, &adas(), &new).await.0, 200);

    lms.add_fault(FaultRule::of(LmsFault::Live { seconds: 0 }).times(1));
    let brief = token(&lms).await;
    assert_eq!(brief["expires_in"], 0);
    let brief = format!("JWT {}", brief["access_token"].as_str().unwrap());
    assert_eq!(ask_as(&lms, &adas(), &brief).await, (401, invalid));
    assert_eq!(token(&lms).await["expires_in"], 3600);
}

/// Follows `next` to the end; returns the sizes of the pages and the usernames.
async fn walk(lms: &Lms, query: &str) -> (Vec<usize>, Vec<String>) {
    let (mut sizes, mut names) = (Vec::new(), Vec::new());
    let mut target = format!("{}{query}", path(RUN));
    loop {
        let (status, page) = ask(lms, &target).await;
        assert_eq!((status, &page["previous"]), (200, &Value::Null));
        let rows = page["results"].as_array().unwrap();
        sizes.push(rows.len());
        let name = |row: &Value| row["username"].as_str().unwrap().to_owned();
        names.extend(rows.iter().map(name));
        match page["next"].as_str() {
            Some(next) => target = next.strip_prefix(&lms.url).unwrap().to_owned(),
            None => return (sizes, names),
        }
    }
}

#[tokio::test]
async fn a_whole_course_comes_in_pages() {
    let lms = with_ada().await;
    for n in 1..120 {
        lms.grade(&format!("learner{n}"), RUN, row(0.5, false, None));
    }
    for (query, expected) in [
        ("", vec![50, 50, 20]),
        ("?username=", vec![50, 50, 20]),
        ("?page_size=none", vec![50, 50, 20]),
        ("?page_size=0", vec![50, 50, 20]),
        ("?page_size=100", vec![100, 20]),
        ("?page_size=60", vec![60, 60]),
        ("?page_size=200", vec![120]),
    ] {
        let (sizes, names) = walk(&lms, query).await;
        assert_eq!(sizes, expected, "{query}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 120);
    }
    for cursor in ["none", "%3D"] {
        let (status, body) = ask(&lms, &format!("{}?cursor={cursor}", path(RUN))).await;
        assert_eq!(
            (status, &body["developer_message"]),
            (404, &json!("Invalid cursor"))
        );
    }
    // A cursor that can be decoded and has no content leads to the first page.
    let first = ask(&lms, &path(RUN)).await;
    let nothing = ask(&lms, &format!("{}?cursor=eA%3D%3D", path(RUN))).await;
    assert_eq!(nothing, first);
}

/// Returns the path of the list of enrollments with this query.
fn enrollments(query: &str) -> String {
    format!("/api/enrollment/v1/enrollments?{query}")
}

fn enrollment(username: &str, course: &str, mode: &str, is_active: bool) -> Value {
    json!({
        "created": "2026-07-01T00:00:00Z", "mode": mode, "is_active": is_active,
        "user": username, "course_id": course,
    })
}

fn list(rows: &[Value]) -> Value {
    json!({"next": null, "previous": null, "results": rows})
}

#[tokio::test]
async fn enrollments_of_a_run_of_a_learner_or_of_both() {
    let lms = with_ada().await;
    lms.enroll("zeno", RUN, "audit", true);
    lms.enroll("a-b_c", RUN, "verified", false);
    lms.enroll("a+b", OTHER_RUN, "verified", false);
    lms.enroll("zeno", OTHER_RUN, "honor", true);
    let [zeno, other] = [(RUN, "audit"), (OTHER_RUN, "honor")]
        .map(|(course, mode)| enrollment("zeno", course, mode, true));
    let dash = enrollment("a-b_c", RUN, "verified", false);
    let run = format!("course_id={}", RUN.replace('+', "%2B"));
    for (query, rows) in [
        (run.clone(), vec![dash.clone(), zeno.clone()]),
        (format!("{run}&username="), vec![dash.clone(), zeno.clone()]),
        (
            format!("{run}&username=zeno,nobody,a-b_c"),
            vec![dash.clone(), zeno.clone()],
        ),
        (
            format!("{run}&username={}", vec!["zeno"; 100].join(",")),
            vec![zeno.clone()],
        ),
        ("username=zeno".to_owned(), vec![other, zeno.clone()]),
        (format!("{run}&username=zeno"), vec![zeno]),
        (format!("{run}&username=a-b_c"), vec![dash]),
        // The two lists are independent.
        (format!("{run}&username=ada"), vec![]),
        ("username=nobody".to_owned(), vec![]),
        ("course_id=Org/Course/Run".to_owned(), vec![]),
    ] {
        let described = ask(&lms, &enrollments(&query)).await;
        assert_eq!(described, (200, list(&rows)), "{query}");
    }
    let (_, body) = ask(&lms, &format!("{}?username=zeno", path(RUN))).await;
    assert_eq!(body["error_code"], "user_does_not_exist");
    let hundred_and_one = format!("{run}&username={}", vec!["zeno"; 101].join(","));
    let raw = format!("course_id={RUN}");
    for (query, fields) in [
        ("course_id=None", vec!["course_id"]),
        (&raw, vec!["course_id"]),
        (&format!("{run}&username=a%2Bb"), vec!["username"]),
        ("username=a.b", vec!["username"]),
        (&format!("{run}&username=zeno,"), vec!["username"]),
        (&hundred_and_one, vec!["username"]),
        (
            "course_id=None&username=%C3%A9",
            vec!["course_id", "username"],
        ),
    ] {
        let (status, body) = ask(&lms, &enrollments(query)).await;
        let named = body["developer_message"].as_object().unwrap();
        let named: Vec<_> = named.keys().map(String::as_str).collect();
        assert_eq!((status, named), (400, fields), "{query}");
    }
    for query in ["", "username=ada,zeno"] {
        assert_eq!(ask(&lms, &enrollments(query)).await.0, 400, "{query}");
    }
    let (status, body) = ask_as(&lms, &enrollments(&run), "").await;
    let absent = "Authentication credentials were not provided.";
    assert_eq!((status, body), (401, json!({"developer_message": absent})));
    lms.enroll("zeno", RUN, "audit", false);
    let inactive = list(&[enrollment("zeno", RUN, "audit", false)]);
    let target = enrollments(&format!("{run}&username=zeno"));
    assert_eq!(ask(&lms, &target).await.1, inactive);
    lms.unlist("zeno", RUN);
    assert_eq!(ask(&lms, &target).await, (200, list(&[])));
    assert_eq!((lms.count(At::Enrollments), lms.count(At::Grades)), (22, 1));
}

/// Usernames ignore the case of letters, and answers have the LMS's own spelling.
#[tokio::test]
async fn the_case_of_a_username_does_not_matter() {
    let lms = with_ada().await;
    lms.grade("Kepler", RUN, row(0.7, true, None));
    lms.grade("Tycho", OTHER_RUN, row(0.7, true, None));
    lms.enroll("Kepler", RUN, "audit", true);
    lms.enroll("Kepler", OTHER_RUN, "honor", true);
    let run = format!("course_id={}", RUN.replace('+', "%2B"));
    for asked in ["Kepler", "kepler", "KEPLER"] {
        let (_, rows) = ask(&lms, &format!("{}?username={asked}", path(RUN))).await;
        assert_eq!(rows[0]["username"], "Kepler", "{asked}");
        for (query, count) in [
            (format!("username={asked}"), 2),
            (format!("{run}&username={asked}"), 1),
        ] {
            let (_, page) = ask(&lms, &enrollments(&query)).await;
            let rows = page["results"].as_array().unwrap();
            let names = Vec::from_iter(rows.iter().map(|row| row["user"].clone()));
            assert_eq!(names, vec![json!("Kepler"); count], "{query}");
        }
    }
    let (_, body) = ask(&lms, &format!("{}?username=TYCHO", path(RUN))).await;
    assert_eq!(body["error_code"], "user_not_enrolled");

    // Another spelling is not another learner.
    lms.grade("KEPLER", RUN, row(0.8, true, None));
    let (_, names) = walk(&lms, "?page_size=1").await;
    assert_eq!(names, ["ada", "KEPLER"]);
    lms.remove("kepler", RUN);
    assert_eq!(walk(&lms, "").await.1, ["ada"]);
    lms.unlist("kepler", RUN);
    assert_eq!(ask(&lms, &enrollments(&run)).await, (200, list(&[])));
}

#[tokio::test]
async fn enrollments_come_in_pages() {
    let lms = Lms::start(0).await.unwrap();
    for n in 0..250 {
        lms.enroll(&format!("learner{n:03}"), "a/b/c", "audit", true);
        lms.enroll("ada", &format!("a/b/{n:03}"), "audit", true);
    }
    for (asked, key, expected) in [
        ("course_id=a/b/c", "user", [100, 100, 50]),
        ("username=ada", "course_id", [100, 100, 50]),
        ("page_size=500&course_id=a/b/c", "user", [100, 100, 50]),
        ("course_id=a/b/c&page_size=90", "user", [90, 90, 70]),
    ] {
        let (mut sizes, mut keys) = (Vec::new(), BTreeSet::new());
        let mut next = Some(enrollments(asked));
        while let Some(target) = next {
            let (_, page) = ask(&lms, &target).await;
            let rows = page["results"].as_array().unwrap();
            sizes.push(rows.len());
            keys.extend(rows.iter().map(|row| row[key].to_string()));
            let further = page["next"].as_str();
            next = further.map(|next| next.strip_prefix(&lms.url).unwrap().to_owned());
        }
        assert_eq!(sizes, expected, "{asked}");
        assert_eq!(keys.len(), 250);
    }
}

#[tokio::test]
async fn the_sample_enrollments_match_the_sample_grades() {
    let folder = tempfile::tempdir().unwrap();
    let [grades, file] = ["grades.csv", "lms-enrollments.csv"].map(|name| folder.path().join(name));
    std::fs::write(&grades, SAMPLE_GRADES).unwrap();
    std::fs::write(&file, SAMPLE_ENROLLMENTS).unwrap();
    let lms = Lms::on_files(&grades, &file, 0).await.unwrap();
    let all = enrollments(&format!("course_id={}", RUN.replace('+', "%2B")));
    let (_, page) = ask(&lms, &all).await;
    let rows = page["results"].as_array().unwrap();
    let has = |like: &dyn Fn(&Value) -> bool| assert!(rows.iter().any(like));
    has(&|row| row["mode"] == "verified" && row["is_active"] == true);
    has(&|row| row["mode"] == "audit");
    has(&|row| row["is_active"] == false);
    // The portal does not know every learner of the LMS.
    let users = include_str!("../../samples/users.csv");
    has(&|row| !users.contains(row["user"].as_str().unwrap()));
    for line in SAMPLE_GRADES.lines().skip(1) {
        let [username, course] = line.splitn(3, ',').collect::<Vec<_>>()[..2] else {
            panic!("{line}");
        };
        let line = format!("{username},{course},");
        assert!(SAMPLE_ENROLLMENTS.contains(&line), "{line}");
    }
    std::fs::write(&file, "username,course_id,mode\nada,a/b/c,audit\n").unwrap();
    let (status, body) = ask(&lms, &all).await;
    let message = body["developer_message"].as_str().unwrap();
    assert_eq!(status, 500);
    assert!(message.contains("lms-enrollments.csv"), "{message}");
    assert!(message.contains("line: 2"), "{message}");
    assert_eq!(ask(&lms, &adas()).await.0, 200);
}

#[tokio::test]
async fn the_sample_grades_have_every_kind_of_grade() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grades.csv");
    std::fs::write(&file, SAMPLE_GRADES).unwrap();
    let lms = Lms::on_files(&file, "none", 0).await.unwrap();
    let (_, ada) = ask(&lms, &adas()).await;
    assert_eq!(ada[0]["passed"], true);
    let (_, page) = ask(&lms, &path(RUN)).await;
    let rows = page["results"].as_array().unwrap();
    let has = |like: &dyn Fn(&Value) -> bool| assert!(rows.iter().any(like));
    has(&|row| row["passed"] == false && row["percent"] != 0.0);
    has(&|row| row["percent"].as_f64() > Some(1.0));
    has(&|row| row["letter_grade"].is_null());
    has(&|row| row["percent"] == 0.0);
}

#[tokio::test]
async fn an_edited_file_shows_in_the_next_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grades.csv");
    let lms = Lms::on_files(&file, "none", 0).await.unwrap();
    let head = "username,course_id,percent,passed,letter_grade";
    let ada = format!("ada,{RUN},0.4,false,");
    for (text, said) in [
        (format!("{head}\n{ada}\nada,{RUN},half,true,\n"), "line: 3"),
        (format!("{head}\n{ada}\nada,{RUN},1\n"), "line: 3"),
        (format!("{head}\n{ada}\n{ada}\n"), "line 3"),
        (format!("{head}\n{ada}\nA{}\n", &ada[1..]), "line 3"),
        (format!("{head}\n{ada}\nb,{RUN},NaN,true,\n"), "line: 3"),
        (format!("{head}\n,{RUN},1,true,\n"), "line 2"),
        (format!("{head}\nb,None,1,true,\n"), "line 2"),
        (format!("username,percent\n{ada}\n"), "line: 2"),
        (format!("{head}\n{ada}\n"), ""),
        (format!("{head}\nada , {RUN} , 1.1, true, A\n"), ""),
    ] {
        std::fs::write(&file, &text).unwrap();
        let (status, body) = ask(&lms, &adas()).await;
        if said.is_empty() {
            assert_eq!(status, 200, "{body}");
        } else {
            let message = body["developer_message"].as_str().unwrap();
            assert_eq!(status, 500);
            assert!(
                message.contains(said) && message.contains("grades.csv"),
                "{message}"
            );
        }
    }
    let (_, body) = ask(&lms, &adas()).await;
    assert_eq!(body[0]["percent"], 1.1);
    assert_eq!(body[0]["letter_grade"], "A");
    // A row that a test sets has precedence over the file.
    lms.grade("ada", RUN, row(0.2, false, None));
    assert_eq!(ask(&lms, &adas()).await.1[0]["percent"], 0.2);
    lms.remove("ada", RUN);
    assert_eq!(ask(&lms, &adas()).await.1[0]["percent"], 1.1);
    // Another file of the same length replaces it.
    let other = folder.path().join("other.csv");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&other, text.replace("1.1", "1.2")).unwrap();
    std::fs::rename(&other, &file).unwrap();
    assert_eq!(ask(&lms, &adas()).await.1[0]["percent"], 1.2);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask(&lms, &adas()).await.0, 500);
}

#[tokio::test]
async fn fault_rules_give_each_status_with_its_body() {
    let lms = with_ada().await;
    let fail = |status| LmsFault::Fail { status };
    let page = |status| LmsFault::Page {
        status,
        retry_after: None,
    };
    let deny = |error_code| LmsFault::Deny { error_code };
    let throttle = LmsFault::Throttle { retry_after: None };
    for (fault, status, code) in [
        (throttle, 429, Some(Value::Null)),
        (page(400), 400, None),
        (page(401), 401, None),
        (page(403), 403, None),
        (page(503), 503, None),
        (fail(500), 500, None),
        (fail(502), 502, None),
        (fail(503), 503, None),
        (LmsFault::Html, 200, None),
        (LmsFault::Refuse, 403, Some(Value::Null)),
        (
            deny(TokenError::TokenExpired),
            401,
            Some(json!("token_expired")),
        ),
        (
            deny(TokenError::TokenMalformed),
            401,
            Some(json!("token_malformed")),
        ),
        (
            deny(TokenError::TokenNonexistent),
            401,
            Some(json!("token_nonexistent")),
        ),
    ] {
        lms.add_fault(FaultRule::of(fault.clone()).times(1));
        let answer = send(&lms, &adas(), "").await.unwrap();
        assert_eq!(answer.status(), status, "{fault:?}");
        assert!(!answer.headers().contains_key(header::RETRY_AFTER));
        let text = answer.text().await.unwrap();
        match code {
            None => assert!(text.starts_with("<!DOCTYPE html>"), "{fault:?}"),
            Some(code) => {
                let body: Value = serde_json::from_str(&text).unwrap();
                let said = &body["developer_message"]["error_code"];
                assert_eq!(said, &code, "{fault:?}");
            }
        }
    }
    let retry_after = Some(30);
    for fault in [
        LmsFault::Throttle { retry_after },
        LmsFault::Page {
            status: 503,
            retry_after,
        },
    ] {
        lms.add_fault(FaultRule::of(fault).times(1));
        let answer = send(&lms, &adas(), "").await.unwrap();
        assert_eq!(answer.headers()[header::RETRY_AFTER], "30");
    }
}

#[tokio::test]
async fn fault_rules_apply_to_the_token_endpoint() {
    let lms = with_ada().await;
    let expired = TokenError::TokenExpired;
    for (fault, status, html) in [
        (LmsFault::Throttle { retry_after: None }, 429, true),
        (LmsFault::Refuse, 403, true),
        (
            LmsFault::Deny {
                error_code: expired,
            },
            401,
            false,
        ),
        (LmsFault::Fail { status: 500 }, 500, true),
    ] {
        lms.add_fault(FaultRule::of(fault).at(At::Token).times(1));
        // The rule does not affect grades.
        assert_eq!(ask(&lms, &adas()).await.0, 200);
        let answer = fetch(&lms, CLIENT_SECRET, "&token_type=jwt").await;
        assert_eq!(answer.status(), status);
        assert!(!answer.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(answer.text().await.unwrap().starts_with('<'), html);
    }
    token(&lms).await;
    lms.add_fault(FaultRule::of(LmsFault::Refuse).at(At::All).times(2));
    assert_eq!(fetch(&lms, CLIENT_SECRET, "").await.status(), 403);
    assert_eq!(ask(&lms, &adas()).await.0, 403);
    token(&lms).await;
}

#[tokio::test]
async fn fault_rules_change_grades() {
    let lms = with_ada().await;
    for (fault, field, value) in [
        (LmsFault::Lag, "passed", json!(false)),
        (LmsFault::Lag, "percent", json!(0.465)),
        (LmsFault::Zero, "passed", json!(false)),
        (LmsFault::Zero, "percent", json!(0.0)),
        (LmsFault::Zero, "letter_grade", Value::Null),
        (LmsFault::OtherLearner, "username", json!("somebody-else")),
        (
            LmsFault::OtherRun,
            "course_id",
            json!("course-v1:Other+Course+Run"),
        ),
        (LmsFault::PercentNull, "percent", Value::Null),
        (LmsFault::PercentText, "percent", json!("0.93")),
        (LmsFault::PercentTooHigh, "percent", json!(7.5)),
        (LmsFault::PassedText, "passed", json!("yes")),
        (
            LmsFault::LetterTooLong,
            "letter_grade",
            json!("A".repeat(256)),
        ),
    ] {
        lms.add_fault(FaultRule::of(fault).times(2));
        assert_eq!(ask(&lms, &adas()).await.1[0][field], value);
        assert_eq!(ask(&lms, &path(RUN)).await.1["results"][0][field], value);
        assert_eq!(ask(&lms, &adas()).await.1[0]["percent"], 0.93);
    }
    lms.add_fault(FaultRule::of(LmsFault::NoRow).times(1));
    assert_eq!(ask(&lms, &adas()).await, (200, json!([])));
    lms.add_fault(FaultRule::of(LmsFault::Bare));
    let (_, bare) = ask(&lms, &path(RUN)).await;
    assert_eq!(bare[0]["username"], "ada");
}

#[tokio::test]
async fn fault_rules_change_enrollments() {
    let lms = with_ada().await;
    lms.enroll("ada", "a/b/c", "verified", true);
    lms.enroll("zeno", "a/b/c", "audit", true);
    let all = enrollments("course_id=a/b/c&page_size=1");
    let at = |fault| FaultRule::of(fault).at(At::Enrollments).times(1);
    let other_run = json!("course-v1:Other+Course+Run");
    for (fault, field, value) in [
        (LmsFault::OtherLearner, "user", json!("somebody-else")),
        (LmsFault::OtherRun, "course_id", other_run),
        (LmsFault::ModeNumber, "mode", json!(7)),
        (LmsFault::ActiveText, "is_active", json!("yes")),
    ] {
        lms.add_fault(at(fault));
        // The rule does not affect grades.
        assert_eq!(ask(&lms, &adas()).await.1[0]["percent"], 0.93);
        let (_, page) = ask(&lms, &all).await;
        assert_eq!(page["results"][0][field], value);
        let (_, page) = ask(&lms, &all).await;
        let ada = enrollment("ada", "a/b/c", "verified", true);
        assert_eq!(page["results"], json!([ada]));
    }
    lms.add_fault(at(LmsFault::NoRow));
    assert_eq!(ask(&lms, &all).await.1["results"], json!([]));
    let to = NOWHERE.to_owned();
    for (fault, origin) in [
        (LmsFault::Misdirect { to }, NOWHERE),
        (LmsFault::Repeat, &lms.url),
    ] {
        lms.add_fault(at(fault.clone()));
        let (_, page) = ask(&lms, &all).await;
        let next = page["next"].as_str().unwrap();
        let (_, page) = ask(&lms, next.strip_prefix(origin).unwrap()).await;
        let is_first = page["results"][0]["user"] == "ada";
        assert_eq!(is_first, fault == LmsFault::Repeat);
    }
    lms.add_fault(at(LmsFault::Fail { status: 503 }));
    assert_eq!(ask(&lms, &all).await.0, 503);
    // A token has no rows, and a rule for all parts does not count its requests.
    lms.add_fault(at(LmsFault::NoRow).at(At::All));
    token(&lms).await;
    assert_eq!(ask(&lms, &all).await.1["results"], json!([]));
    assert_eq!(lms.rules(), []);
}

#[tokio::test]
async fn fault_rules_make_pages_repeat() {
    let lms = with_ada().await;
    lms.grade("zeno", RUN, row(0.5, false, None));
    let first = format!("{}?page_size=1", path(RUN));
    let to = "http://other-host.example".to_owned();
    lms.add_fault(FaultRule::of(LmsFault::Misdirect { to }).times(1));
    let (_, page) = ask(&lms, &first).await;
    let next = page["next"].as_str().unwrap();
    let next = next.strip_prefix("http://other-host.example").unwrap();
    let (_, page) = ask(&lms, next).await;
    assert_eq!(page["results"][0]["username"], "zeno");

    lms.add_fault(FaultRule::of(LmsFault::Repeat));
    let (_, page) = ask(&lms, &first).await;
    let next = page["next"].as_str().unwrap();
    let (_, again) = ask(&lms, next.strip_prefix(&lms.url).unwrap()).await;
    assert_eq!(again["next"], next);
    assert_eq!(again["results"], page["results"]);
}

#[tokio::test]
async fn fault_rules_redirect_to_another_origin() {
    let lms = with_ada().await;
    let to = NOWHERE.to_owned();
    lms.add_fault(FaultRule::of(LmsFault::Redirect { to }));
    let answer = send(&lms, &adas(), "").await.unwrap();
    assert_eq!(answer.status(), 302);
    let location = format!("{NOWHERE}{}", adas());
    assert_eq!(answer.headers()[header::LOCATION], location);
}

#[tokio::test]
async fn a_huge_answer_is_valid_json() {
    let lms = with_ada().await;
    lms.add_fault(FaultRule::of(LmsFault::Huge));
    let credential = format!("Bearer {STATIC_TOKEN}");
    let answer = send(&lms, &adas(), &credential).await.unwrap();
    assert_eq!(answer.content_length(), None);
    let bytes = answer.bytes().await.unwrap();
    assert!(bytes.len() > 1 << 20);
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(body[0]["username"], "ada");
}

/// Returns the bytes of the answer until the connection ends.
async fn wire(lms: &Lms) -> String {
    let host = lms.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {STATIC_TOKEN}\r\n\r\n",
        adas()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let all = stream.read_to_end(&mut said);
    timeout(LIMIT, all).await.unwrap().unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_dropped_connection_sends_nothing() {
    let lms = with_ada().await;
    lms.add_fault(FaultRule::of(LmsFault::Drop).times(2));
    assert_eq!(wire(&lms).await, "");
    assert!(send(&lms, &adas(), "").await.unwrap_err().is_request());
    assert_eq!(lms.count(At::Grades), 2);
}

#[tokio::test]
async fn a_half_answer_promises_the_whole() {
    let lms = with_ada().await;
    let whole = ask(&lms, &adas()).await.1.to_string().len();
    lms.add_fault(FaultRule::of(LmsFault::Half).times(2));
    let said = wire(&lms).await;
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {whole}")), "{head}");
    assert_eq!(body.len(), whole / 2);
    let credential = format!("Bearer {STATIC_TOKEN}");
    let answer = send(&lms, &adas(), &credential).await.unwrap();
    answer.bytes().await.unwrap_err();
}

#[tokio::test]
async fn a_slow_answer_comes_and_a_hanging_one_does_not() {
    let lms = with_ada().await;
    lms.add_fault(FaultRule::of(LmsFault::Slow { delay_ms: 100 }).times(1));
    let began = tokio::time::Instant::now();
    assert_eq!(ask(&lms, &adas()).await.0, 200);
    assert!(began.elapsed() >= Duration::from_millis(100));
    lms.add_fault(FaultRule::of(LmsFault::Hang).times(1));
    let adas = adas();
    let hanging = timeout(Duration::from_millis(200), ask(&lms, &adas));
    assert!(hanging.await.is_err());
    assert_eq!(ask(&lms, &adas).await.0, 200);
}

#[tokio::test]
async fn fault_rules_apply_in_order_and_can_be_revoked() {
    let lms = with_ada().await;
    let fail = |status| FaultRule::of(LmsFault::Fail { status });
    lms.add_fault(fail(500).times(0));
    lms.add_fault(fail(501).times(2));
    lms.add_fault(fail(502).times(1));
    lms.add_fault(fail(503));
    for status in [501, 501, 502, 503, 503] {
        assert_eq!(ask(&lms, &adas()).await.0, status);
    }
    assert_eq!(lms.rules(), [fail(503)]);
    lms.revoke();
    assert_eq!(ask(&lms, &adas()).await.0, 200);
}

/// The third request fails three times; of two rules that apply, the older one counts.
#[tokio::test]
async fn fault_rules_can_spare_the_first_requests() {
    let lms = with_ada().await;
    let fail = |status| FaultRule::of(LmsFault::Fail { status });
    lms.add_fault(fail(503).after(2).times(3));
    lms.add_fault(fail(501).after(1).times(2));
    for status in [200, 501, 503, 503, 503, 501, 200] {
        // A request that a rule does not apply to is not counted.
        token(&lms).await;
        assert_eq!(ask(&lms, &adas()).await.0, status);
    }
    assert_eq!(lms.rules(), []);
    let (_, standing) = add_fault(&lms, &json!({"do": "drop", "after": 5})).await;
    assert_eq!(standing[0]["after"], 5);
    assert_eq!(ask(&lms, &adas()).await.0, 200);
    assert_eq!(lms.rules(), [FaultRule::of(LmsFault::Drop).after(4)]);
}

#[tokio::test]
async fn fault_rules_can_be_set_over_http() {
    let lms = with_ada().await;
    let throttle = json!({"do": "throttle", "retry_after": 30, "times": 1});
    let (status, standing) = add_fault(&lms, &throttle).await;
    let full = json!([
        {"do": "throttle", "retry_after": 30, "at": "grades", "after": 0, "times": 1}
    ]);
    assert_eq!((status, standing), (201, full));
    assert_eq!(ask(&lms, &adas()).await.0, 429);
    assert_eq!(ask(&lms, &adas()).await.0, 200);

    add_fault(&lms, &json!({"do": "fail", "at": "all"})).await;
    let stands = json!([
        {"do": "fail", "status": 500, "at": "all", "after": 0, "times": null}
    ]);
    assert_eq!(ask(&lms, "/_local/fault-rules").await, (200, stands));
    assert_eq!(ask(&lms, &adas()).await.0, 500);
    let url = format!("{}/_local/fault-rules", lms.url);
    let answer = client().unwrap().delete(url).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap(), json!([]));
    assert_eq!(ask(&lms, &adas()).await.0, 200);

    // A fault that happens at once leaves no rule.
    let jwt = authorization(&lms).await;
    assert_eq!(
        add_fault(&lms, &json!({"do": "expire"})).await,
        (201, json!([]))
    );
    assert_eq!(ask_as(&lms, &adas(), &jwt).await.0, 401);
}

#[tokio::test]
async fn an_invalid_fault_rule_is_answered_with_the_valid_ones() {
    let lms = with_ada().await;
    for (wrong, said) in [
        (json!({"do": "explode"}), "`explode`"),
        (json!({"times": 3}), "`do`"),
        (json!({"do": "hang", "tims": 3}), "`tims`"),
        (json!({"do": "hang", "retry_after": 3}), "`retry_after`"),
        (json!({"do": "hang", "at": "home"}), "`home`"),
        (json!({"do": "hang", "times": -1}), "-1"),
        (json!({"do": "slow"}), "`delay_ms`"),
        (json!({"do": "fail", "status": 200}), "`status`"),
        (json!("hang"), "string"),
    ] {
        let (status, body) = add_fault(&lms, &wrong).await;
        let message = body["developer_message"].as_str().unwrap();
        assert_eq!(status, 400);
        assert!(message.contains(said), "{message}");
        assert_eq!(body["allowed"].as_array().unwrap().len(), 29);
    }
    assert_eq!(lms.rules(), []);

    // Each fault in the list can be sent as it is given there, and none is left out.
    let (_, body) = add_fault(&lms, &json!({"do": ""})).await;
    let all = body["allowed"].as_array().unwrap();
    for allowed in all {
        assert_eq!(add_fault(&lms, allowed).await.0, 201, "{allowed}");
    }
    let names: Vec<_> = all
        .iter()
        .map(|one| format!("`{}`", one["do"].as_str().unwrap()))
        .collect();
    let message = body["developer_message"].as_str().unwrap();
    assert!(message.ends_with(&names.join(", ")), "{message}");
}

#[tokio::test]
async fn calls_are_recorded() {
    let lms = with_ada().await;
    let jwt = authorization(&lms).await;
    ask_as(&lms, &adas(), &jwt).await;
    ask(&lms, &path(RUN)).await;
    ask_as(&lms, &path("Org%2FCourse%2FRun"), "secret").await;
    let grades = |path: String, query: Option<&str>, scheme: Option<&str>| LmsCall {
        method: "GET".into(),
        path,
        query: query.map(str::to_owned),
        username: query.map(|_| "ada".to_owned()),
        scheme: scheme.map(str::to_owned),
    };
    let calls = lms.calls();
    assert_eq!(calls[0].method, "POST");
    assert_eq!(calls[0].path, "/oauth2/access_token");
    let expected = [
        grades(path(RUN), Some("username=ada"), Some("JWT")),
        grades(path(RUN), None, Some("Bearer")),
        grades(path("Org%2FCourse%2FRun"), None, None),
    ];
    assert_eq!(calls[1..], expected);
    assert_eq!((lms.count(At::Token), lms.count(At::Grades)), (1, 3));
    assert_eq!(lms.count(At::All), 4);
    let (_, described) = ask(&lms, "/_local/calls").await;
    assert_eq!(described, serde_json::to_value(&calls).unwrap());
    assert_eq!(described[1]["username"], "ada");
}
