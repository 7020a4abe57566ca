//! The learners' rows in each course run, from a file and from tests.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::faults::lock;

/// The rows of each course run, by the [`key`] of the username.
type Rows<R> = BTreeMap<String, BTreeMap<String, LmsRow<R>>>;

/// A row, and the username in the LMS's spelling.
#[derive(Debug)]
struct LmsRow<R> {
    username: String,
    row: R,
}

/// Returns the key under which usernames are compared: the case of letters is ignored.
pub(super) fn key(username: &str) -> String {
    username.to_lowercase()
}

/// The rows of a file, and those that tests set in addition.
#[derive(Debug)]
pub(super) struct Learners<R> {
    file: Option<File<R>>,
    set: Mutex<Rows<R>>,
}

/// A file, and its content when it was last read.
#[derive(Debug)]
struct File<R> {
    path: PathBuf,
    read: Mutex<Option<(Version, Arc<Rows<R>>)>>,
}

/// The attributes of a file that change when it is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

/// All rows at one time. If a learner has two in a run, the one that was set counts.
pub(super) struct View<'a, R> {
    file: Arc<Rows<R>>,
    set: MutexGuard<'a, Rows<R>>,
}

/// Error of a file that cannot be read, or has an invalid line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LearnersError {
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: csv::Error },
    #[error("{}, line {line}: {what}", .path.display())]
    Line {
        path: PathBuf,
        line: u64,
        what: &'static str,
    },
}

/// The learner and the run of a line in the file.
#[derive(Deserialize)]
struct Key {
    username: String,
    course_id: String,
}

impl<R> Default for Learners<R> {
    fn default() -> Self {
        Self {
            file: None,
            set: Mutex::default(),
        }
    }
}

impl<R> Learners<R> {
    pub(super) fn on_file(path: PathBuf) -> Self {
        let read = Mutex::default();
        Self {
            file: Some(File { path, read }),
            set: Mutex::default(),
        }
    }

    /// Sets a learner's row in a run, replacing any other, and the LMS's spelling of their
    /// username.
    pub(super) fn set(&self, username: &str, course: &str, row: R) {
        let (key, username) = (key(username), username.to_owned());
        let row = LmsRow { username, row };
        let mut set = lock(&self.set);
        set.entry(course.to_owned()).or_default().insert(key, row);
    }

    /// Removes a row that was set. The run stays known to the LMS.
    pub(super) fn remove(&self, username: &str, course: &str) {
        if let Some(run) = lock(&self.set).get_mut(course) {
            run.remove(&key(username));
        }
    }
}

impl<R: DeserializeOwned> Learners<R> {
    /// Returns all rows as they are now: an edit of the file shows in the next view. Calls of
    /// [`Learners::set`] wait until the view is dropped.
    pub(super) fn view(&self) -> Result<View<'_, R>, LearnersError> {
        let file = match &self.file {
            Some(file) => file.rows()?,
            None => Arc::default(),
        };
        Ok(View {
            file,
            set: lock(&self.set),
        })
    }
}

impl<R> View<'_, R> {
    fn maps(&self) -> [&Rows<R>; 2] {
        [&self.file, &self.set]
    }

    /// Returns a learner's row in a run with the username as the LMS spells it, or `None`.
    pub(super) fn row(&self, username: &str, course: &str) -> Option<(&str, &R)> {
        let key = key(username);
        let mut maps = self.maps().into_iter().rev();
        let LmsRow { username, row } = maps.find_map(|rows| rows.get(course)?.get(&key))?;
        Some((username, row))
    }

    pub(super) fn has_run(&self, course: &str) -> bool {
        self.maps().iter().any(|rows| rows.contains_key(course))
    }

    /// True if the learner is in any run.
    pub(super) fn has_learner(&self, username: &str) -> bool {
        let key = key(username);
        let mut runs = self.maps().into_iter().flat_map(BTreeMap::values);
        runs.any(|run| run.contains_key(&key))
    }

    /// Returns the first rows of a run, at most `most`, whose username's key comes after `after`,
    /// in the order of the keys: key, username, row. The cost depends on the number of rows
    /// returned, and not on that of the run.
    pub(super) fn of_run(&self, course: &str, after: &str, most: usize) -> Vec<(&str, &str, &R)> {
        let mut first = BTreeMap::new();
        for run in self.maps().iter().filter_map(|rows| rows.get(course)) {
            let rest = run.range::<str, _>((Excluded(after), Unbounded));
            first.extend(rest.take(most).map(|(key, row)| (key.as_str(), row)));
        }
        shown(first, most)
    }

    /// Returns a learner's rows in the same way; the key is the course run.
    pub(super) fn of_learner(
        &self,
        username: &str,
        after: &str,
        most: usize,
    ) -> Vec<(&str, &str, &R)> {
        let key = key(username);
        let mut first = BTreeMap::new();
        for rows in self.maps() {
            let rest = rows.range::<str, _>((Excluded(after), Unbounded));
            let of = rest.filter_map(|(course, run)| Some((course.as_str(), run.get(&key)?)));
            first.extend(of.take(most));
        }
        shown(first, most)
    }
}

/// Returns the first rows, at most `most`, each with its key and the username.
fn shown<'a, R>(
    rows: BTreeMap<&'a str, &'a LmsRow<R>>,
    most: usize,
) -> Vec<(&'a str, &'a str, &'a R)> {
    let rows = rows.into_iter().take(most);
    rows.map(|(key, LmsRow { username, row })| (key, username.as_str(), row))
        .collect()
}

impl<R: DeserializeOwned> File<R> {
    /// Returns the present rows: the file is read again if it has changed.
    fn rows(&self) -> Result<Arc<Rows<R>>, LearnersError> {
        let mut read = lock(&self.read);
        // The version is taken before the file is read, so that a change meanwhile is not missed.
        let version = fs::metadata(&self.path)
            .and_then(|file| Version::of(&file))
            .map_err(|source| self.unreadable(source.into()))?;
        match &*read {
            Some((known, rows)) if *known == version => Ok(Arc::clone(rows)),
            _ => {
                let rows = Arc::new(self.parse()?);
                *read = Some((version, Arc::clone(&rows)));
                Ok(rows)
            }
        }
    }

    fn parse(&self) -> Result<Rows<R>, LearnersError> {
        let unreadable = |source| self.unreadable(source);
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_path(&self.path)
            .map_err(unreadable)?;
        let headers = reader.headers().map_err(unreadable)?.clone();
        let mut rows = Rows::new();
        for record in reader.records() {
            let record = record.map_err(unreadable)?;
            let whose: Key = record.deserialize(Some(&headers)).map_err(unreadable)?;
            let row: R = record.deserialize(Some(&headers)).map_err(unreadable)?;
            let wrong = |what| LearnersError::Line {
                path: self.path.clone(),
                line: record.position().map_or(0, csv::Position::line),
                what,
            };
            if whose.username.is_empty() {
                return Err(wrong("the username is empty"));
            }
            if !is_course_id(&whose.course_id) {
                return Err(wrong("the course_id is none"));
            }
            let run = rows.entry(whose.course_id).or_default();
            let (key, username) = (key(&whose.username), whose.username);
            if run.insert(key, LmsRow { username, row }).is_some() {
                return Err(wrong("this learner has a line in this run already"));
            }
        }
        Ok(rows)
    }

    fn unreadable(&self, source: csv::Error) -> LearnersError {
        LearnersError::Unreadable {
            path: self.path.clone(),
            source,
        }
    }
}

impl Version {
    fn of(file: &Metadata) -> io::Result<Self> {
        Ok(Self {
            modified: file.modified()?,
            length: file.len(),
            inode: file.ino(),
        })
    }
}

/// True if the text is `course-v1:Org+Course+Run` or the legacy `Org/Course/Run`.
pub(super) fn is_course_id(text: &str) -> bool {
    let (parts, joint, also) = match text.strip_prefix("course-v1:") {
        Some(parts) => (parts, '+', ':'),
        None => (text, '/', '%'),
    };
    let sound = |c: char| c.is_alphanumeric() || "_-~.".contains(c) || c == also;
    let sound = |part: &str| !part.is_empty() && part.chars().all(sound);
    parts.split(joint).count() == 3 && parts.split(joint).all(sound)
}
