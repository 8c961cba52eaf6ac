//! The parameters of a request: those of every method, and the method's own.
//!
//! A method takes its own by name from [`Own`], and closes with [`Own::finish`], which refuses any that
//! are left. Secrets among them leave here as [`Secret`]s, and no error repeats a value.

use super::{
    detail::{Detail, FieldViolation},
    form::NO_NUL,
    int64,
    message::Message,
    partial::Selector,
    status::{Code, FormatVersion, Status},
};
use percent_encoding::percent_decode_str;
use unbox_common::secret::Secret;

/// The longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;
/// The most parameters.
const MAX_PARAMETERS: usize = 100;

/// The parameters of every method of this API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standard {
    /// The form of the answer, if one was named: `alt`.
    pub alt: Option<Alt>,
    /// The parts of the answer to send: `fields`. Everything, if absent.
    pub fields: Option<Selector>,
    /// True if the answer is indented: `prettyPrint`.
    pub pretty: bool,
    /// The form of errors: `$.xgafv`.
    pub format: FormatVersion,
    /// The way in which bytes are uploaded: `uploadType`.
    pub upload_type: Option<String>,
    /// An API key: `key`.
    pub key: Option<Secret>,
    /// A bearer token: `access_token` or `oauth_token`.
    pub token: Option<Secret>,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alt {
    /// JSON; of exports, a line of it for each row.
    Json,
    /// Comma-separated values (RFC 4180); of exports only.
    Csv,
}

impl Alt {
    fn form_error() -> Status {
        Status::invalid_field("alt", "Expected json: there is no other form of answers.")
    }
}

impl Standard {
    /// Refuses every form but JSON, for most answers.
    ///
    /// # Errors
    /// If another form was asked for.
    pub fn only_json(&self) -> Result<(), Status> {
        if self.alt == Some(Alt::Csv) { Err(Alt::form_error()) } else { Ok(()) }
    }

    /// Checks `fields` against the message of the answer. A method calls it before it does anything:
    /// afterwards it would be too late to refuse.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] with a name that the answer cannot have.
    pub fn check_fields<T: Message>(&self) -> Result<(), Status> {
        let Some(selector) = &self.fields else { return Ok(()) };
        selector.check::<T>().map_err(|path| {
            let rule = format!("Cannot find matching fields for path '{path}' in {}.", T::NAME);
            Status::invalid_field("fields", rule)
        })
    }
}

impl Default for Standard {
    fn default() -> Self {
        Self {
            alt: None,
            fields: None,
            pretty: true,
            format: FormatVersion::default(),
            upload_type: None,
            key: None,
            token: None,
        }
    }
}

/// The parameters of one request.
#[derive(Debug)]
pub struct Query {
    /// The parameters of every method.
    pub standard: Standard,
    /// The method's own parameters.
    pub own: Own,
}

/// The parameters of one method.
#[derive(Debug)]
pub struct Own(Vec<Parameter>);

/// A parameter as it came, decoded. It is not printable: its value may be a secret under a wrong name.
struct Parameter {
    name: String,
    value: String,
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Query {
    /// Splits the query of a request: the text behind `?`.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for the first parameter that cannot be read.
    pub fn parse(query: Option<&str>) -> Result<Self, Status> {
        let mut own = Own(decode(query.unwrap_or_default())?);
        let standard = Standard {
            alt: own.alt()?,
            fields: own.standard("fields")?.map(|text| selector(&text)).transpose()?,
            pretty: own.standard("prettyPrint")?.map_or(Ok(true), |text| flag("prettyPrint", &text))?,
            format: own.format()?,
            upload_type: own.standard("uploadType")?,
            key: own.standard("key")?.map(Secret::new),
            token: own.token()?.map(Secret::new),
        };
        own.refuse_script()?;
        // A quota is the account's, whoever of its users asks.
        own.standard("quotaUser")?;
        own.standard("upload_protocol")?;
        Ok(Self { standard, own })
    }
}

impl Own {
    /// Makes an empty query.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Takes a text. `name` is the JSON name; the `snake_case` one is accepted as well.
    ///
    /// # Errors
    /// If the parameter is there more than once.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Status> {
        self.take(name, |found| camel_case(found) == name)
    }

    /// Takes an integer.
    ///
    /// # Errors
    /// If it is not one, or there more than once.
    pub fn integer(&mut self, name: &'static str) -> Result<Option<i64>, Status> {
        let refused = || Status::invalid_field(name, "Expected an integer in decimal digits.");
        self.text(name)?.map(|text| int64::parse(&text).ok_or_else(refused)).transpose()
    }

    /// Takes a flag.
    ///
    /// # Errors
    /// If it is neither `true` nor `false`, or there more than once.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Status> {
        self.text(name)?.map(|text| flag(name, &text)).transpose()
    }

    /// Takes every value of a parameter that may be repeated, in their order.
    #[must_use]
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |one| camel_case(&one.name) == name).map(|one| one.value).collect()
    }

    /// Refuses all parameters that are left.
    ///
    /// # Errors
    /// If there are any: they are unknown.
    pub fn finish(self) -> Result<(), Status> {
        self.allow_only(|_| false)
    }

    /// Refuses all parameters but those with a known JSON name.
    ///
    /// # Errors
    /// If there are others: they are unknown.
    pub fn allow_only(&self, known: impl Fn(&str) -> bool) -> Result<(), Status> {
        let unknown = |one: &&Parameter| !known(&camel_case(&one.name));
        let refused = |one: &Parameter| {
            let name = printable(&one.name);
            let rule = format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. \
                 Field '{name}' could not be found in request message."
            );
            FieldViolation::new("", rule)
        };
        let violations: Vec<FieldViolation> = self.0.iter().filter(unknown).map(refused).collect();
        if violations.is_empty() {
            return Ok(());
        }
        let message =
            violations.iter().take(3).map(|one| one.description.as_str()).collect::<Vec<_>>().join("\n");
        Err(Status::new(Code::InvalidArgument, message)
            .with_detail(Detail::BadRequest { field_violations: violations }))
    }

    /// Takes a parameter of every method, or its alias with `$`.
    fn standard(&mut self, name: &'static str) -> Result<Option<String>, Status> {
        self.take(name, |found| found == name || found.strip_prefix('$') == Some(name))
    }

    fn format(&mut self) -> Result<FormatVersion, Status> {
        let name = "$.xgafv";
        let refused = || Status::invalid_field(name, "Expected 1 or 2.");
        let text = self.take(name, |found| found == name)?;
        text.map_or(Ok(FormatVersion::default()), |text| FormatVersion::parse(&text).ok_or_else(refused))
    }

    fn token(&mut self) -> Result<Option<String>, Status> {
        match (self.standard("access_token")?, self.standard("oauth_token")?) {
            (Some(_), Some(_)) => Err(repeated_error("access_token")),
            (access, oauth) => Ok(access.or(oauth)),
        }
    }

    fn alt(&mut self) -> Result<Option<Alt>, Status> {
        match self.standard("alt")?.as_deref() {
            None => Ok(None),
            Some("json") => Ok(Some(Alt::Json)),
            Some("csv") => Ok(Some(Alt::Csv)),
            Some(_) => Err(Alt::form_error()),
        }
    }

    /// Refuses the parameters of JSONP: answers are never a script.
    fn refuse_script(&mut self) -> Result<(), Status> {
        if self.standard("callback")?.is_some_and(|callback| !callback.is_empty()) {
            return Err(Status::invalid_field(
                "callback",
                "Answers are JSON and are not wrapped in a script.",
            ));
        }
        Ok(())
    }

    fn take(&mut self, name: &'static str, is_it: impl Fn(&str) -> bool) -> Result<Option<String>, Status> {
        let mut found = self.0.extract_if(.., |one| is_it(&one.name));
        let first = found.next().map(|one| one.value);
        if found.next().is_some() { Err(repeated_error(name)) } else { Ok(first) }
    }
}

fn repeated_error(name: &'static str) -> Status {
    Status::invalid_field(name, "The parameter is given more than once, and takes one value.")
}

fn selector(text: &str) -> Result<Selector, Status> {
    Selector::parse(text).map_err(|error| Status::invalid_field("fields", error.to_string()))
}

fn flag(name: &'static str, text: &str) -> Result<bool, Status> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Status::invalid_field(name, "Expected true or false.")),
    }
}

fn decode(query: &str) -> Result<Vec<Parameter>, Status> {
    let refused = |rule: &str| Err(Status::new(Code::InvalidArgument, rule));
    if query.len() > MAX_QUERY_BYTES {
        return refused("The query is longer than it may be. Send less in it, or in several requests.");
    }
    let pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > MAX_PARAMETERS {
        return refused("The query has more parameters than it may have.");
    }
    let parameter = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some(Parameter { name: percent_decode(name)?, value: percent_decode(value)? })
    };
    let Some(parameters) = pairs.iter().map(parameter).collect::<Option<Vec<_>>>() else {
        return refused("The query is not percent-encoded UTF-8.");
    };
    match parameters.iter().find(|one| one.value.contains('\0')) {
        Some(one) => Err(Status::invalid_field(printable(&one.name), NO_NUL)),
        None => Ok(parameters),
    }
}

/// Decodes a form's text. `None` if a `%` is not followed by two digits, or the whole is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let well_formed = |rest: &str| {
        rest.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(well_formed) {
        return None;
    }
    let spaced = text.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned())
}

fn camel_case(name: &str) -> String {
    let mut after_underscore = false;
    let mut camel = String::with_capacity(name.len());
    for char in name.chars() {
        if char == '_' && !camel.is_empty() {
            after_underscore = true;
        } else {
            camel.push(if after_underscore { char.to_ascii_uppercase() } else { char });
            after_underscore = false;
        }
    }
    camel
}

fn printable(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Query {
        Query::parse(Some(query)).unwrap()
    }

    fn refusal_of(query: &str) -> String {
        let parsed = Query::parse(Some(query));
        let status = parsed.and_then(|query| query.standard.only_json().and(query.own.finish())).unwrap_err();
        assert_eq!(status.http(), 400);
        status.message().to_owned()
    }

    #[test]
    fn what_every_method_takes_is_taken_out() {
        let mut query = parse(
            "alt=json&prettyPrint=false&fields=a%28b%29&key=s3cret&quotaUser=a+b&$.xgafv=2&uploadType=x\
             &upload_protocol=raw&callback=&pageSize=5&page_token=t&",
        );
        let standard = &query.standard;
        assert!(!standard.pretty);
        assert_eq!(standard.format, FormatVersion::V2);
        assert_eq!(standard.key.as_ref().map(Secret::expose), Some("s3cret"));
        assert_eq!(standard.fields, Some(Selector::parse("a(b)").unwrap()));
        assert!(!format!("{query:?}").contains("s3cret"));
        assert_eq!(query.own.integer("pageSize").unwrap(), Some(5));
        assert_eq!(query.own.text("pageToken").unwrap().as_deref(), Some("t"));
        assert_eq!(query.own.text("pageToken").unwrap(), None);
        query.own.finish().unwrap();
        assert_eq!(Query::parse(None).unwrap().standard, Standard::default());
    }

    #[test]
    fn the_aliases_with_a_dollar_mean_the_same() {
        for (plain, alias) in [
            ("alt=json", "$alt=json"),
            ("fields=a", "%24fields=a"),
            ("prettyPrint=false", "$prettyPrint=false"),
            ("quotaUser=a", "$quotaUser=a"),
            ("key=a", "$key=a"),
            ("access_token=a", "oauth_token=a"),
            ("uploadType=a", "$uploadType=a"),
        ] {
            assert_eq!(parse(plain).standard, parse(alias).standard, "{alias}");
        }
    }

    #[test]
    fn a_parameter_that_may_be_repeated_keeps_its_order() {
        let mut query = parse("state=b&stateX=z&state=a");
        assert_eq!(query.own.texts("state"), ["b", "a"]);
        assert_eq!(query.own.texts("state"), Vec::<String>::new());
        assert!(query.own.finish().unwrap_err().message().contains("stateX"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_its_value() {
        let many = "a=1&".repeat(101);
        let long = format!("a={}", "x".repeat(MAX_QUERY_BYTES));
        for (query, message) in [
            (
                "foo=hunter2",
                "Invalid JSON payload received. Unknown name \"foo\": Cannot bind query parameter. \
                 Field 'foo' could not be found in request message.",
            ),
            ("page_token=hunter2%00", "page_token: Expected a text without the character U+0000."),
            ("alt=hunter2", "alt: Expected json: there is no other form of answers."),
            ("alt=csv", "alt: Expected json: there is no other form of answers."),
            ("alt=media", "alt: Expected json: there is no other form of answers."),
            ("callback=hunter2", "callback: Answers are JSON and are not wrapped in a script."),
            ("prettyPrint=hunter2", "prettyPrint: Expected true or false."),
            ("prettyPrint=", "prettyPrint: Expected true or false."),
            ("$.xgafv=3", "$.xgafv: Expected 1 or 2."),
            (
                "fields=a(",
                "fields: Expected names apart by commas, such as a,b(c,d/e),f/*; it is wrong from character 3 on.",
            ),
            ("key=hunter2&$key=hunter3", "key: The parameter is given more than once, and takes one value."),
            (
                "access_token=hunter2&oauth_token=hunter2",
                "access_token: The parameter is given more than once, and takes one value.",
            ),
            ("a=%ff", "The query is not percent-encoded UTF-8."),
            ("a=%2", "The query is not percent-encoded UTF-8."),
            ("a=%zz", "The query is not percent-encoded UTF-8."),
            ("%=1", "The query is not percent-encoded UTF-8."),
            (many.as_str(), "The query has more parameters than it may have."),
            (long.as_str(), "The query is longer than it may be. Send less in it, or in several requests."),
        ] {
            let found = refusal_of(query);
            assert_eq!(found, message);
            assert!(!found.contains("hunter"), "{found}");
        }
        assert!(refusal_of("a%0Ab=1").contains("\"ab\""));
    }

    #[test]
    fn numbers_and_flags_are_exact() {
        let mut own = parse("pageSize=1e3&a=true&b=0&c=yes&d=1&d=2").own;
        assert_eq!(
            own.integer("pageSize").unwrap_err().message(),
            "pageSize: Expected an integer in decimal digits."
        );
        assert_eq!((own.flag("a").unwrap(), own.flag("b").unwrap()), (Some(true), Some(false)));
        assert!(own.flag("c").is_err());
        assert!(own.integer("d").is_err());
    }
}
