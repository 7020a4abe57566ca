use serde_json::Value;

use crate::harness::CliFixture;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tables.md"));

/// A signature is required; the stand-in does not check whose it is.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20261122/us-east-1/dynamodb/aws4_request, \
    SignedHeaders=host, Signature=0";

/// Returns the page's examples, each with the operation of the command before it.
fn examples() -> Vec<(&'static str, &'static str)> {
    let blocks = PAGE.split("```json\n").skip(1).zip(PAGE.split("```json\n"));
    let examples = blocks.map(|(block, before)| {
        let command = before.rsplit("`aws dynamodb ").next().unwrap();
        let operation = match command.split(' ').next().unwrap() {
            "put-item" => "PutItem",
            "transact-write-items" => "TransactWriteItems",
            other => panic!("{other}"),
        };
        (operation, block.split("```").next().unwrap())
    });
    examples.collect()
}

/// The program reads what other programs write by the page's examples, and the conditions
/// prevent a second write.
#[tokio::test]
async fn items_of_other_programs_are_read_and_changed() {
    let stack = CliFixture::start().await;
    let send = async |operation: &str, body: &'static str| {
        let client = bootstrap::lms_http::client().unwrap();
        let request = client
            .post(stack.url())
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", SIGNATURE)
            .header("x-amz-date", "20261122T120000Z")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    };
    let examples = examples();
    assert_eq!(examples.len(), 3);
    for (operation, body) in &examples {
        let (status, answer) = send(operation, body).await;
        assert_eq!(status, 200, "{answer}");
    }
    for (operation, body) in &examples {
        let (status, answer) = send(operation, body).await;
        let is_refused = status == 400 && answer.contains("ConditionalCheckFailed");
        // A run is replaced as a whole.
        let is_of_a_run = body.contains("CourseRunsTable");
        assert!(is_refused || (is_of_a_run && status == 200), "{answer}");
    }

    let status = ["status", "MARYAM@example.org", "--json"];
    let status: Value = stack.run(&status).await.json();
    assert_eq!(status["user"]["edx_username"], "Maryam_M");
    assert_eq!(status["user"]["email_as_given"], "Maryam@Example.org");
    let [run] = &status["runs"].as_array().unwrap()[..] else {
        panic!("{status}")
    };
    assert_eq!(run["run"]["title"], "Geometry of Surfaces");
    assert_eq!(run["run"]["start_date"], "2027-02-01T08:00:00Z");
    assert_eq!(run["enrollment"]["mode"], "verified");
    assert_eq!(run["enrollment"]["history"][0]["name"], "billing");

    // The program can also change such items.
    let course = "course-v1:Demo+Geometry+2027_T1";
    let set = ["enrollments", "set", "maryam@example.org", course];
    let set = stack.run(&[&set[..], &["--mode", "audit"]].concat()).await;
    assert!(set.ok().starts_with("updated"));
    let csv = "email,edx_username\nother@example.org,maryam_M\n";
    let imported = stack.run_with_input(&["users", "import", "-"], csv).await;
    let taken = "the username belongs to maryam@example.org";
    assert!(imported.err.contains(taken), "{imported:?}");
    let csv = "email,edx_username\nmaryam@example.org,maryam.m\n";
    let imported = stack.run_with_input(&["users", "import", "-"], csv).await;
    assert!(imported.ok().contains("1 updated"));
}
