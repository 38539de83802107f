//! Tokens and reloads, in `checks` what the check of a token costs, and in `requests` what is done with requests, on real
//! configuration files and tenant files in a temporary folder.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::time::Instant;

use crate::clock::ManualClock;
use crate::config::{Access, TenantName};
use crate::directory::{self, Answer, Ask};
use crate::scim::Kind;
use crate::scim::endpoint::Operation;
use crate::secret::{TokenHash, TokenText};
use crate::tenants::auth::{Caller, Refusal};
use crate::tenants::gate::{Network, WAITING_MAX};
use crate::tenants::{LastUsed, Overrides, ReloadSummary, Tenants, Trail, open_directory};

mod checks;
mod requests;

/// 2026-01-01T00:00:00Z
const NOW_MS: i64 = 1_767_225_600_000;
const GRID: Duration = Duration::from_millis(100);

struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    acme: TokenText,
    reader: TokenText,
    globex: TokenText,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().unwrap(),
            clock: ManualClock::at(NOW_MS),
            acme: TokenText::generate().unwrap(),
            reader: TokenText::generate().unwrap(),
            globex: TokenText::generate().unwrap(),
        };
        bench.write(&bench.usual());
        bench
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("tenants.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    fn usual(&self) -> String {
        format!(
            "[tenants.acme]\n{}{}\n[tenants.globex]\n{}",
            token("acme", "okta", &self.acme, "expires = 2026-01-02T00:00:00Z"),
            token("acme", "reader", &self.reader, "access = \"read-only\""),
            token("globex", "okta", &self.globex, ""),
        )
    }

    fn tenants(&self) -> Arc<Tenants> {
        let settings =
            crate::config::parse(&fs::read_to_string(self.file()).unwrap(), "tenants.toml").unwrap();
        Tenants::new(self.file(), settings, Overrides::default(), self.clock.clone()).unwrap()
    }
}

/// A cheap hash, and always the same for a token.
fn token(tenant: &str, name: &str, token: &TokenText, more: &str) -> String {
    let hash = TokenHash::hash_cheaply(token);
    format!("[[tenants.{tenant}.tokens]]\nname = \"{name}\"\nhash = \"{}\"\n{more}\n", hash.expose())
}

async fn shown(tenants: &Tenants, tenant: &str, header: &str) -> Result<Arc<Caller>, Refusal> {
    tenants.authenticate(&tenants.snapshot(), tenant, Some(header.as_bytes()), None).await
}

/// The answer, when it takes no Argon2: nobody gets through the gate meanwhile.
async fn shown_with_closed_gate(
    tenants: &Tenants,
    tenant: &str,
    header: &str,
) -> Result<Arc<Caller>, Refusal> {
    let snapshot = tenants.snapshot();
    let _place = snapshot.gate.enter(Network::of(None)).await.unwrap();
    let asking = tenants.authenticate(&snapshot, tenant, Some(header.as_bytes()), None);
    tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_accepted_in_every_form_and_at_once() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let started = Instant::now();
    let text = bench.acme.expose();
    let basic = STANDARD.encode(format!("anybody:{text}"));
    for header in
        [text.to_owned(), format!("Bearer {text}"), format!("bearer   {text} "), format!("BASIC {basic}")]
    {
        let caller = shown(&tenants, "acme", &header).await.unwrap();
        assert_eq!((caller.tenant.as_str(), &*caller.token), ("acme", "okta"));
        assert_eq!(caller.access, Access::ReadWrite);
    }
    assert_eq!(shown(&tenants, "acme", bench.reader.expose()).await.unwrap().access, Access::ReadOnly);
    assert_eq!(&*shown(&tenants, "globex", bench.globex.expose()).await.unwrap().token, "okta");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn every_wrong_case_is_the_same_refusal() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let snapshot = tenants.snapshot();
    let (right, unknown) = (bench.acme.expose(), TokenText::generate().unwrap());
    let overlong = "a".repeat(100_000);
    for (tenant, header) in [
        ("acme", None),
        ("acme", Some("")),
        ("acme", Some("Bearer ")),
        ("acme", Some("non-token")),
        ("acme", Some(&right[..52])),
        ("acme", Some(unknown.expose())),
        ("acme", Some(bench.globex.expose())),
        ("globex", Some(right)),
        ("initech", Some(right)),
        ("", Some(right)),
        ("..", Some(right)),
        ("%00", Some(right)),
        ("acme%2f", Some(right)),
        ("ac%6de", Some(right)),
        ("ACME", Some(right)),
        (" acme", Some(right)),
        ("acme\0", Some(right)),
        (&overlong, Some(right)),
    ] {
        let refused = tenants.authenticate(&snapshot, tenant, header.map(str::as_bytes), None).await;
        assert_eq!(refused, Err(Refusal::Unauthorized), "{:.20?}", tenant);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_well_formed_tokens_come_on_the_grid_whether_the_tenant_exists_or_not() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let unknown = TokenText::generate().unwrap();
    for tenant in ["acme", "globex", "initech", ".."] {
        // The second time it is known to be wrong.
        for _ in 0..2 {
            let started = Instant::now();
            assert_eq!(shown(&tenants, tenant, unknown.expose()).await, Err(Refusal::Unauthorized));
            assert_eq!(started.elapsed(), GRID, "{tenant}");
        }
    }
    let started = Instant::now();
    assert_eq!(shown(&tenants, "acme", "non-token").await, Err(Refusal::Unauthorized));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_at_its_expiry() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    bench.clock.advance_ms(24 * 60 * 60 * 1000 - 1);
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    bench.clock.advance_ms(1);
    let started = Instant::now();
    assert_eq!(shown(&tenants, "acme", bench.acme.expose()).await, Err(Refusal::Unauthorized));
    assert_eq!(started.elapsed(), GRID);
    assert!(shown(&tenants, "acme", bench.reader.expose()).await.is_ok());
    // A machine whose clock was wrong at its start must not refuse for ever.
    let tenants = bench.tenants();
    assert_eq!(shown(&tenants, "acme", bench.acme.expose()).await, Err(Refusal::Unauthorized));
    bench.clock.advance_ms(-1000);
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn argon2_runs_for_a_token_that_comes_first_and_not_when_it_comes_again() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    assert!(shown_with_closed_gate(&tenants, "acme", bench.acme.expose()).await.is_ok());
    assert_eq!(shown(&tenants, "globex", bench.acme.expose()).await, Err(Refusal::Unauthorized));
    let again = shown_with_closed_gate(&tenants, "globex", bench.acme.expose()).await;
    assert_eq!(again, Err(Refusal::Unauthorized));
}

#[tokio::test(start_paused = true)]
async fn guesses_beyond_the_bound_are_turned_away_and_known_clients_are_not() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    let snapshot = tenants.snapshot();
    let place = snapshot.gate.enter(Network::of(None)).await.unwrap();
    let guesses: Vec<_> = (0..WAITING_MAX)
        .map(|_| {
            let tenants = Arc::clone(&tenants);
            tokio::spawn(
                async move { shown(&tenants, "acme", TokenText::generate().unwrap().expose()).await },
            )
        })
        .collect();
    for _ in 0..WAITING_MAX {
        tokio::task::yield_now().await;
    }
    let guess = shown(&tenants, "acme", TokenText::generate().unwrap().expose()).await;
    assert!(matches!(guess, Err(Refusal::Busy { retry_after_s: 1.. })));
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    drop(place);
    for guess in guesses {
        assert_eq!(guess.await.unwrap(), Err(Refusal::Unauthorized));
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_was_given_up_still_counts() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    {
        let mut asking = std::pin::pin!(shown(&tenants, "acme", bench.reader.expose()));
        // Whether it is done by now or not, nobody asks again.
        let _ = asking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    // The gate opens when that check is done.
    let _place = tenants.snapshot().gate.enter(Network::of(None)).await.unwrap();
    assert!(shown(&tenants, "acme", bench.reader.expose()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_stops_with_the_reload_and_the_others_stay_known() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    assert!(shown(&tenants, "acme", bench.reader.expose()).await.is_ok());
    let before = tenants.snapshot();
    bench.write(&format!("[tenants.acme]\n{}", token("acme", "reader", &bench.reader, "")));
    let summary = tenants.reload().unwrap();
    assert_eq!(
        summary,
        ReloadSummary {
            tenants_removed: 1,
            tokens_removed: 2,
            other_settings_changed: true,
            ..ReloadSummary::default()
        }
    );
    assert_eq!(shown(&tenants, "acme", bench.acme.expose()).await, Err(Refusal::Unauthorized));
    let reader = shown_with_closed_gate(&tenants, "acme", bench.reader.expose()).await.unwrap();
    assert_eq!(reader.access, Access::ReadWrite);
    // A request that began before keeps its settings to the end.
    assert!(tenants.authenticate(&before, "acme", Some(bench.acme.expose().as_bytes()), None).await.is_ok());
    bench.write(&bench.usual());
    assert_eq!(tenants.reload().unwrap().tokens_added, 2);
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_was_wrong_may_be_right_after_a_reload() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    assert_eq!(shown(&tenants, "globex", bench.acme.expose()).await, Err(Refusal::Unauthorized));
    bench.write(&format!("[tenants.globex]\n{}", token("globex", "okta", &bench.acme, "")));
    tenants.reload().unwrap();
    assert!(shown(&tenants, "globex", bench.acme.expose()).await.is_ok());
}

#[tokio::test]
async fn a_faulty_file_changes_nothing_and_is_named() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let before = tenants.snapshot();
    for (text, problem) in [
        ("[tenants.acme]\nhuh = 1\n", "tenants.toml:2: tenants.acme.huh: unknown key"),
        ("[tenants.acme\n", "tenants.toml:1: not TOML"),
        (" \n", "tenants.toml is empty"),
    ] {
        bench.write(text);
        let found = tenants.reload().unwrap_err();
        assert!(found.contains(problem), "{found}");
    }
    fs::remove_file(bench.file()).unwrap();
    assert!(tenants.reload().unwrap_err().contains("tenants.toml cannot be read"));
    assert!(Arc::ptr_eq(&before, &tenants.snapshot()));
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
}

#[tokio::test]
async fn what_needs_a_restart_is_told_and_left_as_it_is() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let before = tenants.snapshot().settings().server.clone();
    let server = "[server]\nlisten = \"127.0.0.1:9\"\ndata_dir = \"other\"\npublic_url = \"https://a\"\n\
                  limits.stop_s = 1\nlimits.connections_max = 9\nlimits.request_s = 7\n";
    bench.write(&(server.to_owned() + &bench.usual()));
    let summary = tenants.reload().unwrap();
    assert_eq!(summary.restart_needed, ["listen", "data_dir", "limits.connections_max", "limits.stop_s"]);
    assert!(summary.other_settings_changed);
    let after = tenants.snapshot().settings().server.clone();
    assert_eq!((&after.listen, &after.data_dir), (&before.listen, &before.data_dir));
    assert_eq!((after.limits.stop_s, after.limits.connections_max), (15, 1024));
    assert_eq!((after.limits.request_s, after.public_url.as_deref()), (7, Some("https://a")));
    let again = tenants.reload().unwrap();
    assert!(!again.other_settings_changed);
}

#[tokio::test]
async fn overrides_win_after_a_reload_too() {
    let bench = Bench::new();
    let settings = crate::config::parse(&bench.usual(), "tenants.toml").unwrap();
    let overrides = Overrides { public_url: Some("https://flag".to_owned()), ..Overrides::default() };
    let tenants = Tenants::new(bench.file(), settings, overrides, bench.clock.clone()).unwrap();
    bench.write(&format!("[server]\npublic_url = \"https://file\"\n{}", bench.usual()));
    tenants.reload().unwrap();
    assert_eq!(tenants.snapshot().settings().server.public_url.as_deref(), Some("https://flag"));
}

/// Waits until the tenants are as expected, for a second of the paused clock: it goes on as soon as there is
/// nothing else to do, so that nothing is waited for in real time.
async fn wait_until(tenants: &Tenants, expected: &[&str]) {
    let seen = async {
        loop {
            let snapshot = tenants.snapshot();
            if snapshot.settings().tenants.keys().map(TenantName::as_str).eq(expected.iter().copied()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), seen).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_in_service_within_a_second_however_it_was_changed() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let _watch = tenants.watch();
    bench.write("[tenants.in-place]\n");
    wait_until(&tenants, &["in-place"]).await;
    crate::tenants::config_file::replace(&bench.file(), "[tenants.renamed]\n").unwrap();
    wait_until(&tenants, &["renamed"]).await;
    // As Kubernetes mounts it: a link through a folder link that is swapped.
    let at = |name: &str| bench.folder.path().join(name);
    for name in ["first", "second"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("tenants.toml"), format!("[tenants.{name}]\n")).unwrap();
    }
    std::os::unix::fs::symlink("first", at("now")).unwrap();
    std::os::unix::fs::symlink("now/tenants.toml", at("link")).unwrap();
    fs::rename(at("link"), bench.file()).unwrap();
    wait_until(&tenants, &["first"]).await;
    std::os::unix::fs::symlink("second", at("then")).unwrap();
    fs::rename(at("then"), at("now")).unwrap();
    wait_until(&tenants, &["second"]).await;
    // In another folder than the link's.
    fs::write(at("second").join("tenants.toml"), "[tenants.third]\n").unwrap();
    wait_until(&tenants, &["third"]).await;
    // A faulty file is no reason to stop watching.
    bench.write("[tenants.third\n");
    bench.write("[tenants.fourth]\n");
    wait_until(&tenants, &["fourth"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_still_being_written_is_left_alone_until_two_looks_agree() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    bench.write("[tenants.half]\n");
    tenants.look();
    assert!(!tenants.snapshot().settings().tenants.contains_key("half"), "seen once, not taken");
    bench.write("[tenants.whole]\n");
    tenants.look();
    assert!(!tenants.snapshot().settings().tenants.keys().any(|name| name.to_string() == "half"));
    tenants.look();
    wait_until(&tenants, &["whole"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_changed_before_the_watch_began_is_seen_too() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    bench.write("[tenants.early]\n");
    let watch = tenants.watch();
    wait_until(&tenants, &["early"]).await;
    drop(watch);
}

#[test]
fn a_command_opens_only_the_folder_in_force() {
    let settings = crate::config::parse("[tenants.acme]", "tenants.toml").unwrap();
    let opened = open_directory(&settings, &"acme".parse().unwrap(), ManualClock::at(NOW_MS));
    assert!(matches!(opened.err(), Some(directory::Error::Internal { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_token_is_written_down_once_a_minute_at_most_and_at_the_end() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    fs::create_dir(bench.folder.path().join("data")).unwrap();
    let kept = || LastUsed::read(&bench.folder.path().join("data"));
    let used_ms = || kept().of_token("acme", "okta", None);
    tenants.tend();
    assert_eq!(kept(), LastUsed::default(), "nobody has come");
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    tenants.tend();
    assert_eq!(used_ms(), Some(NOW_MS), "the first use is there at once");
    bench.clock.advance_ms(59_999);
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    tenants.tend();
    assert_eq!(used_ms(), Some(NOW_MS));
    bench.clock.advance_ms(1);
    tenants.tend();
    assert_eq!(used_ms(), Some(NOW_MS + 59_999));
    // What is refused is no use; a use within the same second is the same.
    assert!(shown(&tenants, "globex", bench.acme.expose()).await.is_err());
    bench.clock.advance_ms(500);
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    let watch = tenants.watch();
    bench.clock.advance_ms(500);
    assert!(shown(&tenants, "acme", bench.acme.expose()).await.is_ok());
    drop(watch);
    assert_eq!(used_ms(), Some(NOW_MS + 61_000), "written when the server ends");
    assert_eq!(kept().of_token("globex", "okta", None), None);

    // The next server knows it, and forgets tokens that the configuration has no longer.
    bench.write(&format!("[tenants.acme]\n{}", token("acme", "reader", &bench.reader, "")));
    let next = bench.tenants();
    assert!(shown(&next, "acme", bench.reader.expose()).await.is_ok());
    next.tend();
    assert_eq!(used_ms(), None);
    assert!(kept().of_token("acme", "reader", None).is_some());
}
