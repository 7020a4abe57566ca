//! Captures the log of a test.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use uuid::Uuid;
use web::Metric;

/// The log lines of a test.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Returns the whole text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Returns the whole text without its UUIDs, whose random digits may spell a name.
    pub fn text_without_ids(&self) -> String {
        let text = self.text();
        let parts = text
            .split('"')
            .filter(|part| Uuid::parse_str(part).is_err());
        parts.collect::<Vec<_>>().join("\"")
    }

    /// Returns all lines except the metrics, each parsed.
    pub fn lines(&self) -> Vec<Value> {
        self.parsed(|line| line.get("_aws").is_none())
    }

    /// Returns the metrics documents, each checked to be in the embedded metric format.
    pub fn metrics(&self) -> Vec<Value> {
        let documents = self.parsed(|line| line.get("_aws").is_some());
        documents.iter().for_each(check);
        documents
    }

    /// Returns all values of a metric, in the order of their documents.
    pub fn metric(&self, metric: Metric) -> Vec<Value> {
        let documents = self.metrics().into_iter();
        let values = documents.map(|mut document| document[metric.name()].take());
        values.filter(|value| !value.is_null()).collect()
    }

    fn parsed(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(wanted).collect()
    }

    /// Returns the last line with this message.
    pub fn last(&self, message: &str) -> Value {
        let last = self.lines().into_iter();
        let mut last = last.filter(|line| line["message"] == message);
        last.next_back().unwrap()
    }

    /// Returns the last `delivery processed` line.
    pub fn done(&self) -> Value {
        self.last("delivery processed")
    }
}

/// Asserts that CloudWatch accepts a document as metrics, and as known ones: it silently ignores a
/// document in any other format.
fn check(document: &Value) {
    let about = document["_aws"].as_object().unwrap();
    assert!(about["Timestamp"].is_u64(), "{document}");
    assert_eq!(about.len(), 2, "{document}");
    let directives = about["CloudWatchMetrics"].as_array().unwrap();
    let mut named = BTreeSet::from(["_aws"]);
    for directive in directives {
        assert_eq!(directive.as_object().unwrap().len(), 3, "{document}");
        assert_eq!(directive["Namespace"], "Coursehook/local");
        let [dimensions] = directive["Dimensions"].as_array().unwrap().as_slice() else {
            panic!("{document}");
        };
        let dimensions: Vec<_> = texts(dimensions).collect();
        assert!(dimensions.len() <= 30, "{document}");
        for dimension in &dimensions {
            let value = document[*dimension].as_str().unwrap();
            assert!((1..=1024).contains(&value.len()), "{document}");
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()), "{document}");
        for metric in metrics {
            let name = metric["Name"].as_str().unwrap();
            let known = Metric::ALL.iter().find(|metric| metric.name() == name);
            let known = known.unwrap();
            assert_eq!(metric["Unit"], known.unit(), "{name}");
            assert_eq!(dimensions, known.dimensions(), "{name}");
            let values = match &document[name] {
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            assert!((1..=100).contains(&values.len()), "{document}");
            assert!(values.iter().all(Value::is_number), "{document}");
            assert!(named.insert(name), "{name} twice: {document}");
        }
        named.extend(dimensions);
    }
    let members = document.as_object().unwrap().keys();
    assert_eq!(members.map(String::as_str).collect::<BTreeSet<_>>(), named);
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap())
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
