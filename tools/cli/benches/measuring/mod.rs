//! Code that all measurements share.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use store::CallLimits;

/// The limits of the program's own calls.
pub const LIMITS: CallLimits = CallLimits {
    attempt: Duration::from_secs(10),
    attempts: 6,
    first_backoff: Duration::from_millis(100),
    longest_backoff: Duration::from_secs(2),
};

/// The argument that makes a program of these its own stand-ins.
pub const STAND_INS: &str = "stand-ins";

/// The stand-ins in a process of their own, which ends when this is dropped.
pub struct StandIns {
    child: Child,
    /// The URLs that the stand-ins report.
    pub urls: Vec<String>,
}

impl StandIns {
    /// Starts this program again, with this file.
    pub fn start(file: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .arg(STAND_INS)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut urls = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut urls).unwrap();
        let urls = urls.split_whitespace().map(str::to_owned).collect();
        Self { child, urls }
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to a successful end. Returns its duration, its peak memory in KiB, and
/// its output.
pub fn run(mut command: Command) -> (Duration, u64, String) {
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text
    });
    let mut peak_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak_kib = peak_of(child.id()).unwrap_or(peak_kib);
        thread::sleep(Duration::from_millis(5));
    };
    let took = began.elapsed();
    assert!(status.success());
    (took, peak_kib, reader.join().unwrap())
}

/// Returns the peak memory of a process so far; `None` once it has ended.
fn peak_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim_end().parse().ok()
}

/// Returns the median.
pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
