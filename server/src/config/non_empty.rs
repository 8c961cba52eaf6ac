//! Texts and lists that are there and empty: each is refused by its name, because none of them means anything.
//! An empty path would be the server's own directory.

use super::{ConfigError, Fragment, value::value_error};
use rustls::pki_types::ServerName;
use std::path::Path;
use unbox_common::secret::Secret;

/// Returns the names of the server, all of which its certificate can carry.
pub(super) fn parse_names(given: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let names = given.unwrap_or_default();
    if names.is_empty() || names.iter().any(|name| ServerName::try_from(name.as_str()).is_err()) {
        let expected = "at least one DNS name or address by which devices reach this server, such as \
            [\"enroll.example.com\"]";
        return Err(value_error("names", expected));
    }
    Ok(names)
}

/// Checks that no path and no text is empty.
pub(super) fn check_not_empty(given: &Fragment) -> Result<(), ConfigError> {
    let Fragment { database, artifacts, models, tls, acme, tpm, log, .. } = given;
    let paths = [
        ("artifacts", artifacts, "a directory such as \"artifacts\""),
        ("models", models, "a file such as \"chromeos-models.csv\""),
        ("tls.certificate", &tls.certificate, "a file such as \"/etc/ssl/enroll.pem\""),
        ("tls.key", &tls.key, "a file such as \"/etc/ssl/private/enroll.pem\""),
        ("acme.root", &acme.root, "a file such as \"/etc/ssl/acme-root.pem\""),
        ("tpm.roots", &tpm.roots, "a file or folder such as \"/etc/ssl/tpm-roots\""),
    ];
    let paths = paths.map(|(field, path, example)| (field, path.as_deref().and_then(Path::to_str), example));
    let texts = [
        ("database", database.as_ref().map(Secret::expose), "a URL such as \"postgres://unbox@db/unbox\""),
        ("acme.contact", acme.contact.as_deref(), "an address such as \"mailto:acme@example.com\""),
        ("log.filter", log.filter.as_deref(), "a filter such as \"info\" or \"warn,request=info\""),
    ];
    match paths.into_iter().chain(texts).find(|(_, text, _)| text.is_some_and(|text| text.trim().is_empty()))
    {
        Some((field, _, example)) => {
            Err(value_error(field, format!("{example}, or no such line for the default")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn an_empty_list_or_text_is_refused_with_its_name_and_an_example() {
        for (text, field, example) in [
            ("", "names", "[\"enroll.example.com\"]"),
            ("names = []", "names", "[\"enroll.example.com\"]"),
            ("names = [\"\"]", "names", "[\"enroll.example.com\"]"),
            ("names = [\"a b\"]", "names", "[\"enroll.example.com\"]"),
            ("listen = []", "listen", "[::]:443"),
            ("url = \"\"", "url", "https://enroll.example.com:8443"),
            ("trusted_proxies = [\"\"]", "trusted_proxies", "192.0.2.7"),
            ("database = \" \"", "database", "postgres://"),
            ("artifacts = \"\"", "artifacts", "\"artifacts\""),
            ("models = \"\"", "models", "chromeos-models.csv"),
            ("[tls]\ncertificate = \"\"\nkey = \"x\"", "tls.certificate", "enroll.pem"),
            ("[tls]\ncertificate = \"x\"\nkey = \"\"", "tls.key", "enroll.pem"),
            ("[acme]\ncontact = \"\"", "acme.contact", "mailto:"),
            ("[acme]\nroot = \"\"", "acme.root", "acme-root.pem"),
            ("[tpm]\nroots = \"\"", "tpm.roots", "/etc/ssl/tpm-roots"),
            ("[log]\nfilter = \"\"", "log.filter", "\"info\""),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(
                matches!(refused, ConfigError::Value { field: found, .. } if found == field),
                "{text}: {refused}"
            );
            assert!(refused.to_string().contains(example), "{text}: {refused}");
        }
        for text in ["listen_plain = []", "listen_api = []", "listen_metrics = []", "trusted_proxies = []"] {
            assert!(parse(&format!("names = [\"192.0.2.7\", \"2001:db8::7\"]\n{text}")).is_ok(), "{text}");
        }
    }
}
