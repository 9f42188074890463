//! A request's items, page by page. Owns: what an item is listed as, and which of them a page has.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Items of a page, where the client does not say.
const LIMIT: usize = 20;
/// Most items of a page.
const LIMIT_MAX: usize = 100;

/// Which page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Page {
    /// The item before it.
    after: Option<String>,
    /// How many items, at most.
    limit: Option<usize>,
    /// The last first, or the first.
    #[serde(default)]
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ItemOrder")]
enum Order {
    #[default]
    Desc,
    Asc,
}

impl Page {
    /// The page as a list.
    pub fn of(&self, items: Vec<Value>) -> Value {
        let items = items.into_iter().enumerate();
        let mut items: Vec<Value> = items.map(listed).collect();
        if self.order == Order::Desc {
            items.reverse();
        }
        let is_last = |item: &Value| item["id"].as_str() == self.after.as_deref();
        let from = items.iter().position(is_last).map_or(0, |at| at + 1);
        let limit = self.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let mut data = items.split_off(from);
        let has_more = data.len() > limit;
        data.truncate(limit);
        let id = |item: Option<&Value>| item.map_or(json!(""), |item| item["id"].clone());
        json!({
            "object": "list", "first_id": id(data.first()), "last_id": id(data.last()), "has_more": has_more,
            "data": data,
        })
    }
}

/// Clients may leave out what they expect of a list.
fn listed((place, mut item): (usize, Value)) -> Value {
    let or = |item: &mut Value, field: &str, default: Value| {
        if item[field].is_null() {
            item[field] = default;
        }
    };
    or(&mut item, "type", json!("message"));
    or(&mut item, "id", json!(format!("item_{place}")));
    or(&mut item, "status", json!("completed"));
    if let Value::String(text) = &item["content"] {
        let is_models = item["role"] == "assistant";
        let kind = if is_models {
            "output_text"
        } else {
            "input_text"
        };
        item["content"] = json!([{"type": kind, "text": text}]);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(page: &Value) -> Vec<&str> {
        let items = page["data"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["id"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn pages_follow_each_other_in_either_order() {
        let items = || {
            vec![
                json!({"role": "user", "content": "hi"}),
                json!({"id": "msg_a", "type": "message"}),
                json!({"id": "b"}),
            ]
        };
        let page = |query: Value| serde_json::from_value::<Page>(query).unwrap().of(items());
        assert_eq!(ids(&page(json!({}))), ["b", "msg_a", "item_0"]);
        let first = page(json!({"order": "asc", "limit": 2}));
        assert_eq!(
            (ids(&first), &first["has_more"]),
            (vec!["item_0", "msg_a"], &json!(true))
        );
        assert_eq!(
            (&first["first_id"], &first["last_id"]),
            (&json!("item_0"), &json!("msg_a"))
        );
        let next = page(json!({"order": "asc", "limit": 2, "after": "msg_a"}));
        assert_eq!((ids(&next), &next["has_more"]), (vec!["b"], &json!(false)));
        assert_eq!(ids(&page(json!({"after": "item_0"}))), Vec::<&str>::new());
    }

    #[test]
    fn an_item_has_what_clients_expect() {
        let page = Page::default().of(vec![json!({"role": "user", "content": "hi"})]);
        let expected = json!({
            "type": "message", "id": "item_0", "status": "completed", "role": "user",
            "content": [{"type": "input_text", "text": "hi"}],
        });
        assert_eq!(page["data"], json!([expected]));
    }
}
