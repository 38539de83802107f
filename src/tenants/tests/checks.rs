//! What the check of tokens that were not shown yet costs, counted in runs of Argon2.

use std::net::IpAddr;

use super::*;

/// How often Argon2 has run for a token.
fn runs(tenants: &Tenants) -> u64 {
    tenants.metrics().token_check.held().count
}

/// How many runs a token that nobody has costs at a tenant.
async fn runs_of_a_guess(tenants: &Tenants, tenant: &str) -> u64 {
    let before = runs(tenants);
    let guess = TokenText::generate().unwrap();
    for _ in 0..2 {
        assert_eq!(shown(tenants, tenant, guess.expose()).await, Err(Refusal::Unauthorized));
    }
    runs(tenants) - before
}

/// How many runs it takes to know a token.
async fn runs_to_know(tenants: &Tenants, tenant: &str, token: &TokenText) -> u64 {
    let before = runs(tenants);
    assert!(shown(tenants, tenant, token.expose()).await.is_ok());
    runs(tenants) - before
}

/// A tenant with three tokens, the oldest first.
struct Three {
    bench: Bench,
    oldest: TokenText,
    middle: TokenText,
    newest: TokenText,
}

impl Three {
    fn new() -> Three {
        let bench = Bench::new();
        let [oldest, middle, newest] = [(); 3].map(|()| TokenText::generate().unwrap());
        let three = Three { bench, oldest, middle, newest };
        three.bench.write(&three.text());
        three
    }

    fn text(&self) -> String {
        let tokens = [("oldest", &self.oldest), ("middle", &self.middle), ("newest", &self.newest)];
        let tokens = tokens.map(|(name, text)| token("three", name, text, ""));
        format!("[tenants.three]\n{}", tokens.concat())
    }
}

#[tokio::test(start_paused = true)]
async fn a_guess_costs_as_much_where_there_is_no_such_tenant_as_where_there_is_one() {
    let three = Three::new();
    let tenants = three.bench.tenants();
    let overlong = "a".repeat(100_000);
    let names = ["three", "nobody", "somebody", "..", "", "THREE", &overlong];
    for (known, runs_expected) in
        [(None, 3), (Some(&three.middle), 2), (Some(&three.newest), 1), (Some(&three.oldest), 1)]
    {
        if let Some(known) = known {
            shown(&tenants, "three", known.expose()).await.unwrap();
        }
        for name in names {
            assert_eq!(runs_of_a_guess(&tenants, name).await, runs_expected, "{name:.20}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_costs_what_one_and_the_same_tenant_does() {
    let three = Three::new();
    let one = token("one", "only", &three.bench.acme, "");
    three.bench.write(&format!("{}[tenants.one]\npaused = true\n{one}[tenants.none]\n", three.text()));
    let tenants = three.bench.tenants();
    for (name, runs_expected) in [("three", 3), ("one", 1), ("none", 1)] {
        assert_eq!(runs_of_a_guess(&tenants, name).await, runs_expected, "{name}");
    }
    let mut found = Vec::new();
    for number in 0..100 {
        let name = format!("nobody-{number}");
        let runs = runs_of_a_guess(&tenants, &name).await;
        assert_eq!(runs_of_a_guess(&tenants, &name).await, runs, "{name}");
        found.push(runs);
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_guess_costs_one_run_where_there_is_no_tenant_at_all() {
    let bench = Bench::new();
    bench.write("[server]\n");
    assert_eq!(runs_of_a_guess(&bench.tenants(), "nobody").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_the_tenant_that_stands_in_for_a_name_is_wrong_there() {
    let three = Three::new();
    let tenants = three.bench.tenants();
    for text in [&three.newest, &three.oldest] {
        let before = runs(&tenants);
        assert_eq!(shown(&tenants, "nobody", text.expose()).await, Err(Refusal::Unauthorized));
        assert_eq!(runs(&tenants) - before, 3, "no run less than for a guess");
    }
    assert_eq!(runs_to_know(&tenants, "three", &three.newest).await, 1, "nothing was learned there");
}

#[tokio::test(start_paused = true)]
async fn the_newest_token_is_checked_first_and_one_that_has_expired_last() {
    let bench = Bench::new();
    let tokens: [TokenText; 4] = [(); 4].map(|()| TokenText::generate().unwrap());
    let [oldest, dated, newest, expired] = &tokens;
    let text = [
        token("acme", "newest", newest, "created = 2025-12-30T00:00:00Z"),
        token("acme", "oldest", oldest, "created = 2025-01-01T00:00:00Z"),
        token("acme", "expired", expired, "created = 2025-12-31T00:00:00Z\nexpires = 2026-01-01T00:00:00Z"),
        token("acme", "dated", dated, "created = 2025-06-01T00:00:00Z\nexpires = 2026-01-01T00:00:01Z"),
    ];
    bench.write(&format!("[tenants.acme]\n{}", text.concat()));
    for (token, runs_expected) in [(newest, 1), (dated, 2), (oldest, 3)] {
        assert_eq!(runs_to_know(&bench.tenants(), "acme", token).await, runs_expected);
    }
    let tenants = bench.tenants();
    assert_eq!(shown(&tenants, "acme", expired.expose()).await, Err(Refusal::Unauthorized));
    assert_eq!(runs(&tenants), 4);
    bench.clock.advance_ms(-1);
    assert_eq!(runs_to_know(&tenants, "acme", expired).await, 0, "it is known, and was refused for its time");
}

#[tokio::test(start_paused = true)]
async fn the_last_of_the_text_is_the_newest_where_nothing_else_says_so() {
    let three = Three::new();
    for (token, runs_expected) in [(&three.newest, 1), (&three.middle, 2), (&three.oldest, 3)] {
        assert_eq!(runs_to_know(&three.bench.tenants(), "three", token).await, runs_expected);
    }
}

#[tokio::test(start_paused = true)]
async fn each_run_takes_a_turn_of_its_own() {
    let three = Three::new();
    let tenants = three.bench.tenants();
    let snapshot = tenants.snapshot();
    let here = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
    let place = snapshot.gate.enter(Network::of(None)).await.unwrap();
    let asking = {
        let (tenants, snapshot) = (Arc::clone(&tenants), Arc::clone(&snapshot));
        let guess = TokenText::generate().unwrap();
        tokio::spawn(async move {
            tenants.authenticate(&snapshot, "three", Some(guess.expose().as_bytes()), here(1)).await
        })
    };
    // It is in its line when this comes back.
    tokio::task::yield_now().await;
    let mut other = std::pin::pin!(snapshot.gate.enter(Network::of(here(2))));
    assert!(other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(place);
    let place = other.await.unwrap();
    assert_eq!(runs(&tenants), 1, "the other network waits for one run and not for three");
    drop(place);
    assert_eq!(asking.await.unwrap(), Err(Refusal::Unauthorized));
    assert_eq!(runs(&tenants), 3);
}

#[tokio::test(start_paused = true)]
async fn no_run_is_made_twice_for_a_token_whoever_asks_and_gives_up() {
    let three = Three::new();
    let tenants = three.bench.tenants();
    {
        let mut asking = std::pin::pin!(shown(&tenants, "three", three.oldest.expose()));
        let _ = asking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    // The gate opens when the run that had begun is over. One that is over before it is looked at is followed by the next.
    drop(tenants.snapshot().gate.enter(Network::of(None)).await.unwrap());
    assert!((1..=3).contains(&runs(&tenants)));
    let asks = || shown(&tenants, "three", three.oldest.expose());
    let (one, two, three) = tokio::join!(asks(), asks(), asks());
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(runs(&tenants), 3);
}
