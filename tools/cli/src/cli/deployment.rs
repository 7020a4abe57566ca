//! Options of every command that select the deployment.

use clap::Args;

#[derive(Debug, Args)]
pub struct Deployment {
    /// Use the tables, secrets, URL and settings of this CloudFormation stack, and none
    /// of the environment's; COURSEHOOK_STACK also names one
    #[arg(long, global = true, value_name = "NAME")]
    pub stack: Option<String>,
    /// Use the credentials of this profile of AWS's configuration files, in preference to
    /// those of the environment
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Use this region of AWS, in preference to AWS_REGION and the profile's
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
}
