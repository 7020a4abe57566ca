//! `coursehook deliveries`

use std::path::PathBuf;

use clap::{Args, ColorChoice};

#[derive(Debug, Args)]
pub struct Deliveries {
    /// The file of log lines, or - for standard input; otherwise $COURSEHOOK_LOG
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Continue with new log lines as they are written, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Show only the last COUNT of the existing deliveries
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub last: Option<usize>,
    /// Colour the lines; by default on a terminal, unless $NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}
