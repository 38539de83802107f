//! Who asks: from the header `Authorization` and the tenant's part of the address to a [`Caller`].
//!
//! Every wrong case is one and the same refusal, and what can be seen from outside of its time does not
//! depend on whether the tenant exists. A well-formed token that was not shown yet is checked against each hash of the
//! tenant whose token is not known; where there is no such tenant, against those of one that stands in for it, which
//! proves nothing; where there is no such hash, it costs one run of Argon2 all the same. Its refusal is sent at a
//! multiple of 100 ms after the request.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tokio::time::Instant;

use crate::clock::Stopwatch;
use crate::config::{Access, TenantName, TokenSettings};
use crate::directory::Actor;
use crate::metrics::{Metrics, TenantCounters};
use crate::secret::{Digest, TokenText, spend_one_check};
use crate::tenants::Tenants;
use crate::tenants::gate::Network;
use crate::tenants::snapshot::{Proof, Snapshot};

/// Refusals of well-formed tokens are sent at multiples of this after the request came.
const REFUSAL_GRID: Duration = Duration::from_millis(100);
/// What a client is told to wait when too many unknown tokens wait for their check: longer than that queue.
const BUSY_RETRY_AFTER_S: u32 = 5;
/// Longest header that is looked at, in bytes; a token in every form needs less than half of it.
const HEADER_BYTES_MAX: usize = 1024;

/// Base64 as clients write it, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A client that has shown a token of the tenant that it asks. All who show the same token are one and the same, as
/// long as the configuration holds: made for each request, its parts would each be counted in a place that all
/// processors write to.
#[non_exhaustive]
pub struct Caller {
    /// The tenant.
    pub tenant: TenantName,
    /// The name of the token, for logs and events.
    pub token: Arc<str>,
    /// Who is told of in events: the token.
    pub actor: Actor,
    /// What the token may do.
    pub access: Access,
    /// The id of the user that the token stands for.
    pub user: Option<Arc<str>>,
    /// What is counted of the tenant.
    pub counters: Arc<TenantCounters>,
    /// When the token ends, in milliseconds since 1970.
    expires_ms: Option<i64>,
    /// Knows when it was last shown.
    proof: Proof,
}

impl Caller {
    /// Who shows a token of a tenant.
    pub(super) fn new(
        tenant: &TenantName,
        token: &TokenSettings,
        proof: &Proof,
        counters: &Arc<TenantCounters>,
    ) -> Caller {
        Caller {
            tenant: tenant.clone(),
            token: Arc::clone(&token.name),
            actor: Actor::Token(Arc::clone(&token.name)),
            access: token.access,
            user: token.user.clone(),
            counters: Arc::clone(counters),
            expires_ms: token.expires_ms,
            proof: Arc::clone(proof),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("tenant", &self.tenant)
            .field("token", &self.token)
            .field("access", &self.access)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What is counted does not tell callers apart.
impl PartialEq for Caller {
    fn eq(&self, other: &Caller) -> bool {
        (&self.tenant, &self.token, self.access, &self.user)
            == (&other.tenant, &other.token, other.access, &other.user)
    }
}

impl Eq for Caller {}

/// A client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For whatever reason; which one is nobody's business.
    Unauthorized,
    /// Too many tokens wait to be checked.
    Busy {
        /// Seconds to wait.
        retry_after_s: u32,
    },
}

impl Tenants {
    /// Who asks, when the token is one of the tenant's that was shown before: the way of nearly every request, which
    /// waits for nothing. Otherwise [`Tenants::authenticate`] tells, or refuses.
    pub fn recognize(
        &self,
        snapshot: &Snapshot,
        tenant: &str,
        authorization: Option<&[u8]>,
    ) -> Option<Arc<Caller>> {
        // That it has the form of a token need not be looked at: it is one when it has the digest of one.
        let text = authorization.and_then(text_in)?;
        let index = proved(snapshot, tenant, &self.digest_key.digest_text(&text))?;
        self.caller(snapshot, tenant, Some(index)).ok()
    }

    /// Finds out who asks. `tenant` is the raw text of the address, `authorization` the header's value, `address` where
    /// the client asks from, if it has one. Costs a microsecond once a token is known.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn authenticate(
        &self,
        snapshot: &Arc<Snapshot>,
        tenant: &str,
        authorization: Option<&[u8]>,
        address: Option<IpAddr>,
    ) -> Result<Arc<Caller>, Refusal> {
        let started = Instant::now();
        // What is not even a token is refused at once; that tells nothing about any tenant.
        let token = authorization.and_then(token_in).ok_or(Refusal::Unauthorized)?;
        let found = self.token_of(snapshot, tenant, &token, Network::of(address)).await;
        if found == Err(Refusal::Unauthorized) {
            if let Some(counters) = snapshot.counters(tenant, &self.metrics) {
                counters.count_refused_token();
            }
            tokio::time::sleep_until(next_on_grid(started)).await;
        }
        found
    }

    async fn token_of(
        &self,
        snapshot: &Arc<Snapshot>,
        tenant: &str,
        token: &TokenText,
        network: Network,
    ) -> Result<Arc<Caller>, Refusal> {
        let digest = self.digest_key.digest(token);
        if let Some(index) = proved(snapshot, tenant, &digest) {
            return self.caller(snapshot, tenant, Some(index));
        }
        let pair = self.digest_key.digest_at(tenant, token);
        if snapshot.wrong.contains(&pair) {
            return self.caller(snapshot, tenant, None);
        }
        let shown = self.shown(snapshot, tenant, token, network);
        let index = checked(shown).await?;
        self.caller(snapshot, tenant, index)
    }

    /// What is to be checked of a token that is not known. The newest hash comes first, for a new token takes over from
    /// one that may be left, and what has expired last; it is not left out, for the clock may be wrong.
    fn shown(&self, snapshot: &Arc<Snapshot>, tenant: &str, token: &TokenText, network: Network) -> Shown {
        let now_ms = self.clock.now_ms();
        let pair = self.digest_key.digest_at(tenant, token);
        let whose = snapshot.tenant_or_stand_in(tenant, &self.digest_key).cloned();
        let tokens = whose.as_ref().map_or(&[][..], |whose| snapshot.tokens(whose));
        let mut rest: Vec<usize> = (0..tokens.len()).collect();
        // The next one is taken from the end.
        rest.sort_by_key(|index| {
            let has_expired = tokens[*index].expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms);
            (Reverse(has_expired), tokens[*index].created_ms, *index)
        });
        let rest = rest.into_iter().map(|index| (index, self.digest_key.digest_part(&pair, index))).collect();
        Shown {
            snapshot: Arc::clone(snapshot),
            tenant: tenant.to_owned(),
            token: token.clone(),
            network,
            digest: self.digest_key.digest(token),
            pair,
            is_there: snapshot.tenant(tenant).is_some(),
            whose,
            rest,
            has_run: false,
            metrics: Arc::clone(&self.metrics),
        }
    }

    fn caller(
        &self,
        snapshot: &Snapshot,
        tenant: &str,
        index: Option<usize>,
    ) -> Result<Arc<Caller>, Refusal> {
        let index = index.ok_or(Refusal::Unauthorized)?;
        let caller = snapshot.caller(tenant, index, &self.metrics).ok_or(Refusal::Unauthorized)?;
        let now_ms = self.clock.now_ms();
        if caller.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
            return Err(Refusal::Unauthorized);
        }
        if caller.proof.use_at(now_ms) {
            self.last_used.tell();
        }
        Ok(Arc::clone(caller))
    }
}

/// Has a token checked by Argon2, one run for each place in the gate. When the request is given up the run that has
/// begun goes on, in its place, and what it finds is remembered.
async fn checked(mut shown: Shown) -> Result<Option<usize>, Refusal> {
    let busy = Refusal::Busy { retry_after_s: BUSY_RETRY_AFTER_S };
    loop {
        let Some(place) = shown.snapshot.gate.enter(shown.network).await else {
            shown.metrics.token_checks_refused.add_one();
            return Err(busy);
        };
        let checking = tokio::task::spawn_blocking(move || {
            let _place = place;
            let known = shown.run_once();
            (shown, known)
        });
        let (back, known) = checking.await.map_err(|_| busy)?;
        match known.map_err(|_| busy)? {
            Known::Right(index) => return Ok(Some(index)),
            Known::Wrong => return Ok(None),
            Known::Nothing => shown = back,
        }
    }
}

/// Which of the tenant's tokens has been proved to be the one of this digest.
fn proved(snapshot: &Snapshot, tenant: &str, digest: &Digest) -> Option<usize> {
    // All are compared, whichever it is.
    snapshot
        .proofs(tenant)
        .iter()
        .enumerate()
        .fold(None, |found, (index, proof)| if proof.digest() == Some(digest) { Some(index) } else { found })
}

/// A token that was shown for a tenant and is not known.
struct Shown {
    snapshot: Arc<Snapshot>,
    tenant: String,
    token: TokenText,
    network: Network,
    digest: Digest,
    /// Digest of tenant and token together.
    pair: Digest,
    /// Whether there is such a tenant.
    is_there: bool,
    /// Whose hashes are gone through: the tenant's, or those of the one that stands in for it.
    whose: Option<TenantName>,
    /// Places of the hashes not gone through yet, the next one last, each with the digest by which it is remembered that
    /// the token is not the one of that hash.
    rest: Vec<(usize, Digest)>,
    /// Whether Argon2 has run.
    has_run: bool,
    metrics: Arc<Metrics>,
}

/// What is known without Argon2 of a token that was shown.
enum Known {
    /// It is the tenant's token at this place.
    Right(usize),
    /// It is none of the tenant's.
    Wrong,
    /// Nothing yet.
    Nothing,
}

impl Shown {
    fn known(&self) -> Known {
        match proved(&self.snapshot, &self.tenant, &self.digest) {
            Some(index) => Known::Right(index),
            None if self.snapshot.wrong.contains(&self.pair) => Known::Wrong,
            None => Known::Nothing,
        }
    }

    /// Runs Argon2 once, unless it is not needed any more, and remembers what comes of it. Where nothing is known
    /// after that, there are more hashes.
    fn run_once(&mut self) -> Result<Known, crate::secret::Error> {
        // A hash that is passed over since its token is known now may be that of this token: so this comes first.
        let next = self.next();
        // The same token may have been checked while this one waited for its place.
        match self.known() {
            Known::Nothing => {}
            known => return Ok(known),
        }
        match next {
            Some((index, part)) => {
                self.has_run = true;
                if self.is_of(index)? {
                    return Ok(Known::Right(index));
                }
                self.rest.pop();
                if self.next().is_some() {
                    self.snapshot.wrong.insert(part);
                    return Ok(Known::Nothing);
                }
            }
            None if !self.has_run => self.timed(|| spend_one_check(&self.token)),
            None => {}
        }
        if let Known::Right(index) = self.known() {
            return Ok(Known::Right(index));
        }
        self.snapshot.wrong.insert(self.pair);
        Ok(Known::Wrong)
    }

    /// The next hash that the token may be of: its token is not known, and this one was not held against it.
    fn next(&mut self) -> Option<(usize, Digest)> {
        let proofs = self.whose.as_ref().map_or(&[][..], |whose| self.snapshot.proofs(whose.as_str()));
        while let Some((index, part)) = self.rest.last().copied() {
            let is_known = proofs.get(index).is_none_or(|proof| proof.digest().is_some());
            if !is_known && !self.snapshot.wrong.contains(&part) {
                return Some((index, part));
            }
            self.rest.pop();
        }
        None
    }

    /// Whether the token is the tenant's at this place; then it is known from now on. It costs the same where another
    /// tenant stands in, and nothing comes of it.
    fn is_of(&self, index: usize) -> Result<bool, crate::secret::Error> {
        let Some(whose) = &self.whose else { return Ok(false) };
        let tokens = self.snapshot.tokens(whose).iter().zip(self.snapshot.proofs(whose.as_str()));
        let Some((token, proof)) = tokens.into_iter().nth(index) else { return Ok(false) };
        let is_of = self.timed(|| token.hash.check(&self.token))? && self.is_there;
        if is_of {
            proof.prove(self.digest);
        }
        Ok(is_of)
    }

    fn timed<T>(&self, check: impl FnOnce() -> T) -> T {
        let watch = Stopwatch::start();
        let checked = check();
        self.metrics.token_check.observe(watch.elapsed());
        checked
    }
}

/// The next multiple of the grid after `started`; never now.
fn next_on_grid(started: Instant) -> Instant {
    let grid_ms = REFUSAL_GRID.as_millis();
    let steps = started.elapsed().as_millis() / grid_ms + 1;
    started + REFUSAL_GRID.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

/// The token in a header, in any of the forms that Okta's apps send: the token alone ("Header Auth"),
/// `Bearer` and the token, or `Basic` with the token as password. Blanks and the case of the scheme do not
/// matter, and `Bearer` may be there twice, for some consoles add it to what the administrator entered.
fn token_in(header: &[u8]) -> Option<TokenText> {
    text_in(header).and_then(|text| TokenText::parse(&text))
}

/// What stands in a header at the place of the token.
fn text_in(header: &[u8]) -> Option<Cow<'_, str>> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    // As nearly every client sends it.
    if let Some(word) = header.strip_prefix(b"Bearer ")
        && !word.iter().fold(false, |found, byte| found | (*byte <= b' '))
    {
        return std::str::from_utf8(word).ok().map(Cow::Borrowed);
    }
    let mut text = std::str::from_utf8(header).ok()?.trim_matches(BLANKS);
    if let Some(rest) = after_scheme(text, "basic") {
        let decoded = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
        let (_, password) = decoded.split_once(':')?;
        return Some(Cow::Owned(password.to_owned()));
    }
    for _ in 0..2 {
        text = after_scheme(text, "bearer").unwrap_or(text);
    }
    Some(Cow::Borrowed(text))
}

const BLANKS: [char; 2] = [' ', '\t'];

/// What follows the scheme and at least one blank.
fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (word, rest) = text.split_at_checked(scheme.len())?;
    let parted = word.eq_ignore_ascii_case(scheme) && rest.starts_with(BLANKS);
    parted.then(|| rest.trim_matches(BLANKS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    #[test]
    fn the_token_is_found_in_every_form_that_okta_sends() {
        let token = TokenText::generate().unwrap();
        let text = token.expose();
        for header in [
            text.to_owned(),
            format!("  {text}\t "),
            format!("Bearer {text}"),
            format!("bearer {text}"),
            format!("BEARER \t  {text}  "),
            format!(" bEARER {text}"),
            format!("Bearer Bearer {text}"),
            format!("Basic {}", STANDARD.encode(format!("okta:{text}"))),
            format!("basic   {} ", STANDARD_NO_PAD.encode(format!(":{text}"))),
        ] {
            assert_eq!(token_in(header.as_bytes()).as_ref(), Some(&token), "{header:?}");
        }
    }

    #[test]
    fn nothing_else_is_a_token() {
        let token = TokenText::generate().unwrap();
        let text = token.expose();
        for header in [
            String::new(),
            " ".to_owned(),
            "non-token".to_owned(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic Og==".to_owned(),
            "Basic !!".to_owned(),
            format!("Bearer{text}"),
            format!("Bearer Bearer Bearer {text}"),
            format!("Token {text}"),
            format!("{text}, {text}"),
            format!("{text} {text}"),
            format!("Basic {text}"),
            format!("Basic {}", STANDARD.encode(text)),
            format!("Basic {}", STANDARD.encode(format!("{text}:"))),
            format!("Basic {}", STANDARD.encode(format!("okta: {text}"))),
            format!("{text}{}", " ".repeat(HEADER_BYTES_MAX)),
        ] {
            assert_eq!(token_in(header.as_bytes()), None, "{header:?}");
        }
        assert_eq!(token_in(b"\xff\xfe"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_grid_is_never_now() {
        let started = Instant::now();
        assert_eq!(next_on_grid(started) - started, REFUSAL_GRID);
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(next_on_grid(started) - started, REFUSAL_GRID);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(next_on_grid(started) - started, 2 * REFUSAL_GRID);
        tokio::time::advance(Duration::from_millis(1234)).await;
        assert_eq!(next_on_grid(started) - started, 14 * REFUSAL_GRID);
    }
}
