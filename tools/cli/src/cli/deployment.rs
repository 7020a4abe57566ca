//! Which deployment a command is about: options that every command has.

use clap::Args;

#[derive(Debug, Args)]
pub struct Deployment {
    /// Use the tables, secrets, URL and settings of this CloudFormation stack, and none of the
    /// environment's; COURSEHOOK_STACK names one, too
    #[arg(long, global = true, value_name = "NAME")]
    pub stack: Option<String>,
    /// Use the credentials of this profile of AWS's configuration files, before those of the
    /// environment
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Use this region of AWS, before AWS_REGION and the profile's
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
}
