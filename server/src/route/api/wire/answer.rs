//! Writes answers: the requested parts, in the requested form.

use super::{
    query::Standard,
    status::{Code, Status},
};
use serde::Serialize;

/// The media type of every answer but that of a batch.
pub const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// Writes the body of a successful answer.
///
/// # Errors
/// [`Code::Internal`] if the value has no JSON form, which none of this API's messages lacks.
pub fn respond(value: &impl Serialize, standard: &Standard) -> Result<Vec<u8>, Status> {
    let Some(selector) = &standard.fields else {
        return to_json(value, standard.pretty);
    };
    let mut value = serde_json::to_value(value).map_err(|_| Status::internal())?;
    selector.apply(&mut value);
    to_json(&value, standard.pretty)
}

/// Writes the body of a refusal; `fields` never cuts it.
#[must_use]
pub fn refuse(status: &Status, standard: &Standard) -> Vec<u8> {
    let document = status.document(standard.format);
    to_json(&document, standard.pretty).unwrap_or_else(|_| Code::Internal.name().into())
}

fn to_json(value: &impl Serialize, pretty: bool) -> Result<Vec<u8>, Status> {
    let json = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    let mut json = json.map_err(|_| Status::internal())?;
    if pretty {
        json.push(b'\n');
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::super::query::Query;
    use super::*;
    use serde_json::json;

    fn standard(query: &str) -> Standard {
        Query::parse(Some(query)).unwrap().standard
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_answer_is_pretty_unless_asked_otherwise() {
        let value = json!({"name": "a", "items": [{"id": "1", "x": 2}]});
        assert_eq!(
            text(respond(&value, &standard("fields=items/id")).unwrap()),
            "{\n  \"items\": [\n    {\n      \"id\": \"1\"\n    }\n  ]\n}\n"
        );
        let plain = respond(&value, &standard("prettyPrint=false")).unwrap();
        assert_eq!(text(plain), value.to_string());
    }

    #[test]
    fn an_error_is_never_cut() {
        let status = Status::invalid_field("a", "b");
        let body = text(refuse(&status, &standard("fields=nothing&prettyPrint=false")));
        assert!(
            body.starts_with(
                r#"{"error":{"code":400,"message":"a: b","status":"INVALID_ARGUMENT","details":["#
            ),
            "{body}"
        );
    }
}
