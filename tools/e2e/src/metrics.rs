//! Checks that every metric of the dashboard and the alarms is emitted.

use std::collections::{BTreeMap, BTreeSet};

use local::Ministack;
use serde_json::{Value, json};

use crate::deploy::DeployedStack;
use crate::failure::{Failure, none};

/// Metrics of AWS's own, with their dimensions.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html>
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>
/// <https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html>
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html>
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html>
const OF_AWS: [OfAws; 5] = [
    OfAws {
        namespace: "AWS/ApiGateway",
        names: &[
            "Count",
            "4XXError",
            "5XXError",
            "Latency",
            "IntegrationLatency",
        ],
        dimensions: &["ApiName", "Stage"],
    },
    OfAws {
        namespace: "AWS/Lambda",
        names: &[
            "Invocations",
            "Errors",
            "Throttles",
            "Duration",
            "ConcurrentExecutions",
        ],
        dimensions: &["FunctionName"],
    },
    OfAws {
        namespace: "AWS/States",
        names: &[
            "ExecutionsStarted",
            "ExecutionsSucceeded",
            "ExecutionsFailed",
            "ExecutionsTimedOut",
            "ExecutionsAborted",
        ],
        dimensions: &["StateMachineArn"],
    },
    OfAws {
        namespace: "AWS/SQS",
        names: &["ApproximateNumberOfMessagesVisible"],
        dimensions: &["QueueName"],
    },
    OfAws {
        namespace: "AWS/DynamoDB",
        names: &[
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "ReadThrottleEvents",
            "WriteThrottleEvents",
        ],
        dimensions: &["TableName"],
    },
];

struct OfAws {
    namespace: &'static str,
    names: &'static [&'static str],
    dimensions: &'static [&'static str],
}

/// A metric that is emitted, or that an alarm or a graph uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    namespace: String,
    name: String,
    /// The dimensions with their values; `None` if any value matches.
    dimensions: BTreeMap<String, Option<String>>,
}

impl Metric {
    fn is(&self, emitted: &Self) -> bool {
        let names = |metric: &Self| metric.dimensions.keys().cloned().collect::<Vec<_>>();
        let mut values = self.dimensions.iter();
        self.namespace == emitted.namespace
            && self.name == emitted.name
            && names(self) == names(emitted)
            && values
                .all(|(name, value)| value.is_none() || emitted.dimensions.get(name) == Some(value))
    }

    fn is_of_aws(&self) -> bool {
        OF_AWS.iter().any(|of_aws| {
            let dimensions = self.dimensions.keys().map(String::as_str);
            self.namespace == of_aws.namespace
                && of_aws.names.contains(&self.name.as_str())
                && dimensions.eq(of_aws.dimensions.iter().copied())
        })
    }
}

/// Fails if an alarm or a graph uses a metric that is not emitted.
pub async fn hold(
    aws: &Ministack,
    stack: &DeployedStack,
    logs: &BTreeMap<String, Vec<String>>,
) -> Result<(), Failure> {
    let mut emitted = emitted(logs.values().flatten());
    some("metric of the functions", emitted.len())?;
    let template = with_name(&stack.template, &stack.name);
    emitted.extend(of_filters(&template));
    let mut used = of_alarms(&template);
    some("metric that an alarm looks at", used.len())?;
    some(
        "dashboard",
        stack.of_kind("AWS::CloudWatch::Dashboard").count(),
    )?;
    for (_, name) in stack.of_kind("AWS::CloudWatch::Dashboard") {
        let target = "GraniteServiceVersion20100801.GetDashboard";
        let dashboard = aws.call(target, &json!({"DashboardName": name})).await?;
        let body = dashboard["DashboardBody"].as_str().unwrap_or_default();
        let body = serde_json::from_str(body);
        let body = body.map_err(|error| Failure::Lacks(format!("readable dashboard: {error}")))?;
        let metrics = of_dashboard(&body)?;
        some("metric that the dashboard looks at", metrics.len())?;
        used.extend(metrics.into_iter().map(|metric| (metric, name.to_owned())));
    }
    none(
        "what is looked at and what is emitted",
        &differences(&used, &emitted),
    )?;
    println!(
        "     {} metrics are looked at, {} are emitted",
        used.len(),
        emitted.len()
    );
    Ok(())
}

/// Fails if there is nothing to compare, which proves nothing.
fn some(what: &str, count: usize) -> Result<(), Failure> {
    if count == 0 {
        return Err(Failure::Lacks(what.to_owned()));
    }
    Ok(())
}

fn differences(used: &BTreeMap<Metric, String>, emitted: &BTreeSet<Metric>) -> Vec<String> {
    let missing = used.iter().filter(|(metric, _)| {
        !metric.is_of_aws() && !emitted.iter().any(|emitted| metric.is(emitted))
    });
    missing
        .map(|(metric, by)| {
            let Metric {
                namespace,
                name,
                dimensions,
            } = metric;
            format!("{by} looks at {namespace} {name} {dimensions:?}, which nobody emits")
        })
        .collect()
}

/// Returns the metrics that the functions' lines emit, in CloudWatch's embedded metric format.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn emitted<'a>(lines: impl Iterator<Item = &'a String>) -> BTreeSet<Metric> {
    let mut all = BTreeSet::new();
    for line in lines {
        let document: Value = serde_json::from_str(line).unwrap_or_default();
        for directive in list(&document["_aws"]["CloudWatchMetrics"]) {
            for dimensions in list(&directive["Dimensions"]) {
                let dimensions = list(dimensions).map(|name| {
                    let name = text(name);
                    let value = text(&document[&name]);
                    (name, Some(value))
                });
                let dimensions: BTreeMap<_, _> = dimensions.collect();
                let names = list(&directive["Metrics"]).map(|metric| text(&metric["Name"]));
                // A metric without a value is not emitted.
                let names = names.filter(|name| !document[name].is_null());
                all.extend(names.map(|name| Metric {
                    namespace: text(&directive["Namespace"]),
                    name,
                    dimensions: dimensions.clone(),
                }));
            }
        }
    }
    all
}

/// Returns the metrics of the log's filters. The emulator does not write the lines that they count:
/// that they count anything is taken from the template.
fn of_filters(template: &Value) -> Vec<Metric> {
    of_kind(template, "AWS::Logs::MetricFilter")
        .flat_map(|(_, filter)| list(&filter["MetricTransformations"]))
        .map(|metric| Metric {
            namespace: text(&metric["MetricNamespace"]),
            name: text(&metric["MetricName"]),
            dimensions: BTreeMap::new(),
        })
        .collect()
}

/// Returns the metrics that alarms use, each with its alarm.
fn of_alarms(template: &Value) -> BTreeMap<Metric, String> {
    let mut all = BTreeMap::new();
    for (id, alarm) in of_kind(template, "AWS::CloudWatch::Alarm") {
        let several = list(&alarm["Metrics"]).map(|metric| &metric["MetricStat"]["Metric"]);
        for metric in several
            .chain([alarm])
            .filter(|m| m["MetricName"].is_string())
        {
            let dimensions = list(&metric["Dimensions"]).map(|dimension| {
                // Other values are the names of deployed resources.
                let value = dimension["Value"].as_str().map(str::to_owned);
                (text(&dimension["Name"]), value)
            });
            let metric = Metric {
                namespace: text(&metric["Namespace"]),
                name: text(&metric["MetricName"]),
                dimensions: dimensions.collect(),
            };
            all.insert(metric, id.clone());
        }
    }
    all
}

/// Returns the metrics that a dashboard's graphs use; a row that uses metrics in an unknown form is
/// an error.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html>
fn of_dashboard(body: &Value) -> Result<Vec<Metric>, Failure> {
    let mut all = Vec::new();
    for widget in list(&body["widgets"]) {
        for row in list(&widget["properties"]["metrics"]) {
            let strange = || Failure::Lacks(format!("understandable row in its dashboard: {row}"));
            let expression = text(&row[0]["expression"]);
            if expression.contains("SEARCH") {
                all.push(of_search(&expression).ok_or_else(strange)?);
                continue;
            }
            if !expression.is_empty() {
                // It calculates with other rows.
                continue;
            }
            let fields: Vec<_> = list(row).filter_map(Value::as_str).collect();
            let [namespace, name, dimensions @ ..] = fields.as_slice() else {
                return Err(strange());
            };
            let dimensions = dimensions.chunks_exact(2);
            all.push(Metric {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
                dimensions: dimensions
                    .map(|pair| (pair[0].to_owned(), Some(pair[1].to_owned())))
                    .collect(),
            });
        }
    }
    Ok(all)
}

/// Returns the metric that `SEARCH('{"NAMESPACE",DIMENSION,...} MetricName="NAME"
/// DIMENSION="VALUE"', ...)` looks for, or `None` if the expression has another form.
fn of_search(expression: &str) -> Option<Metric> {
    let (_, search) = expression.split_once("SEARCH('{")?;
    let (search, rest) = search.split_once('\'')?;
    let (schema, mut terms) = search.split_once('}')?;
    let mut schema = schema.split(',').map(|name| name.trim().trim_matches('"'));
    let namespace = schema.next()?.to_owned();
    let mut name = None;
    let mut dimensions: BTreeMap<_, _> = schema.map(|name| (name.to_owned(), None)).collect();
    while !terms.trim().is_empty() {
        let (term, after) = terms.trim().split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        let place = match term {
            "MetricName" => &mut name,
            dimension => dimensions.get_mut(dimension)?,
        };
        if place.replace(value.to_owned()).is_some() {
            return None;
        }
        terms = after;
    }
    if rest.contains("SEARCH") {
        return None;
    }
    Some(Metric {
        namespace,
        name: name?,
        dimensions,
    })
}

fn of_kind<'a>(
    template: &'a Value,
    kind: &'a str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources
        .filter(move |(_, resource)| resource["Type"] == kind)
        .map(|(id, resource)| (id, &resource["Properties"]))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns the template with the stack's name in each text that substitutes nothing else.
fn with_name(value: &Value, stack: &str) -> Value {
    if let Some(text) = value["Fn::Sub"].as_str() {
        return text.replace("${AWS::StackName}", stack).into();
    }
    match value {
        Value::Array(values) => values.iter().map(|value| with_name(value, stack)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), with_name(value, stack)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"_aws": {"Timestamp": 1, "CloudWatchMetrics": [
        {"Namespace": "Coursehook/s", "Dimensions": [["kind", "outcome"]],
         "Metrics": [{"Name": "Deliveries", "Unit": "Count"}]},
        {"Namespace": "Coursehook/s", "Dimensions": [[]],
         "Metrics": [{"Name": "DeadEvents"}, {"Name": "Absent"}]}]},
        "kind": "enrollment", "outcome": "created", "Deliveries": 1, "DeadEvents": 0}"#;

    fn alarm(name: &str, dimensions: Value) -> Value {
        json!({"Resources": {"A": {"Type": "AWS::CloudWatch::Alarm", "Properties": {
            "Namespace": {"Fn::Sub": "Coursehook/${AWS::StackName}"},
            "MetricName": name,
            "Dimensions": dimensions,
        }}}})
    }

    #[test]
    fn an_alarm_on_a_metric_that_is_not_emitted_is_named() {
        let emitted = emitted([LINE.to_owned()].iter());
        let kind = |value: &str| json!([{"Name": "kind", "Value": value}, {"Name": "outcome", "Value": "created"}]);
        for (name, dimensions, is_emitted) in [
            ("DeadEvents", json!([]), true),
            ("Absent", json!([]), false),
            ("DeadEvents", kind("enrollment"), false),
            ("Deliveries", json!([]), false),
            ("Deliveries", kind("enrollment"), true),
            ("Deliveries", kind("certificate"), false),
        ] {
            let template = with_name(&alarm(name, dimensions.clone()), "s");
            let differences = differences(&of_alarms(&template), &emitted);
            assert_eq!(differences.is_empty(), is_emitted, "{name} {dimensions}");
        }
    }

    #[test]
    fn alarms_of_several_metrics_and_aws_metrics_are_checked() {
        let metric = |name: &str| {
            json!({"MetricStat": {"Metric": {
                "Namespace": "AWS/Lambda",
                "MetricName": name,
                "Dimensions": [{"Name": "FunctionName", "Value": {"Ref": "F"}}],
            }}})
        };
        for (name, is_known) in [("Errors", true), ("Mistakes", false)] {
            let alarm = json!({"Resources": {"A": {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {"Metrics": [{"Expression": "SUM(METRICS())"}, metric(name)]},
            }}});
            let differences = differences(&of_alarms(&alarm), &BTreeSet::new());
            assert_eq!(differences.is_empty(), is_known, "{name}");
        }
    }

    #[test]
    fn a_dashboards_rows_and_searches_are_checked() {
        let search = r#"SEARCH('{"Coursehook/s",kind,outcome} MetricName="Deliveries" kind="enrollment"', 'Sum')"#;
        let body = json!({"widgets": [{"type": "metric", "properties": {"metrics": [
            [{"expression": search, "id": "e1"}],
            ["Coursehook/s", "DeadEvents", {"stat": "Maximum"}],
            ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "q"],
        ]}}, {"type": "alarm", "properties": {"alarms": ["arn"]}}]});
        let used = of_dashboard(&body).unwrap().into_iter();
        let used = used.map(|metric| (metric, String::new()));
        let used: BTreeMap<_, _> = used.collect();
        assert_eq!(used.len(), 3);
        let emitted = emitted([LINE.to_owned()].iter());
        assert_eq!(differences(&used, &emitted), Vec::<String>::new());
        assert_eq!(differences(&used, &BTreeSet::new()).len(), 2);
    }

    #[test]
    fn an_unknown_form_of_row_is_an_error() {
        for (row, looks_at) in [
            (
                json!([{"expression": "SEARCH('{\"N\",kind} MetricName=\"A\"', 'Sum', 300)"}]),
                Some(1),
            ),
            (json!([{"expression": "m1/m2"}]), Some(0)),
            (json!(["N", "A"]), Some(1)),
            (json!(["N"]), None),
            (json!([{"id": "m1"}]), None),
            (
                json!([{"expression": "SEARCH('{\"N\",kind} kind=\"k\"', 'Sum', 300)"}]),
                None,
            ),
            (
                json!([{"expression": "SEARCH('{\"N\"} MetricName=\"A\" OR MetricName=\"B\"', 'Sum', 300)"}]),
                None,
            ),
            (
                json!([{"expression": "SEARCH('{\"N\"} MetricName=\"A\" other=\"B\"', 'Sum', 300)"}]),
                None,
            ),
            (
                json!([{"expression": "SEARCH('Namespace=\"N\" MetricName=\"A\"', 'Sum', 300)"}]),
                None,
            ),
        ] {
            let body = json!({"widgets": [{"properties": {"metrics": [row]}}]});
            let metrics = of_dashboard(&body).ok();
            assert_eq!(metrics.map(|metrics| metrics.len()), looks_at, "{row}");
        }
    }

    #[test]
    fn nothing_to_compare_is_an_error() {
        assert!(some("metric", 0).is_err());
        assert!(some("metric", 1).is_ok());
    }
}
