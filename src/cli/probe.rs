//! `ici-scim probe`: Okta played against a server, and what came of it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Globals;
use crate::cli::output::{self, Failure, Table};
use crate::cli::progress::Progress;
use crate::probe::{self, BaseUrl, Finding, Outcome, Plan, Report, Step, Style};

const EXAMPLES: &str = "\
Sends what Okta sends: Test API Credentials, then two people who are created, imported, changed, deactivated and
reactivated, and a group that is pushed and deleted. Their names begin with ICI-SCIM-Probe; they are removed at the
end, also when a step fails or Ctrl-C is pressed. Needs no configuration file and works with servers of any maker.

A server that tells other programs of new people, or invites them by mail, does so for these two as well:
--read-only plays Test API Credentials alone and changes nothing.

Exit codes: 0 Okta would come through, 1 it would not (or something was left behind), 2 wrong usage

Examples:
  ici-scim probe https://scim.example.com/scim/v2/acme --token-file okta.token
  ici-scim probe https://scim.example.com/scim/v2/acme --token-file okta.token --read-only
  ici-scim probe http://127.0.0.1:8080/scim/v2/acme --token-file - --json < okta.token
  ici-scim probe https://other.example.com/scim --token-file t --style wizard --ca ca.pem";

/// Largest file with a token or with certificates that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest token, in bytes; what a header field holds everywhere.
const TOKEN_BYTES_MAX: usize = 4096;

/// Arguments of `probe`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The Base URL as it stands, or will stand, in Okta
    url: String,
    /// The file with the token as it stands in Okta's field; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Play Test API Credentials alone and change nothing
    #[arg(long)]
    read_only: bool,
    /// Which kind of Okta's apps: one made from the catalog's SCIM 2.0 Test App, or one of the wizard
    #[arg(long, default_value = "template")]
    style: StyleName,
    /// Certificates (PEM) to trust beside the public authorities; Okta trusts none but those
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds that an answer may take; Okta itself waits 60
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// The domain of the two people's user names and addresses
    #[arg(long, default_value = "example.com", value_parser = domain)]
    domain: String,
    /// Most pages of a hundred that the import reads, besides the last one
    #[arg(long, value_name = "PAGES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    import_pages: u32,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum StyleName {
    Template,
    Wizard,
}

fn domain(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let right = (1..=200).contains(&text.len()) && text.bytes().all(plain);
    if right { Ok(text.to_owned()) } else { Err("expected a domain such as example.com".to_owned()) }
}

/// Runs the series and reports it.
///
/// # Errors
/// When URL, token or certificates cannot be read (exit code 2), or the report cannot be printed.
pub fn run(command: &Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let base_url = BaseUrl::parse(&command.url).map_err(|error| {
        Failure::usage(error.to_string()).hint("it is the Base URL of Okta's Provisioning > Integration page")
    })?;
    let plan = Plan {
        base_url,
        token: token(&command.token_file)?,
        style: match command.style {
            StyleName::Template => Style::Template,
            StyleName::Wizard => Style::Wizard,
        },
        read_only: command.read_only,
        timeout: Duration::from_secs(command.timeout),
        authorities: authorities(command.ca.as_deref())?,
        domain: command.domain.clone(),
        import_pages_max: command.import_pages as usize,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Gone when the table comes, which has every step once more.
    let progress = Progress::endless("probing; steps done");
    let tell = |step: &Step| {
        progress.says(format!("probing, {} {}; steps done", step.name, step.outcome.as_str()));
        progress.step(1);
    };
    let report = runtime
        .block_on(async { probe::run(&plan, tell, stopped(&progress)?).await.map_err(anyhow::Error::new) })
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    drop(progress);
    if globals.json {
        output::json(&as_json(&plan, &report))?;
    } else {
        print(&plan, &report)?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Comes true at the first Ctrl-C or SIGTERM. A second one ends the program as it always does.
fn stopped(progress: &Progress) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        progress.aside(|| output::note("stopping; what was made is being removed"));
    })
}

fn token(file: &Path) -> anyhow::Result<String> {
    let bytes = match file.to_str() {
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().take(FILE_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
        }
        _ => read(file),
    };
    let shown = file.display();
    let bytes = bytes.map_err(|error| {
        Failure::usage(format!("cannot read the token from {shown}: {error}"))
            .hint("write it there: `ici-scim token new TENANT --name probe > FILE`")
    })?;
    let token = String::from_utf8(bytes).unwrap_or_default().trim().to_owned();
    let visible = |byte: u8| (0x20..0x7f).contains(&byte);
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(visible) {
        let problem =
            format!("{shown} does not hold a token: one line of up to {TOKEN_BYTES_MAX} plain characters");
        return Err(Failure::usage(problem).hint("put in it what stands in Okta's API Token field").into());
    }
    Ok(token)
}

fn authorities(file: Option<&Path>) -> anyhow::Result<Vec<rustls::pki_types::CertificateDer<'static>>> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let problem = |what: String| Failure::usage(format!("cannot trust {}: {what}", file.display()));
    let pem = read(file).map_err(|error| problem(error.to_string()))?;
    Ok(probe::authorities(&pem).map_err(|error| problem(error.to_string()))?)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn print(plan: &Plan, report: &Report) -> anyhow::Result<()> {
    let mut table = Table::new(&["STEP", "WHAT OKTA DOES", "RESULT", "MS", "SEEN"]);
    for step in &report.steps {
        let note = step.note.as_deref().unwrap_or_default();
        let ms = if step.outcome == Outcome::Skipped { String::new() } else { step.duration_ms.to_string() };
        table.row([step.name, step.okta, step.outcome.as_str(), &ms, note]);
    }
    output::table(&table)?;
    for step in &report.steps {
        for finding in &step.findings {
            print_finding(step, finding)?;
        }
    }
    for left in &report.left_behind {
        output::note(&format!("left behind: {left}"));
    }
    if report.interrupted {
        output::note("broken off; what came before it stands above");
    }
    output::note(&format!("{}: {}", plan.base_url.as_str(), verdict(report)));
    Ok(())
}

fn print_finding(step: &Step, finding: &Finding) -> anyhow::Result<()> {
    let word = if finding.is_failure() { "failed" } else { "warning" };
    output::line("")?;
    output::line(&output::bold(&format!("{} {word}: {}", step.name, finding.what)))?;
    if let Some(shown) = &finding.shown {
        output::line(&format!("  Okta shows    {shown}"))?;
    }
    output::line(&format!("  likely cause  {}", finding.cause))?;
    output::line(&format!("  what to do    {}", finding.next))
}

fn verdict(report: &Report) -> &'static str {
    let warned = report.steps.iter().any(|step| step.outcome == Outcome::Warned);
    match (report.passed(), warned) {
        (true, false) => "Okta comes through",
        (true, true) => "Okta comes through, with the warnings above",
        (false, _) => "Okta does not come through, see above",
    }
}

fn as_json(plan: &Plan, report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "failure": finding.is_failure(), "what": finding.what, "okta_shows": finding.shown,
            "likely_cause": finding.cause, "what_to_do": finding.next,
        })
    };
    let step = |step: &Step| {
        json!({
            "step": step.name, "okta": step.okta, "result": step.outcome.as_str(), "ms": step.duration_ms,
            "requests": step.requests, "seen": step.note,
            "findings": step.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    json!({
        "base_url": plan.base_url.as_str(),
        "passed": report.passed(),
        "interrupted": report.interrupted,
        "left_behind": report.left_behind,
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
