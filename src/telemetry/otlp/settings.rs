//! The standard environment variables of OpenTelemetry, as far as they mean something here.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Uri, uri};
use percent_encoding::percent_decode_str;

use crate::metrics::spans::Sampler;

/// How long a batch may take unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise, in milliseconds: the standard's
/// default.
const TIMEOUT_MS: u64 = 10_000;

/// The longest that a batch may be given, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 60_000;

/// Where traces go, and which.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) endpoint: Uri,
    /// Sent with every batch. They may hold a token.
    pub(super) headers: HeaderMap,
    /// The attributes of the server, `service.name` among them.
    pub(super) resource: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) sampler: Sampler,
}

/// Reads the settings from variables; none when nothing says where traces are to go. `get` gives the value of a
/// variable that is set and not empty.
///
/// # Errors
/// One sentence that names the variable and never its value, which may hold a token.
pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Settings>, String> {
    let is = |name: &str, value: &str| get(name).is_some_and(|set| set.trim().eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    let Some(endpoint) = endpoint(&get)? else { return Ok(None) };
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if get(name).is_some() && !is(name, "http/json") {
            return Err(format!("{name} must be http/json or not set: nothing else is spoken"));
        }
    }
    let timeout_ms = match first(&get, ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]) {
        None => TIMEOUT_MS,
        Some((name, value)) => {
            let read = value.trim().parse().ok().filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms));
            read.ok_or_else(|| format!("{name} must be milliseconds, 1 to {TIMEOUT_MS_MAX}"))?
        }
    };
    Ok(Some(Settings {
        endpoint,
        headers: headers(&get)?,
        resource: resource(&get)?,
        timeout: Duration::from_millis(timeout_ms),
        sampler: sampler(&get)?,
    }))
}

/// The first variable that is set, with its value.
fn first<'n>(
    get: &impl Fn(&str) -> Option<String>,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<(&'n str, String)> {
    names.into_iter().find_map(|name| Some((name, get(name)?)))
}

fn endpoint(get: &impl Fn(&str) -> Option<String>) -> Result<Option<Uri>, String> {
    // The first is taken as it stands, the second is a base.
    let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let Some((name, value)) = first(get, names) else { return Ok(None) };
    let value = value.trim();
    let whole = match name == names[0] {
        true => value.to_owned(),
        false => format!("{}/v1/traces", value.trim_end_matches('/')),
    };
    let usable = |uri: &Uri| {
        let spoken =
            [uri::Scheme::HTTP, uri::Scheme::HTTPS].iter().any(|scheme| uri.scheme() == Some(scheme));
        spoken && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    let read = whole.parse().ok().filter(usable);
    let read = read.ok_or_else(|| {
        format!("{name} must be an http:// or https:// URL without a user, such as http://127.0.0.1:4318")
    })?;
    Ok(Some(read))
}

fn headers(get: &impl Fn(&str) -> Option<String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    // The second wins over the first.
    for variable in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
        for (name, value) in pairs(get, variable)? {
            let wrong = || format!("{variable} has a name or a value that no header field can have");
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

fn resource(get: &impl Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, String> {
    let mut resource = pairs(get, "OTEL_RESOURCE_ATTRIBUTES")?;
    let mut set = |name: &str, value: String| {
        resource.retain(|(other, _)| other != name);
        resource.push((name.to_owned(), value));
    };
    if let Some(name) = get("OTEL_SERVICE_NAME") {
        set("service.name", name.trim().to_owned());
    }
    set("service.version", env!("CARGO_PKG_VERSION").to_owned());
    if !resource.iter().any(|(name, _)| name == "service.name") {
        resource.push(("service.name".to_owned(), "ici-scim".to_owned()));
    }
    Ok(resource)
}

/// `name=value,name=value`, the values percent-encoded (W3C Baggage).
fn pairs(get: &impl Fn(&str) -> Option<String>, variable: &str) -> Result<Vec<(String, String)>, String> {
    let text = get(variable).unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = parts.map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        (!name.trim().is_empty()).then(|| (name.trim().to_owned(), value.into_owned()))
    });
    read.collect::<Option<_>>()
        .ok_or_else(|| format!("{variable} must be a list such as name=value,other=value, percent-encoded"))
}

fn sampler(get: &impl Fn(&str) -> Option<String>) -> Result<Sampler, String> {
    let part = || match get("OTEL_TRACES_SAMPLER_ARG") {
        None => Ok(1.0),
        Some(value) => {
            let read = value.trim().parse().ok().filter(|part| (0.0..=1.0).contains(part));
            read.ok_or_else(|| "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1".to_owned())
        }
    };
    let name = get("OTEL_TRACES_SAMPLER").unwrap_or_else(|| "parentbased_always_on".to_owned());
    let (by_parent, ratio) = match name.trim() {
        "parentbased_always_on" => (true, 1.0),
        "parentbased_always_off" => (true, 0.0),
        "parentbased_traceidratio" => (true, part()?),
        "always_on" => (false, 1.0),
        "always_off" => (false, 0.0),
        "traceidratio" => (false, part()?),
        _ => {
            return Err(
                "OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, each of them with or without \
                 parentbased_ in front"
                    .to_owned(),
            );
        }
    };
    Ok(Sampler { by_parent, ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        super::read(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    #[test]
    fn nothing_is_sent_unless_it_is_said_where() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("OTEL_SERVICE_NAME", "scim")]).unwrap().is_none());
        assert!(read(&[BASE, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        assert!(read(&[BASE, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
    }

    #[test]
    fn the_endpoint_is_a_base_and_that_of_traces_is_taken_as_it_stands() {
        let settings = read(&[BASE]).unwrap().unwrap();
        assert_eq!(settings.endpoint, "http://127.0.0.1:4318/v1/traces");
        assert_eq!(settings.sampler, Sampler { by_parent: true, ratio: 1.0 });
        assert_eq!(settings.timeout, Duration::from_secs(10));
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://otel.example.com/in");
        assert_eq!(read(&[BASE, traces]).unwrap().unwrap().endpoint, "https://otel.example.com/in");
    }

    #[test]
    fn headers_and_the_resource_are_lists_of_percent_encoded_pairs() {
        let settings = read(&[
            BASE,
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-a=1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other"),
            ("OTEL_SERVICE_NAME", "scim"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.headers["authorization"], "Bearer abc");
        assert_eq!(settings.headers["x-a"], "1");
        assert!(!format!("{settings:?}").contains("abc"));
        let named = |name: &str| -> Vec<&str> {
            let all = settings.resource.iter().filter(|(key, _)| key == name);
            all.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(
            (named("service.name"), named("deployment.environment.name")),
            (vec!["scim"], vec!["test"])
        );
    }

    #[test]
    fn a_wrong_value_is_told_by_the_name_of_its_variable_alone() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://secret/"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@host/"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "secret"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_TRACES_SAMPLER", "secret"),
        ] {
            let set = if name == BASE.0 { vec![(name, value)] } else { vec![BASE, (name, value)] };
            let error = read(&set).unwrap_err();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
        let part = ("OTEL_TRACES_SAMPLER_ARG", "1.5");
        assert!(read(&[BASE, ("OTEL_TRACES_SAMPLER", "traceidratio"), part]).is_err());
    }
}
