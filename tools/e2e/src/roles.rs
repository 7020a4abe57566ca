//! Compares the roles with the calls that were made in their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use domain::EventKind;
use local::venv::repository;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::deploy::DeployedStack;
use crate::emulator::Emulator;
use crate::failure::{Failure, none, of_file};
use crate::recorder::{Call, CallRecord};

/// The document with the table of permissions, which must be true.
const TABLE: &str = "docs/permissions.md";

const HEADING: &str = "\
# Permissions

This table lists what each role of [infra/template.yaml](../infra/template.yaml) allows, and which calls were made in its
name. `make e2e` writes it and fails if it is out of date: it deploys the template to an emulator of AWS that enforces IAM,
tests it there, and records each call of the functions' SDK. The emulator refuses a call that a role lacks. The test names
a call that a role does not need.

Calls that services of AWS make in a role's name are not ours. They are listed by hand in
[tools/e2e/src/roles.rs](../tools/e2e/src/roles.rs), and here with the service. `Table/index/name` is an index. The names
are the logical ids of the template.
";

/// The author of a call that a function made.
const MADE: &str = "";

/// The calls that services make in the roles' names. `{}` is the role's name without `Role`.
const BY_SERVICES: [ByService; 12] = [
    ByService {
        who: "Lambda: its log",
        roles: of_functions,
        actions: &["logs:CreateLogStream", "logs:PutLogEvents"],
        resources: &["{}LogGroup"],
    },
    ByService {
        who: "Lambda: traces, which have no resource",
        roles: of_functions,
        actions: &["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
        resources: &["*"],
    },
    ByService {
        who: "Lambda: a retry batch that failed",
        roles: || vec!["OwnEventsRole", "LmsEventsRole"],
        actions: &["sqs:SendMessage"],
        resources: &["PendingEventsFailureQueue"],
    },
    ByService {
        who: "EventBridge Scheduler",
        roles: || vec!["PendingEventsScheduleRole"],
        actions: &["lambda:InvokeFunction"],
        resources: &["OwnEventsFunction", "LmsEventsFunction"],
    },
    ByService {
        who: "EventBridge Scheduler",
        roles: || vec!["SweepMachinesScheduleRole"],
        actions: &["states:StartExecution"],
        resources: &["GradeSweepMachine", "EnrollmentSweepMachine"],
    },
    ByService {
        who: "Step Functions",
        roles: || vec!["GradeSweepMachineRole"],
        actions: &["lambda:InvokeFunction"],
        resources: &["GradeSweepFunction"],
    },
    ByService {
        who: "Step Functions",
        roles: || vec!["EnrollmentSweepMachineRole"],
        actions: &["lambda:InvokeFunction"],
        resources: &["EnrollmentSweepFunction"],
    },
    ByService {
        who: "Step Functions: whether another execution runs, and the runs of the Map",
        roles: || MACHINES.to_vec(),
        actions: &["states:ListExecutions", "states:StartExecution"],
        resources: &["{}"],
    },
    ByService {
        who: "Step Functions: the runs of the Map",
        roles: || MACHINES.to_vec(),
        actions: &["states:DescribeExecution", "states:StopExecution"],
        resources: &["execution:{}:*", "execution:{}/*"],
    },
    ByService {
        who: "Step Functions: the delivery of its log, which has no resource",
        roles: || MACHINES.to_vec(),
        actions: &[
            "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:DescribeLogGroups",
            "logs:DescribeResourcePolicies",
            "logs:GetLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:UpdateLogDelivery",
        ],
        resources: &["*"],
    },
    ByService {
        who: "Step Functions: traces, which have no resource",
        roles: || MACHINES.to_vec(),
        actions: &[
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ],
        resources: &["*"],
    },
    ByService {
        who: "API Gateway: the access logs of every API of the account; it tries each when the role is set",
        roles: || vec!["ApiGatewayRole"],
        actions: &[
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogGroups",
            "logs:DescribeLogStreams",
            "logs:FilterLogEvents",
            "logs:GetLogEvents",
            "logs:PutLogEvents",
        ],
        resources: &["*"],
    },
];

/// Returns the roles of all functions.
fn of_functions() -> Vec<&'static str> {
    let others = [
        "EnrollmentSweepRole",
        "GradeSweepRole",
        "LmsEventsRole",
        "OwnEventsRole",
    ];
    let webhooks = EventKind::ALL.map(EventKind::role);
    others.into_iter().chain(webhooks).collect()
}

const MACHINES: &[&str] = &["EnrollmentSweepMachineRole", "GradeSweepMachineRole"];

struct ByService {
    who: &'static str,
    /// Returns the logical ids of the roles.
    roles: fn() -> Vec<&'static str>,
    actions: &'static [&'static str],
    resources: &'static [&'static str],
}

/// The calls for which each role exists, by its logical id, each with its author.
type Calls = BTreeMap<String, BTreeMap<Call, String>>;

/// Fails if a role lacks a call, allows one too many, or the table is no longer true; with `write`,
/// the table is written instead.
pub async fn hold(emulator: &Emulator, stack: &DeployedStack, write: bool) -> Result<(), Failure> {
    let allowed = allowed(&stack.template)?;
    let mut made = by_services();
    let record = emulator.call_log.record();
    let functions = functions(emulator, stack).await?;
    let mut differences = of_no_function(&record, &functions);
    for (access_key, role) in functions {
        let refused = record.refused.get(&access_key).into_iter().flatten();
        differences.extend(refused.map(|said| format!("{role} was refused: {said}")));
        let calls = record.made.get(&access_key).into_iter().flatten();
        let calls = calls.map(|call| (of_template(stack, call), MADE.to_owned()));
        made.entry(role).or_default().extend(calls);
    }
    let table = table(&allowed, &made);
    println!("\n{table}");
    differences.extend(differences_of(&allowed, &made));
    none("calls made and calls allowed", &differences)?;

    let path = repository().join(TABLE);
    if write {
        return fs::write(&path, table).map_err(of_file(&path));
    }
    if fs::read_to_string(&path).is_ok_and(|committed| committed == table) {
        return Ok(());
    }
    let stale = [format!(
        "{TABLE} is not that table: `make e2e WRITE=1` writes it again"
    )];
    none("the table above and the one that is committed", &stale)
}

/// Returns each function's access key, and its role's logical id.
async fn functions(
    emulator: &Emulator,
    stack: &DeployedStack,
) -> Result<Vec<(String, String)>, Failure> {
    let mut functions = Vec::new();
    for (id, _) in stack.of_kind("AWS::Lambda::Function") {
        let function = stack.function(&emulator.aws, id).await?;
        let text = |name: &str| function[name].as_str().unwrap_or_default();
        let role = &stack.template["Resources"][id]["Properties"]["Role"];
        functions.push((access_key(text("FunctionArn"), text("Role")), named(role)));
    }
    Ok(functions)
}

/// Returns the calls with an access key that is no function's, and so in no role's name.
fn of_no_function(record: &CallRecord, functions: &[(String, String)]) -> Vec<String> {
    let is_known = |key: &&String| functions.iter().any(|(of_function, _)| of_function == *key);
    let made = record.made.iter().flat_map(|(key, calls)| {
        let calls = calls.iter();
        calls.map(move |call| (key, format!("made {} on {}", call.action, call.resource)))
    });
    let refused = record.refused.iter().flat_map(|(key, refusals)| {
        let refusals = refusals.iter();
        refusals.map(move |said| (key, format!("was refused: {said}")))
    });
    made.chain(refused)
        .filter(|(key, _)| !is_known(key))
        .map(|(key, what)| format!("the access key `{key}`, which is no function's, {what}"))
        .collect()
}

/// Returns the access key that the emulator gives to a function's instances, as its
/// `execution_credentials` computes it (ministack/core/lambda_runtime.py).
fn access_key(function_arn: &str, role_arn: &str) -> String {
    let digest = Sha256::digest(format!("{function_arn}:{role_arn}"));
    digest[..8].iter().fold("ASIA".to_owned(), |mut key, byte| {
        // Writing to a `String` never fails.
        let _ = write!(key, "{byte:02X}");
        key
    })
}

/// Returns a call with the names of the template.
fn of_template(stack: &DeployedStack, call: &Call) -> Call {
    let (name, index) = match call.resource.split_once("/index/") {
        Some((name, index)) => (name, format!("/index/{index}")),
        None => (call.resource.as_str(), String::new()),
    };
    let name = stack.logical_id(name).unwrap_or(name);
    Call {
        action: call.action.clone(),
        resource: format!("{name}{index}"),
    }
}

fn by_services() -> Calls {
    let mut calls = Calls::new();
    for entry in &BY_SERVICES {
        for role in (entry.roles)() {
            let of_role = calls.entry(role.to_owned()).or_default();
            let name = role.trim_end_matches("Role");
            for resource in entry.resources {
                for action in entry.actions {
                    let call = Call {
                        action: (*action).to_owned(),
                        resource: resource.replace("{}", name),
                    };
                    of_role.insert(call, entry.who.to_owned());
                }
            }
        }
    }
    calls
}

/// Returns the calls that the policies of each role allow, by its logical id.
fn allowed(template: &Value) -> Result<BTreeMap<String, BTreeSet<Call>>, Failure> {
    let mut allowed = BTreeMap::<String, BTreeSet<Call>>::new();
    let resources = template["Resources"].as_object().into_iter().flatten();
    for (id, resource) in resources {
        let properties = &resource["Properties"];
        match resource["Type"].as_str().unwrap_or_default() {
            "AWS::IAM::Role" => {
                let managed: Vec<_> = list(&properties["ManagedPolicyArns"])
                    .map(|arn| format!("{id} has the managed policy {arn}, which is not ours"))
                    .collect();
                none("policies", &managed)?;
                let of_role = allowed.entry(id.clone()).or_default();
                for policy in list(&properties["Policies"]) {
                    of_role.extend(calls(id, &policy["PolicyDocument"])?);
                }
            }
            "AWS::IAM::Policy" | "AWS::IAM::ManagedPolicy" => {
                for role in list(&properties["Roles"]) {
                    let of_role = allowed.entry(named(role)).or_default();
                    of_role.extend(calls(id, &properties["PolicyDocument"])?);
                }
            }
            _ => {}
        }
    }
    Ok(allowed)
}

/// Returns the calls that a policy allows. A policy with more than actions and resources is an
/// error.
fn calls(id: &str, policy: &Value) -> Result<BTreeSet<Call>, Failure> {
    let mut calls = BTreeSet::new();
    for statement in list(&policy["Statement"]) {
        let fields = statement.as_object().into_iter().flatten();
        let strange: Vec<_> = fields
            .filter(|(name, value)| match name.as_str() {
                "Effect" => *value != "Allow",
                "Sid" | "Action" | "Resource" => false,
                _ => true,
            })
            .map(|(name, value)| format!("{id} has a statement with {name} {value}"))
            .collect();
        none("policies and what is understood of them", &strange)?;
        for action in list(&statement["Action"]) {
            for resource in list(&statement["Resource"]) {
                calls.insert(Call {
                    action: named(action),
                    resource: named(resource),
                });
            }
        }
    }
    Ok(calls)
}

/// Returns a single value, or the values of a list.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    let (many, one) = match value {
        Value::Null => (None, None),
        Value::Array(values) => (Some(values), None),
        one => (None, Some(one)),
    };
    many.into_iter().flatten().chain(one)
}

/// Returns the name of a resource by the logical ids in its intrinsic functions, without the part
/// that all ARNs of an account have in common.
fn named(value: &Value) -> String {
    if let Some(text) = value.as_str().or(value["Ref"].as_str()) {
        return text.to_owned();
    }
    if let Some(id) = value["Fn::GetAtt"][0].as_str() {
        return id.to_owned();
    }
    let Some(text) = value["Fn::Sub"].as_str() else {
        return value.to_string();
    };
    let plain = text.replace(".Arn}", "}").replace(".Name}", "}");
    let plain = plain.replace("${", "").replace('}', "");
    match plain.split_once("AWS::AccountId:") {
        Some((_, resource)) => resource.to_owned(),
        None => plain,
    }
}

/// Returns each call that is made and not allowed, or allowed and not made.
fn differences_of(allowed: &BTreeMap<String, BTreeSet<Call>>, made: &Calls) -> Vec<String> {
    let mut differences = Vec::new();
    let roles: BTreeSet<_> = allowed.keys().chain(made.keys()).collect();
    for role in roles {
        let allowed = allowed.get(role).cloned().unwrap_or_default();
        let made = made.get(role).cloned().unwrap_or_default();
        let mut say = |call: &Call, what: &str| {
            differences.push(format!(
                "{role}: {} on {} {what}",
                call.action, call.resource
            ));
        };
        for call in made.keys().filter(|call| !allowed.contains(*call)) {
            say(call, "is made, and not allowed");
        }
        for call in allowed.iter().filter(|call| !made.contains_key(*call)) {
            say(call, "is allowed, and nobody makes it");
        }
    }
    differences
}

/// Returns the table of calls made / calls allowed, for each role, with a row for each resource.
fn table(allowed: &BTreeMap<String, BTreeSet<Call>>, made: &Calls) -> String {
    let mut table = HEADING.to_owned();
    for (role, allowed) in allowed {
        let nothing = BTreeMap::new();
        let made = made.get(role).unwrap_or(&nothing);
        let mut rows = BTreeMap::<_, [Vec<&str>; 2]>::new();
        for call in allowed.iter().chain(made.keys()).collect::<BTreeSet<_>>() {
            let who = made.get(call).map_or(MADE, String::as_str);
            let row = rows.entry((who, call.resource.as_str())).or_default();
            for (actions, has) in row
                .iter_mut()
                .zip([made.contains_key(call), allowed.contains(call)])
            {
                actions.extend(has.then_some(call.action.as_str()));
            }
        }
        table.push_str(&format!(
            "\n## {role}\n\n| call made | on | call allowed |\n|---|---|---|\n"
        ));
        for ((who, resource), actions) in rows {
            let [made, allowed] = actions.map(|actions| match actions.as_slice() {
                [] => "**none**".to_owned(),
                actions => format!("`{}`", actions.join("`, `")),
            });
            let who = match who {
                MADE => String::new(),
                who => format!(" ({who})"),
            };
            table.push_str(&format!("| {made}{who} | `{resource}` | {allowed} |\n"));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(action: &str) -> Value {
        json!({"Resources": {"PendingEventsScheduleRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {"Policies": [{"PolicyDocument": {"Statement": [{
                "Effect": "Allow",
                "Action": action,
                "Resource": [
                    {"Fn::GetAtt": ["LmsEventsFunction", "Arn"]},
                    {"Fn::GetAtt": ["OwnEventsFunction", "Arn"]},
                ],
            }]}}]},
        }}})
    }

    #[test]
    fn missing_and_surplus_calls_are_named() {
        let role = "PendingEventsScheduleRole";
        let mut made = by_services();
        made.retain(|name, _| name == role);
        let exact = allowed(&template("lambda:InvokeFunction")).unwrap();
        assert_eq!(differences_of(&exact, &made), Vec::<String>::new());
        let other = allowed(&template("lambda:*")).unwrap();
        let functions = ["LmsEventsFunction", "OwnEventsFunction"];
        let missing = functions.map(|name| {
            format!("{role}: lambda:InvokeFunction on {name} is made, and not allowed")
        });
        let surplus = functions
            .map(|name| format!("{role}: lambda:* on {name} is allowed, and nobody makes it"));
        let expected = [missing, surplus].concat();
        assert_eq!(differences_of(&other, &made), expected);
    }

    #[test]
    fn an_unknown_form_of_policy_is_an_error() {
        let mut template = template("lambda:InvokeFunction");
        let properties = &mut template["Resources"]["PendingEventsScheduleRole"]["Properties"];
        properties["Policies"][0]["PolicyDocument"]["Statement"][0]["Condition"] = json!({});
        assert!(allowed(&template).is_err());
    }

    #[test]
    fn resources_have_the_names_of_the_template() {
        for (value, name) in [
            (json!("*"), "*"),
            (json!({"Ref": "WebhookTokensSecret"}), "WebhookTokensSecret"),
            (json!({"Fn::GetAtt": ["UsersTable", "Arn"]}), "UsersTable"),
            (
                json!({"Fn::Sub": "${UsersTable.Arn}/index/by_user_id"}),
                "UsersTable/index/by_user_id",
            ),
            (
                json!({"Fn::Sub": "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:${M.Name}:*"}),
                "execution:M:*",
            ),
        ] {
            assert_eq!(named(&value), name);
        }
    }

    #[test]
    fn calls_with_another_key_are_named() {
        let functions = [("K".to_owned(), "OwnEventsRole".to_owned())];
        let call = Call {
            action: "dynamodb:GetItem".to_owned(),
            resource: "T".to_owned(),
        };
        for (key, count) in [("K", 0), ("L", 2), ("", 2)] {
            let record = CallRecord {
                made: BTreeMap::from([(key.to_owned(), BTreeSet::from([call.clone()]))]),
                refused: BTreeMap::from([(key.to_owned(), BTreeSet::from(["no".to_owned()]))]),
            };
            assert_eq!(of_no_function(&record, &functions).len(), count, "{key}");
        }
    }

    #[test]
    fn access_keys_are_those_of_the_emulator() {
        // hashlib.sha256(b"f:r").hexdigest()[:16].upper()
        assert_eq!(access_key("f", "r"), "ASIA328E940FC5C552B7");
    }
}
