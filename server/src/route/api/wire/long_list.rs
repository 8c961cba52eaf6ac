//! Writes an answer with one long list while its items are read: the same bytes as if it were written
//! whole, in the requested parts and form.

use super::{partial::Subselection, query::Standard, status::Status};
use serde::Serialize;
use serde_json::Value;

/// The placeholder for the items in the text of the whole; no text of this API equals it.
const ITEMS: &str = "\u{e000}items\u{e000}";
/// The indentation of a level.
const INDENT: &str = "  ";

/// A list inside of an answer, with the parts of it that were requested.
#[derive(Debug, Clone)]
pub struct LongList {
    path: &'static [&'static str],
    subselection: Subselection,
    standard: Standard,
    is_first: bool,
}

impl LongList {
    /// Finds the list at this path of an answer; `None` if it was not requested.
    #[must_use]
    pub fn find(path: &'static [&'static str], standard: &Standard) -> Option<Self> {
        let subselection = match &standard.fields {
            None => Subselection::All,
            Some(selector) => selector.subselection(path)?,
        };
        Some(Self { path, subselection, standard: standard.clone(), is_first: true })
    }

    /// Returns the text before the items; `rest` is the answer without its list.
    ///
    /// # Errors
    /// [`Code::Internal`](super::status::Code::Internal) if the answer has no place for the list.
    pub fn text_before(&self, rest: Value) -> Result<Vec<u8>, Status> {
        Ok(self.split_around_items(rest)?.0.into())
    }

    /// Returns the text behind the items.
    ///
    /// # Errors
    /// As [`Self::text_before`].
    pub fn text_after(&self, rest: Value) -> Result<Vec<u8>, Status> {
        Ok(self.split_around_items(rest)?.1.into())
    }

    /// Adds the text of one item.
    ///
    /// # Errors
    /// [`Code::Internal`](super::status::Code::Internal) if it has no JSON form.
    pub fn write(&mut self, item: &impl Serialize, to: &mut Vec<u8>) -> Result<(), Status> {
        if !std::mem::replace(&mut self.is_first, false) {
            to.push(b',');
        }
        let text = match &self.subselection {
            Subselection::All => self.text(item)?,
            subselection @ Subselection::Some(_) => {
                let mut item = serde_json::to_value(item).map_err(|_| Status::internal())?;
                subselection.apply(&mut item);
                self.text(&item)?
            }
        };
        if self.standard.pretty {
            let margin = INDENT.repeat(self.path.len() + 1);
            for line in text.lines() {
                to.push(b'\n');
                to.extend_from_slice(margin.as_bytes());
                to.extend_from_slice(line.as_bytes());
            }
        } else {
            to.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    fn text(&self, value: &impl Serialize) -> Result<String, Status> {
        let text = if self.standard.pretty {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        text.map_err(|_| Status::internal())
    }

    fn split_around_items(&self, mut rest: Value) -> Result<(String, String), Status> {
        if let Some(selector) = &self.standard.fields {
            selector.apply(&mut rest);
        }
        let (list, outer) = self.path.split_last().ok_or_else(Status::internal)?;
        let mut place = &mut rest;
        for name in outer {
            let fields = place.as_object_mut().ok_or_else(Status::internal)?;
            place = fields.entry(*name).or_insert_with(|| Value::Object(serde_json::Map::new()));
        }
        let fields = place.as_object_mut().ok_or_else(Status::internal)?;
        fields.insert((*list).to_owned(), Value::String(ITEMS.to_owned()));
        let text = self.text(&rest)?;
        let (before, after) = text.split_once(&format!("\"{ITEMS}\"")).ok_or_else(Status::internal)?;
        let (margin, end) = if self.standard.pretty {
            (format!("\n{}", INDENT.repeat(self.path.len())), "\n")
        } else {
            (String::new(), "")
        };
        Ok((format!("{before}["), format!("{margin}]{after}{end}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{answer::respond, query::Query};
    use super::*;
    use serde_json::json;

    const PATH: &[&str] = &["response", "list"];

    fn write_in_parts(rest: &Value, items: &[Value], standard: &Standard) -> Option<Vec<u8>> {
        let mut list = LongList::find(PATH, standard)?;
        let mut text = list.text_before(rest.clone()).unwrap();
        for item in items {
            list.write(item, &mut text).unwrap();
        }
        text.extend(list.text_after(rest.clone()).unwrap());
        Some(text)
    }

    #[test]
    fn parts_are_the_bytes_of_the_whole() {
        let items = [
            json!({"a": 1, "b": {"c": "line\nbreak", "d": []}}),
            json!({"a": 2}),
            json!({"b": {"c": "\u{e000}items\u{e000}"}}),
        ];
        let rest = json!({"name": "n", "response": {"count": 3, "@type": "t"}, "z": true});
        for query in [
            "prettyPrint=false",
            "prettyPrint=true",
            "fields=response",
            "fields=response/list/a",
            "fields=name,response(list(b/c),count)&prettyPrint=false",
            "fields=*/list,*/list/a",
            "fields=response/list/*",
        ] {
            let standard = Query::parse(Some(query)).unwrap().standard;
            let mut whole = rest.clone();
            whole["response"]["list"] = json!(items);
            let whole = String::from_utf8(respond(&whole, &standard).unwrap()).unwrap();
            let parts = String::from_utf8(write_in_parts(&rest, &items, &standard).unwrap()).unwrap();
            assert_eq!(parts, whole, "{query}");
        }
    }

    #[test]
    fn a_list_that_nobody_asked_for_is_not_written() {
        for query in ["fields=name", "fields=response/count", "fields=z,response/@type"] {
            let standard = Query::parse(Some(query)).unwrap().standard;
            assert!(LongList::find(PATH, &standard).is_none(), "{query}");
        }
    }
}
