//! Texts with U+0000, which PostgreSQL does not store: refused at every place that takes a text, by name.
//!
//! The places come from the description of the API, so that a new method or field is here by itself.

use super::Api;
use reqwest::Method;
use serde_json::{Value, json};
use unbox_server::route::api::{
    access::Side,
    openapi,
    routes::{ROUTES, Route},
};

const NUL: &str = "a\0b";

/// Returns the fields of a message that take a text, each with a message that has U+0000 in this field alone.
fn texts(document: &Value, schema: &Value) -> Vec<(String, Value)> {
    if let Some(name) = schema["$ref"].as_str() {
        let (_, name) = name.rsplit_once('/').unwrap();
        return texts(document, &document["components"]["schemas"][name]);
    }
    if schema["type"] == "array" {
        let items = texts(document, &schema["items"]).into_iter();
        return items.map(|(path, value)| (below("[0]", &path), json!([value]))).collect();
    }
    if schema["type"] == "string" {
        return vec![(String::new(), json!(NUL))];
    }
    if schema["additionalProperties"]["type"] == "string" {
        return vec![(String::new(), json!({ "a": NUL })), (String::new(), json!({ NUL: "a" }))];
    }
    let mut all = Vec::new();
    for (name, of_field) in schema["properties"].as_object().into_iter().flatten() {
        if of_field["readOnly"] != true {
            let fields = texts(document, of_field).into_iter();
            all.extend(fields.map(|(path, value)| (below(name, &path), json!({ name.as_str(): value }))));
        }
    }
    all
}

fn below(outer: &str, inner: &str) -> String {
    let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    format!("{outer}{dot}{inner}")
}

/// Returns an account that may call methods of this side.
const fn caller(side: Side) -> &'static str {
    match side {
        Side::Partner | Side::Operations => "partner",
        Side::Operator => "operator",
        _ => "customer",
    }
}

/// Everything that takes a text, and what became of a text with U+0000 in each.
struct Asked<'a> {
    api: &'a Api,
    wrong: Vec<String>,
    times: usize,
}

impl Asked<'_> {
    /// Expects a refusal that names the field; of a segment of the path, there may also be no such thing.
    async fn of(&mut self, route: &Route, path: &str, body: Value, field: Option<&str>) {
        let who = caller(route.access.side);
        let (status, answer) = self.api.call(who, route.method.clone(), path, body).await;
        let named = answer["error"]["details"][0]["fieldViolations"][0]["field"].as_str();
        let refused = status == 400 && answer["error"]["status"] == "INVALID_ARGUMENT" && named == field;
        if !(refused || (field.is_none() && [400, 404].contains(&status))) {
            self.wrong.push(format!("{} {path} {field:?}: {status} {answer}", route.id));
        }
        self.times += 1;
    }
}

#[tokio::test]
async fn a_text_with_a_nul_is_refused_by_every_method_with_its_field() {
    let api = Api::with("[limits]\napi_queries_per_100s = 0\n").await;
    let (document, before) = (openapi::document(), api.server.everything().await);
    let mut asked = Asked { api: &api, wrong: Vec::new(), times: 0 };
    for route in ROUTES {
        let path = api.path_of(route, api.customer);
        let described = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert!(described.is_object(), "{}", route.id);
        for segment in route.path.split('/').filter(|segment| segment.starts_with('{')) {
            let (_, verb) = segment.split_once('}').unwrap();
            let path = route.path.replace(segment, &format!("1%00{verb}"));
            asked.of(route, &path, Value::Null, None).await;
        }
        for parameter in described["parameters"].as_array().unwrap() {
            let shared = parameter["$ref"].as_str().and_then(|name| name.rsplit_once('/'));
            let shared = shared.map(|(_, name)| &document["components"]["parameters"][name]);
            let parameter = shared.unwrap_or(parameter);
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str();
                let path = format!("{path}?{}=a%00b", name.unwrap());
                asked.of(route, &path, Value::Null, name).await;
            }
        }
        let schema = &described["requestBody"]["content"]["application/json"]["schema"];
        for (field, body) in texts(&document, schema) {
            let mask = if route.method == Method::PATCH { "?updateMask=*" } else { "" };
            asked.of(route, &format!("{path}{mask}"), body, Some(&field)).await;
        }
    }
    assert!(asked.wrong.is_empty(), "{}", asked.wrong.join("\n"));
    assert!(asked.times > 500, "{}", asked.times);
    assert_eq!(api.server.everything().await, before);
}
