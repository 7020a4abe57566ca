//! Sample deliveries: each file holds one HTTP request.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::EventKind;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::encoding::{PlainTextError, without_byte_order_mark};
use crate::failure::CommandError;
use crate::output;

/// The request that a file holds.
#[derive(Debug)]
pub struct Delivery {
    /// The file that holds it.
    pub path: PathBuf,
    pub method: Method,
    /// Path and query, from `/api/` on. The stage of the API is not part of the file.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Error of a file that holds no request.
#[derive(Debug, Error)]
pub enum SampleError {
    #[error("cannot be read: {0}")]
    File(io::Error),
    #[error("{0}")]
    PlainTextError(#[from] PlainTextError),
    #[error("is not a JSON object")]
    NotAnObject,
    #[error(
        "is neither a delivery, which has an email, nor an event of API Gateway, which has a \
         requestContext"
    )]
    NeitherKind,
    #[error("is a delivery, so it must be in a folder named {}", folders())]
    NoKind,
    #[error("its path has no /api/")]
    Path,
    #[error("its method is missing or invalid")]
    Method,
    #[error("its body is neither text nor null, or not base64 although isBase64Encoded is true")]
    Body,
}

/// Error of the files that are to be sent.
#[derive(Debug, Error)]
pub enum SamplesError {
    #[error("{}: {problem}", output::path(.path))]
    Sample { path: PathBuf, problem: SampleError },
    #[error("{} has no *.json files", output::path(.0))]
    None(PathBuf),
}

impl CommandError for SamplesError {}

/// Reads the deliveries of these files and, in order, of the files below these folders.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Delivery>, SamplesError> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        find(path, &mut files).map_err(|error| bad(path, SampleError::File(error)))?;
        if files.len() == before {
            return Err(SamplesError::None(path.clone()));
        }
    }
    let read = |file: PathBuf| Delivery::read(&file).map_err(|problem| bad(&file, problem));
    files.into_iter().map(read).collect()
}

fn bad(path: &Path, problem: SampleError) -> SamplesError {
    SamplesError::Sample {
        path: path.to_owned(),
        problem,
    }
}

fn find(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type()?.is_dir() || path.extension().is_some_and(|end| end == "json") {
            find(&path, files)?;
        }
    }
    Ok(())
}

impl Delivery {
    fn read(path: &Path) -> Result<Self, SampleError> {
        let bytes = fs::read(path).map_err(SampleError::File)?;
        let body = without_byte_order_mark(&bytes)?;
        let object: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| SampleError::NotAnObject)?;
        if object.contains_key("requestContext") {
            Self::of_gateway(path, &Value::Object(object))
        } else if object.contains_key("email") {
            let headers = HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )]);
            Ok(Self {
                path: path.to_owned(),
                method: Method::POST,
                target: format!("{}/", kind(path)?.path()),
                headers,
                body: body.to_owned(),
            })
        } else {
            Err(SampleError::NeitherKind)
        }
    }

    /// Reads an event of either version of API Gateway: the fields of one version are
    /// absent in the other.
    fn of_gateway(file: &Path, event: &Value) -> Result<Self, SampleError> {
        let context = &event["requestContext"];
        let method = event["httpMethod"]
            .as_str()
            .or(context["http"]["method"].as_str());
        let method = method
            .and_then(|method| method.parse().ok())
            .ok_or(SampleError::Method)?;
        let path = event["path"]
            .as_str()
            .or(event["rawPath"].as_str())
            .unwrap_or_default();
        let start = path.find("/api/").ok_or(SampleError::Path)?;
        let body = match (&event["body"], &event["isBase64Encoded"]) {
            (Value::Null, _) => Vec::new(),
            (Value::String(text), Value::Bool(true)) => {
                STANDARD.decode(text).map_err(|_| SampleError::Body)?
            }
            (Value::String(text), _) => text.clone().into_bytes(),
            _ => return Err(SampleError::Body),
        };
        Ok(Self {
            path: file.to_owned(),
            method,
            target: format!("{}{}", &path[start..], query(event)),
            headers: headers(event),
            body,
        })
    }
}

/// Returns the names of the folders of deliveries, for a sentence.
fn folders() -> String {
    EventKind::ALL.map(EventKind::as_str).join(" or ")
}

/// Returns the kind of a delivery, by the name of its folder.
fn kind(path: &Path) -> Result<EventKind, SampleError> {
    let path = fs::canonicalize(path).map_err(SampleError::File)?;
    let folder = path.parent().and_then(Path::file_name);
    EventKind::ALL
        .into_iter()
        .find(|kind| folder.is_some_and(|folder| folder == kind.as_str()))
        .ok_or(SampleError::NoKind)
}

/// Returns the headers about the body and the sender. The others belong to the connection
/// or to the gateway, which sets them itself.
fn headers(event: &Value) -> HeaderMap {
    const TAKEN: [&str; 4] = ["accept", "content-encoding", "content-type", "user-agent"];
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(event, "multiValueHeaders", "headers") {
        let name = name.to_ascii_lowercase();
        if TAKEN.contains(&name.as_str())
            && let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse())
        {
            headers.append(name, value);
        }
    }
    headers
}

/// Returns the query string with its question mark, or an empty text. Version 2 of the
/// events holds it as it was sent, version 1 decoded and in parts.
fn query(event: &Value) -> String {
    let raw = event["rawQueryString"].as_str().map(str::to_owned);
    let query = raw.or_else(|| {
        let (many, single) = ("multiValueQueryStringParameters", "queryStringParameters");
        // The URL serves only to encode them.
        let url = Url::parse_with_params("http://localhost", pairs(event, many, single)).ok()?;
        url.query().map(str::to_owned)
    });
    match query {
        Some(query) if !query.is_empty() => format!("?{query}"),
        _ => String::new(),
    }
}

/// Returns names and values of an event: of version 1, whose `many` has everything that
/// its `single` has, or of version 2, which has only `single`.
fn pairs<'a>(event: &'a Value, many: &str, single: &str) -> Vec<(&'a str, &'a str)> {
    let object = event[many].as_object().or(event[single].as_object());
    let of_name = |(name, value): (&'a String, &'a Value)| {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let values = values.iter().filter_map(Value::as_str);
        values.map(move |value| (name.as_str(), value))
    };
    object.into_iter().flatten().flat_map(of_name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The table of webhooks must have the folders that there are.
    #[test]
    fn each_webhook_has_a_folder_of_samples() {
        let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
        for kind in EventKind::ALL {
            let deliveries = read_all(&[events.join(kind.as_str())]).unwrap();
            for delivery in deliveries {
                assert_eq!(delivery.target, format!("{}/", kind.path()));
            }
        }
        let entries = fs::read_dir(events).unwrap().map(Result::unwrap);
        let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        let folders = folders.map(|folder| folder.file_name().into_string().unwrap());
        let kinds = EventKind::ALL.map(|kind| kind.as_str().to_owned());
        let expected = kinds.into_iter().chain(["gateway".to_owned()]);
        assert_eq!(BTreeSet::from_iter(folders), BTreeSet::from_iter(expected));
    }
}
