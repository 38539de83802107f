//! Plays Okta against a SCIM server, ours or any other, and tells what Okta's administrator would see and why.
//!
//! A client like any other: it knows a Base URL and a token, and nothing of our files, settings or tenants. It sends
//! what Okta was captured sending, with two users and a group of its own, and removes them whatever happens. What is
//! printed, and where the token comes from, is the command's.

mod answer;
mod base_url;
mod client;
mod diagnosis;
mod ledger;
mod part;
mod people;
mod pushing;
mod series;
mod trust;

use std::future::Future;
use std::time::Duration;

pub use answer::{Answer, BodyKind};
pub use base_url::{BadBaseUrl, BaseUrl};
pub use diagnosis::{Authorization, Fault, Finding, Refused, TlsFault};
pub use trust::{BadCertificates, authorities};

use rustls::pki_types::CertificateDer;

/// What to try, and how.
#[derive(Clone)]
pub struct Plan {
    /// The Base URL as it stands in Okta's field.
    pub base_url: BaseUrl,
    /// What stands in Okta's token field, without blanks around it.
    pub token: String,
    /// Which kind of app is played.
    pub style: Style,
    /// Whether nothing may be changed: then Test API Credentials is all that is played.
    pub read_only: bool,
    /// How long one request may take. Okta's own patience is 60 s.
    pub timeout: Duration,
    /// Certificates that are trusted beside Mozilla's roots.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The domain of the user names and addresses of the users that are made.
    pub domain: String,
    /// How many pages of users are read at most, besides the last one.
    pub import_pages_max: usize,
}

/// The two kinds of app that Okta has; they change users and groups in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The catalog's "SCIM 2.0 Test App" and apps made from it: the token as it stands, PATCH.
    Template,
    /// An app of the App Integration Wizard: `Bearer ` before the token, PUT.
    Wizard,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As Okta needs it.
    Passed,
    /// Okta goes on, and something should be looked at.
    Warned,
    /// Okta would show an error, or go on with wrong data.
    Failed,
    /// It could not be tried, because an earlier step failed.
    Skipped,
}

impl Outcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Passed => "ok",
            Outcome::Warned => "warning",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

/// One step of the series, done.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is called, such as `create`.
    pub name: &'static str,
    /// What Okta does then, and with which requests.
    pub okta: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long all its requests took together, in milliseconds.
    pub duration_ms: u64,
    /// How many requests it made.
    pub requests: u32,
    /// What there is to say of it: the failure, or warnings.
    pub findings: Vec<Finding>,
    /// What was seen that is no fault, such as the number of users read.
    pub note: Option<String>,
}

/// What came of a whole series.
#[derive(Clone, Debug)]
pub struct Report {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What the probe made and could not remove: kind and name, as a person finds it in the application.
    pub left_behind: Vec<String>,
    /// Whether it was broken off.
    pub interrupted: bool,
}

impl Report {
    /// Whether Okta would come through: no step failed, nothing was left behind, and it was not broken off.
    pub fn passed(&self) -> bool {
        let failed = self.steps.iter().any(|step| step.outcome == Outcome::Failed);
        !failed && self.left_behind.is_empty() && !self.interrupted
    }
}

/// The series could not even begin.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// A certificate to be trusted cannot be used.
    #[error("{0}")]
    Certificates(#[from] BadCertificates),
    /// The token cannot stand in a header field.
    #[error("the token has characters that cannot stand in a header; it should be one line of plain letters")]
    Token,
    /// There is no chance to be had, and the names of the probe's users must be new.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Plays the series. Each step is told when it is done. When `stop` comes true, the series ends at once, and what
/// it has made is removed all the same.
///
/// # Errors
/// When the trusted certificates cannot be used, or the system gives no random numbers.
pub async fn run(
    plan: &Plan,
    mut tell: impl FnMut(&Step),
    stop: impl Future<Output = ()>,
) -> Result<Report, CannotStart> {
    let mut series = series::Series::new(plan)?;
    let mut steps = Vec::new();
    let mut keep = |step: Step| {
        tell(&step);
        steps.push(step);
    };
    let interrupted = tokio::select! {
        () = series.play(&mut keep) => false,
        () = stop => true,
    };
    let left_behind = series.clean_up(&mut keep).await;
    Ok(Report { steps, left_behind, interrupted })
}
