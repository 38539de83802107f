//! The Base URL as an administrator enters it, and what Okta would say of its form. Pure.

use http::Uri;

use crate::probe::Finding;

/// Longest Base URL that Okta's field takes, in characters.
const CHARS_MAX: usize = 1024;

/// A Base URL: scheme, host, path; no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// As entered, without slashes at its end.
    text: String,
    host: String,
    port: u16,
    https: bool,
    trailing_slash: bool,
}

/// A text is no Base URL; the message says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBaseUrl(&'static str);

impl BaseUrl {
    /// Reads what stands in Okta's Base URL field.
    ///
    /// # Errors
    /// When it is no http or https URL with a host, or has a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<BaseUrl, BadBaseUrl> {
        let wrong = BadBaseUrl("expected a Base URL such as https://scim.example.com/scim/v2/acme");
        let entered = text.trim();
        if entered.contains(['?', '#']) || entered.chars().count() > CHARS_MAX {
            return Err(BadBaseUrl("expected a Base URL without ? and #, of at most 1024 characters"));
        }
        if entered.contains('@') {
            return Err(BadBaseUrl("expected a Base URL without a user or password in it"));
        }
        let uri: Uri = entered.parse().map_err(|_| wrong.clone())?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(wrong)?;
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(BaseUrl {
            text: entered.trim_end_matches('/').to_owned(),
            host,
            port,
            https,
            trailing_slash: entered.ends_with('/'),
        })
    }

    /// The URL without slashes at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Name or address of the server, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where none is named.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is spoken to by TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The URL of a path below it, as Okta joins the two: a slash at the end of the field is doubled.
    pub fn join(&self, path: &str) -> String {
        let slash = if self.trailing_slash { "/" } else { "" };
        format!("{}{slash}{path}", self.text)
    }

    /// What Okta, or its administrator, would have to say of the URL's form alone.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.text.contains('_') {
            findings.push(Finding::failure(
                "there is an underscore in the Base URL",
                Some("the Base URL field refuses it".to_owned()),
                "Okta takes no underscore anywhere in a Base URL",
                "rename the host or the tenant; a dash does as well",
            ));
        }
        if !self.https {
            findings.push(Finding::warning(
                "the Base URL is http://, and the token goes over the network in the clear",
                Some("the Base URL field refuses it: Okta takes nothing but https://".to_owned()),
                "this is an address inside your network, or the server has no certificate yet",
                "try the address again under which Okta reaches the server",
            ));
        }
        if self.text.ends_with("/Users") || self.text.ends_with("/Groups") {
            findings.push(Finding::failure(
                "the Base URL ends in the name of a resource",
                None,
                "Okta adds /Users and /Groups itself",
                "end the Base URL before that part",
            ));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_read_as_okta_joins_it() {
        let url = BaseUrl::parse(" https://scim.example.com/scim/v2/acme \n").unwrap();
        assert_eq!((url.host(), url.port(), url.is_https()), ("scim.example.com", 443, true));
        assert_eq!(url.join("/Users"), "https://scim.example.com/scim/v2/acme/Users");
        assert!(url.findings().is_empty());
        let url = BaseUrl::parse("https://[::1]:8443/scim/v2/acme/").unwrap();
        assert_eq!((url.host(), url.port()), ("::1", 8443));
        assert_eq!(url.join("/Users"), "https://[::1]:8443/scim/v2/acme//Users");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for text in [
            "",
            "scim.example.com",
            "ftp://x/y",
            "https://",
            "https:///x",
            "https://u:p@x/",
            "https://x/?a=b",
            "https://x/#y",
        ] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_form_alone_is_told_of() {
        let told = |text: &str| BaseUrl::parse(text).unwrap().findings();
        let underscore = &told("https://x.example.com/tenant_1")[0];
        assert!(underscore.is_failure() && underscore.cause.contains("no underscore"));
        let plain = &told("http://127.0.0.1:8080/scim/v2/acme")[0];
        assert!(!plain.is_failure() && plain.what.contains("http://"));
        assert!(told("https://x/scim/v2/acme/Users")[0].is_failure());
    }
}
