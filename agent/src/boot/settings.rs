//! Settings in three steps: fragments (all optional) become inputs (merged, with their origin)
//! become settings (domain types).

use super::token::parse_token;
use crate::tpm::TpmUse;
use serde::Deserialize;
use std::{fmt, path::PathBuf};
use unbox_common::{protocol::limits::MAX_TOKEN_BYTES, secret::Secret};
use url::Url;

/// The settings from one source; each may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// The server's address.
    pub server: Option<String>,
    /// The pre-provisioning token itself; never in a configuration file.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// A file that holds the pre-provisioning token.
    pub token_file: Option<PathBuf>,
    /// A folder for mounted removable media, for targets without our units.
    pub token_folder: Option<PathBuf>,
    /// The URL of an HTTP proxy.
    pub proxy: Option<String>,
    /// The use of the TPM.
    pub tpm: Option<TpmUse>,
}

/// The settings that a configuration file may hold.
const SETTINGS: [&str; 5] = ["server", "token_file", "token_folder", "proxy", "tpm"];

/// The form of a configuration file.
const ONE_A_LINE: &str = "one setting on each line, each once, in the form name = \"value\"";

/// The reason why a configuration file is invalid. Nothing of its text is quoted but the name of a setting: a
/// token or a password may stand in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: expected {expected}", setting.map(|name| format!(", `{name}`")).unwrap_or_default())]
pub struct InvalidFragment {
    line: usize,
    setting: Option<&'static str>,
    expected: String,
}

impl Fragment {
    /// Parses a configuration file.
    ///
    /// # Errors
    /// [`InvalidFragment`], naming the line.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidFragment> {
        toml::from_slice(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
            let line = before.split(|byte| *byte == b'\n').count();
            let text = text.split(|byte| *byte == b'\n').nth(line - 1).unwrap_or_default();
            let name = text.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
            // About a value, which it quotes, the parser ends with the form that it expected.
            let is_about_a_value =
                ["unknown ", "invalid type"].iter().any(|it| error.message().starts_with(it));
            let expected = error.message().rsplit_once("expected ").filter(|_| is_about_a_value);
            InvalidFragment {
                line,
                setting: SETTINGS.into_iter().find(|setting| setting.as_bytes() == name),
                expected: expected.map_or(ONE_A_LINE, |(_, expected)| expected).to_owned(),
            }
        })
    }
}

/// The source of a value, named as on the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// systemd credentials: SMBIOS strings, `fw_cfg`, or whatever the unit loads.
    Credential,
    /// The kernel command line.
    KernelCommandLine,
    /// A configuration file.
    File(PathBuf),
    /// A removable medium, by its name.
    Medium(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential => f.write_str("the firmware's credential"),
            Self::KernelCommandLine => f.write_str("the kernel command line"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Medium(name) => write!(f, "the removable medium {name}"),
        }
    }
}

/// All fragments merged: for each value, the first source that has it wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    server: Option<(String, Origin)>,
    token: Option<Token>,
    token_file: Option<(PathBuf, Origin)>,
    token_folder: Option<PathBuf>,
    proxy: Option<(String, Origin)>,
}

impl Inputs {
    /// Merges fragments, the strongest source first.
    #[must_use]
    pub fn merge(fragments: impl IntoIterator<Item = (Fragment, Origin)>) -> Self {
        let mut merged = Self::default();
        for (fragment, origin) in fragments {
            let named = |text: Option<String>| text.map(|text| (text, origin.clone()));
            merged.server = merged.server.or_else(|| named(fragment.server));
            merged.proxy = merged.proxy.or_else(|| named(fragment.proxy));
            merged.token_folder = merged.token_folder.or(fragment.token_folder);
            // A token and a token file are two ways to give the same setting, so the stronger source's
            // wins.
            if merged.token.is_none() && merged.token_file.is_none() {
                merged.token_file = fragment.token_file.map(|path| (path, origin.clone()));
                merged.token = fragment.token.map(|secret| Token { secret, origin });
            }
        }
        merged
    }

    /// Returns the file to read the token from and the source that names it, if no source gave the token
    /// itself.
    #[must_use]
    pub fn token_file(&self) -> Option<&(PathBuf, Origin)> {
        match self.token {
            Some(_) => None,
            None => self.token_file.as_ref(),
        }
    }

    /// Returns the folder for mounted removable media.
    #[must_use]
    pub fn token_folder(&self) -> Option<&PathBuf> {
        self.token_folder.as_ref()
    }
}

/// The validated settings that the agent runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The server, if any source names one.
    pub server: Option<Server>,
    /// The pre-provisioning token of the strongest source that has one.
    pub token: Option<Token>,
    /// A second token, from a removable medium, used if the first is refused.
    pub spare_token: Option<Token>,
    /// The proxy to reach the server through.
    pub proxy: Option<Url>,
}

/// A pre-provisioning token and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// The source of the token.
    pub origin: Origin,
}

/// The server's address: `https`, a host, perhaps a port, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    url: Url,
    /// The source of the address.
    pub origin: Origin,
}

/// The reason why a value is invalid. The value is not quoted: it may hold a token or a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// The server's address is invalid.
    #[error("`server` in {origin} cannot be used: expected a form like https://enroll.example.com")]
    Server {
        /// The source of the value.
        origin: Origin,
    },
    /// The proxy's address is invalid.
    #[error("`proxy` in {origin} cannot be used: expected a form like http://proxy.example.com:3128")]
    Proxy {
        /// The source of the value.
        origin: Origin,
    },
    /// The token is not well-formed.
    #[error(
        "the pre-provisioning token cannot be used: expected one line of 1 to {MAX_TOKEN_BYTES} printable characters"
    )]
    Token,
}

impl Settings {
    /// Turns inputs into domain types. `token_file` is the content of the named file, if it was read;
    /// `medium` is a removable medium's token, which comes last: built-in settings were chosen by the
    /// device's owner, a stick by anyone who stands in front of it.
    ///
    /// # Errors
    /// [`InvalidSettings`], naming the setting and its source.
    pub fn parse(
        inputs: Inputs,
        token_file: Option<Token>,
        medium: Option<Token>,
    ) -> Result<Self, InvalidSettings> {
        let Inputs { server, token, proxy, .. } = inputs;
        let built_in = token.or(token_file).map(Token::parse).transpose()?;
        let (token, spare_token) = match built_in {
            Some(token) => {
                let spare = medium.filter(|medium| medium.secret != token.secret);
                (Some(token), spare)
            }
            None => (medium, None),
        };
        Ok(Self {
            server: server.map(|(value, origin)| Server::parse(&value, origin)).transpose()?,
            token,
            spare_token,
            proxy: proxy
                .map(|(value, origin)| parse_proxy(&value).ok_or(InvalidSettings::Proxy { origin }))
                .transpose()?,
        })
    }
}

impl Token {
    fn parse(self) -> Result<Self, InvalidSettings> {
        let secret = parse_token(&self.secret).ok_or(InvalidSettings::Token)?;
        Ok(Self { secret, ..self })
    }
}

impl Server {
    /// Reads a server's address.
    ///
    /// # Errors
    /// [`InvalidSettings::Server`] for anything that is not `https://host[:port]`.
    pub fn parse(value: &str, origin: Origin) -> Result<Self, InvalidSettings> {
        let plain = |url: &Url| {
            url.scheme() == "https"
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
        };
        match Url::parse(value.trim()) {
            Ok(url) if plain(&url) => Ok(Self { url, origin }),
            _ => Err(InvalidSettings::Server { origin }),
        }
    }

    /// Returns the URL of one of the server's paths, such as `/device/v1/hello`.
    #[must_use]
    pub fn endpoint(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

fn parse_proxy(value: &str) -> Option<Url> {
    let url = Url::parse(value.trim()).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Origin {
        Origin::File(name.into())
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn token(text: &str, origin: Origin) -> Token {
        Token { secret: secret(text), origin }
    }

    #[test]
    fn the_strongest_source_wins_value_by_value() {
        let credential = Fragment { server: Some("https://first.example".to_owned()), ..Fragment::default() };
        let local = Fragment {
            server: Some("https://second.example".to_owned()),
            token_file: Some("/etc/unbox/token".into()),
            ..Fragment::default()
        };
        let image = Fragment {
            token: Some(secret("weaker")),
            proxy: Some("http://proxy:3128".to_owned()),
            ..Fragment::default()
        };
        let inputs = Inputs::merge([
            (credential, Origin::Credential),
            (local, file("/etc/unbox/agent.toml")),
            (image, file("/usr/lib/unbox/agent.toml")),
        ]);
        assert_eq!(inputs.token_file(), Some(&("/etc/unbox/token".into(), file("/etc/unbox/agent.toml"))));
        let settings =
            Settings::parse(inputs, Some(token("stronger\n", file("/etc/unbox/token"))), None).unwrap();
        let server = settings.server.unwrap();
        assert_eq!(server.to_string(), "https://first.example");
        assert_eq!(server.origin, Origin::Credential);
        assert_eq!(server.endpoint("/device/v1/hello").as_str(), "https://first.example/device/v1/hello");
        assert_eq!(settings.token, Some(token("stronger", file("/etc/unbox/token"))));
        assert_eq!(settings.proxy.unwrap().as_str(), "http://proxy:3128/");
    }

    #[test]
    fn a_mediums_token_comes_after_every_other() {
        let said = |text: &str, origin| {
            let fragment = Fragment { token: Some(secret(text)), ..Fragment::default() };
            Inputs::merge([(fragment, origin)])
        };
        let stick = || token("stick", Origin::Medium("sdb1".to_owned()));
        for origin in [Origin::Credential, Origin::KernelCommandLine] {
            let settings = Settings::parse(said("built-in", origin.clone()), None, Some(stick())).unwrap();
            assert_eq!(
                (settings.token, settings.spare_token),
                (Some(token("built-in", origin)), Some(stick()))
            );
        }
        let from_file = token("built-in", file("/usr/lib/unbox/token"));
        let settings = Settings::parse(Inputs::default(), Some(from_file.clone()), Some(stick())).unwrap();
        assert_eq!((settings.token, settings.spare_token), (Some(from_file), Some(stick())));
        let settings = Settings::parse(Inputs::default(), None, Some(stick())).unwrap();
        assert_eq!((settings.token, settings.spare_token), (Some(stick()), None));
        // The same token from two sources counts once.
        let settings = Settings::parse(said("stick\n", Origin::Credential), None, Some(stick())).unwrap();
        assert_eq!((settings.token, settings.spare_token), (Some(token("stick", Origin::Credential)), None));
    }

    #[test]
    fn only_an_https_origin_is_a_server() {
        for bad in [
            "",
            "enroll.example.com",
            "http://enroll.example.com",
            "https://",
            "https://user:secret@enroll.example.com",
            "https://enroll.example.com/path",
            "https://enroll.example.com/?x=1",
            "file:///etc/passwd",
        ] {
            let refused = Server::parse(bad, Origin::KernelCommandLine).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
        for good in ["https://enroll.example.com", "https://[::1]:8443", " https://192.0.2.7:9000/\n"] {
            assert!(Server::parse(good, Origin::KernelCommandLine).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_mistyped_file_is_refused_by_line_and_setting_and_nothing_in_it_is_quoted() {
        let names = "one of `server`, `token_file`, `token_folder`, `proxy`, `tpm`";
        for (text, error) in [
            ("sever = \"https://x.example\"", format!("line 1: expected {names}")),
            ("tpm = \"auto\"\ntoken = \"hunter2\"", format!("line 2: expected {names}")),
            ("hunter2 = 1", format!("line 1: expected {names}")),
            ("\n\nproxy = http://u:hunter2@proxy", format!("line 3, `proxy`: expected {ONE_A_LINE}")),
            ("proxy = [\"http://u:hunter2@proxy\"]", "line 1, `proxy`: expected a string".to_owned()),
            (
                "tpm = \"hunter2, expected x\"",
                "line 1, `tpm`: expected one of `auto`, `never`, `required`".to_owned(),
            ),
            ("token_file = \"hunter2\nx", format!("line 2: expected {ONE_A_LINE}")),
            ("hunter2==\n", format!("line 1: expected {ONE_A_LINE}")),
            ("[hunter2", format!("line 1: expected {ONE_A_LINE}")),
            ("token_file = \"\\hunter2\"", format!("line 1, `token_file`: expected {ONE_A_LINE}")),
            (
                "server = \"hunter2\"\nserver = \"hunter2\"",
                format!("line 2, `server`: expected {ONE_A_LINE}"),
            ),
        ] {
            let found = Fragment::parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(found, error, "{text:?}");
        }
        assert!(Fragment::parse(b"server = \"\xff\"").is_err());
    }
}
