//! Partial answers: the parameter `fields` names the parts to keep, such as `a,b(c,d/e),f/*`.

use super::message::{FieldName, Message};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest selector, in bytes.
pub const MAX_SELECTOR_BYTES: usize = 2048;
/// The greatest depth of a selector; no message of this API is that deep.
pub const MAX_SELECTOR_DEPTH: usize = 16;

/// The parts of an answer to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Level);

/// The names of one level, each with the part of it to keep.
pub type Level = BTreeMap<String, Kept>;

/// The part of a field to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The whole field.
    All,
    /// The parts that this level names.
    Some(Level),
}

/// The reason why a text is not a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// Longer than [`MAX_SELECTOR_BYTES`].
    #[error("Expected at most {MAX_SELECTOR_BYTES} bytes.")]
    TooLong,
    /// Deeper than [`MAX_SELECTOR_DEPTH`].
    #[error("Expected a selector of at most {MAX_SELECTOR_DEPTH} levels.")]
    TooDeep,
    /// Malformed, from this byte on.
    #[error("Expected names apart by commas, such as a,b(c,d/e),f/*; it is wrong from character {0} on.")]
    Format(usize),
}

impl Selector {
    /// Reads the parameter.
    ///
    /// # Errors
    /// [`InvalidSelector`] with the problem.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(InvalidSelector::TooLong);
        }
        let mut parser = Parser { text, at: 0 };
        let level = parser.list(1)?;
        if parser.at < text.len() { Err(parser.format_error()) } else { Ok(Self(level)) }
    }

    /// Checks the selector against the message that it will be applied to, before anything is done: a name
    /// that is not a field of it is a mistake, and not an empty answer.
    ///
    /// # Errors
    /// The path of the first such name.
    pub fn check<T: Message>(&self) -> Result<(), String> {
        check(&self.0, T::FIELDS)
    }

    /// Removes everything from `value` that was not asked for. Lists are filtered item by item.
    pub fn apply(&self, value: &mut Value) {
        keep(value, &[&self.0]);
    }

    /// Returns the parts to keep below this path; `None` if nothing of it was asked for.
    #[must_use]
    pub fn subselection(&self, path: &[&str]) -> Option<Subselection> {
        let mut levels = vec![&self.0];
        for name in path {
            let named = levels.iter().flat_map(|level| [level.get(*name), level.get("*")]).flatten();
            let mut next = Vec::new();
            for kept in named {
                match kept {
                    Kept::All => return Some(Subselection::All),
                    Kept::Some(level) => next.push(level),
                }
            }
            levels = next;
        }
        if levels.is_empty() { None } else { Some(Subselection::Some(levels.into_iter().cloned().collect())) }
    }
}

/// The parts to keep of the items of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subselection {
    /// Whole items.
    All,
    /// The parts that any of these levels names.
    Some(Vec<Level>),
}

impl Subselection {
    /// Removes everything from an item that was not asked for.
    pub fn apply(&self, item: &mut Value) {
        if let Self::Some(levels) = self {
            keep(item, &levels.iter().collect::<Vec<_>>());
        }
    }
}

fn check(level: &Level, fields: &[FieldName]) -> Result<(), String> {
    for (name, kept) in level {
        let named: Vec<_> = fields.iter().filter(|field| name == "*" || field.json == name).collect();
        if named.is_empty() {
            return Err(name.clone());
        }
        // Below `*` each field has its own names; below a map or a text there are none to check.
        if let (Kept::Some(below), [field]) = (kept, named.as_slice())
            && let Some(fields) = (field.nested)()
        {
            check(below, fields).map_err(|path| format!("{name}.{path}"))?;
        }
    }
    Ok(())
}

fn keep(value: &mut Value, levels: &[&Level]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| keep(item, levels)),
        Value::Object(fields) => fields.retain(|name, value| {
            let named = levels.iter().flat_map(|level| [level.get(name), level.get("*")]).flatten();
            let mut below = Vec::new();
            for kept in named {
                match kept {
                    Kept::All => return true,
                    Kept::Some(level) => below.push(level),
                }
            }
            // A single value has nothing below it, so nothing of it was asked for.
            let has_below = match &*value {
                Value::Object(_) => true,
                Value::Array(items) => items.iter().all(|item| item.is_object() || item.is_array()),
                _ => false,
            };
            if below.is_empty() || !has_below {
                return false;
            }
            keep(value, &below);
            true
        }),
        _ => {}
    }
}

/// `list = path *("," path)`; `path = name *("/" name) ["(" list ")"]`; `/` may be written `.`.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn list(&mut self, depth: usize) -> Result<Level, InvalidSelector> {
        let mut level = Level::new();
        loop {
            let (name, kept) = self.path(depth)?;
            match level.get_mut(&name) {
                Some(known) => merge(known, kept),
                None => {
                    level.insert(name, kept);
                }
            }
            if !self.take_byte(b',') {
                return Ok(level);
            }
        }
    }

    fn path(&mut self, depth: usize) -> Result<(String, Kept), InvalidSelector> {
        if depth > MAX_SELECTOR_DEPTH {
            return Err(InvalidSelector::TooDeep);
        }
        let name = self.name()?;
        if self.take_byte(b'/') || self.take_byte(b'.') {
            let (below, kept) = self.path(depth + 1)?;
            return Ok((name, Kept::Some(Level::from([(below, kept)]))));
        }
        if self.take_byte(b'(') {
            let level = self.list(depth + 1)?;
            return if self.take_byte(b')') {
                Ok((name, Kept::Some(level)))
            } else {
                Err(self.format_error())
            };
        }
        Ok((name, Kept::All))
    }

    fn name(&mut self) -> Result<String, InvalidSelector> {
        if self.take_byte(b'*') {
            return Ok("*".to_owned());
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|char: char| !(char.is_ascii_alphanumeric() || "@_-".contains(char)));
        match rest.get(..end.unwrap_or(rest.len())) {
            Some(name) if !name.is_empty() => {
                self.at += name.len();
                Ok(name.to_owned())
            }
            _ => Err(self.format_error()),
        }
    }

    fn take_byte(&mut self, byte: u8) -> bool {
        let takes = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(takes);
        takes
    }

    const fn format_error(&self) -> InvalidSelector {
        InvalidSelector::Format(self.at + 1)
    }
}

/// Merges both: the whole field, if either keeps it whole.
fn merge(known: &mut Kept, more: Kept) {
    match (known, more) {
        (Kept::Some(known), Kept::Some(more)) => {
            for (name, kept) in more {
                match known.get_mut(&name) {
                    Some(known) => merge(known, kept),
                    None => {
                        known.insert(name, kept);
                    }
                }
            }
        }
        (known, _) => *known = Kept::All,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::message;
    use super::*;
    use serde_json::json;

    fn select(selector: &str) -> Value {
        let mut value = json!({
            "a": 1,
            "b": {"c": 2, "d": {"e": 3, "x": 4}, "x": 5},
            "f": {"g": {"h": 6, "x": 7}, "i": 8},
            "l": [{"c": 1, "x": 2}, {"x": 3}, {"c": 4}],
            "s": ["t"],
            "@type": "u",
        });
        Selector::parse(selector).unwrap().apply(&mut value);
        value
    }

    #[test]
    fn what_was_asked_for_is_kept() {
        for (selector, expected) in [
            ("a", json!({"a": 1})),
            (
                "a,b(c,d/e),f/*",
                json!({"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": {"g": {"h": 6, "x": 7}, "i": 8}}),
            ),
            ("b/d/e,b/c", json!({"b": {"c": 2, "d": {"e": 3}}})),
            ("b.d.e", json!({"b": {"d": {"e": 3}}})),
            ("b,b/c", json!({"b": {"c": 2, "d": {"e": 3, "x": 4}, "x": 5}})),
            ("b/c,b", json!({"b": {"c": 2, "d": {"e": 3, "x": 4}, "x": 5}})),
            ("*/x", json!({"b": {"x": 5}, "f": {}, "l": [{"x": 2}, {"x": 3}, {}]})),
            ("*/x,b/c", json!({"b": {"c": 2, "x": 5}, "f": {}, "l": [{"x": 2}, {"x": 3}, {}]})),
            ("l/c", json!({"l": [{"c": 1}, {}, {"c": 4}]})),
            ("l(c,x)", json!({"l": [{"c": 1, "x": 2}, {"x": 3}, {"c": 4}]})),
            ("f/g(h)", json!({"f": {"g": {"h": 6}}})),
            ("a/b,s/t", json!({})),
            ("@type,s", json!({"@type": "u", "s": ["t"]})),
            ("unknown", json!({})),
            ("a,a,a", json!({"a": 1})),
        ] {
            assert_eq!(select(selector), expected, "{selector}");
        }
        assert_eq!(select("*"), select("*,a"));
    }

    #[test]
    fn a_name_that_the_answer_cannot_have_is_a_mistake() {
        message! {
            /// Inside.
            struct Inner {
                /// A map.
                entries: BTreeMap<String, String> = "entries";
            }
        }
        message! {
            /// For this test.
            struct Outer {
                /// A list.
                inner_items: Vec<Inner> = "innerItems";
                /// A text.
                name: String = "name";
            }
        }
        for (selector, expected) in [
            ("name,innerItems(entries/any)", Ok(())),
            ("*", Ok(())),
            ("*/entries", Ok(())),
            ("innerItems/*", Ok(())),
            ("nme", Err("nme")),
            ("inner_items", Err("inner_items")),
            ("name,innerItems/name", Err("innerItems.name")),
        ] {
            let found = Selector::parse(selector).unwrap().check::<Outer>();
            assert_eq!(found, expected.map_err(str::to_owned), "{selector}");
        }
    }

    #[test]
    fn other_selectors_are_refused() {
        use InvalidSelector::{Format, TooDeep, TooLong};
        let long = "a,".repeat(MAX_SELECTOR_BYTES);
        let (deep, nested) = (vec!["a"; 17].join("/"), "a(".repeat(1000));
        for (selector, error) in [
            ("", Format(1)),
            (",a", Format(1)),
            ("a,", Format(3)),
            ("a,,b", Format(3)),
            ("a(", Format(3)),
            ("a()", Format(3)),
            ("a(b", Format(4)),
            ("a)b", Format(2)),
            ("a(b))", Format(5)),
            ("a(b)c", Format(5)),
            ("a//b", Format(3)),
            ("a/", Format(3)),
            ("a b", Format(2)),
            (" a", Format(1)),
            ("a**", Format(2)),
            ("\u{e9}", Format(1)),
            ("a\0", Format(2)),
            (&long, TooLong),
            (&deep, TooDeep),
            (&nested, TooDeep),
        ] {
            assert_eq!(Selector::parse(selector), Err(error), "{selector}");
        }
        assert!(Selector::parse(&vec!["a"; 16].join("/")).is_ok());
    }
}
