//! The CustomResourceDefinition. Owns: how it is made from the types of this module and the rules between their fields.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps,
    JSONSchemaPropsOrArray, ValidationRule,
};
use kube_core::CustomResourceExt as _;

use super::LLMProgramServing;
use super::rules::RULES;

/// Keeps the definition, and with it every resource, when the release that brought it is removed.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// What `kubectl get` shows: name, type, path, priority; those of priority 1 with `-o wide` only.
const COLUMNS: [(&str, &str, &str, i32); 8] = [
    ("Model", "string", ".spec.model.name", 0),
    ("Ready", "string", READY_STATUS, 0),
    ("Desired", "integer", ".status.scaling.desired", 0),
    ("Available", "integer", ".status.readyReplicas", 0),
    ("Programs", "integer", ".status.programs.live", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Reason", "string", READY_REASON, 1),
    ("URL", "string", ".status.url", 1),
];
const READY_STATUS: &str = r#".status.conditions[?(@.type=="Ready")].status"#;
const READY_REASON: &str = r#".status.conditions[?(@.type=="Ready")].reason"#;

/// The definition that makes a cluster know the resource.
///
/// # Panics
/// When a rule names a field that the types do not have; a test calls this.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = LLMProgramServing::crd();
    definition
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(KEEP.0.to_owned(), KEEP.1.to_owned());
    for version in &mut definition.spec.versions {
        version.additional_printer_columns = Some(COLUMNS.map(column).into());
        let root = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .expect("a derived definition has a schema");
        plain(root);
        for rule in &RULES {
            part(root, rule.path)
                .unwrap_or_else(|| panic!("the resource has no {}", rule.path))
                .x_kubernetes_validations
                .get_or_insert_default()
                .push(ValidationRule {
                    rule: rule.cel.to_owned(),
                    message: Some(rule.message.to_owned()),
                    ..ValidationRule::default()
                });
        }
    }
    definition
}

fn column(
    (name, type_, json_path, priority): (&str, &str, &str, i32),
) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: json_path.to_owned(),
        priority: (priority > 0).then_some(priority),
        ..CustomResourceColumnDefinition::default()
    }
}

/// Without what an API server warns about or does better alone: it drops an explicit null where none may stand, and does
/// not know Rust's widths of numbers.
fn plain(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_deref() != Some("date-time") {
        schema.format = None;
    }
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        schema.additional_properties = None;
    }
    for inner in schema
        .properties
        .iter_mut()
        .flat_map(|all| all.values_mut())
    {
        plain(inner);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        plain(item);
    }
}

fn part<'a>(root: &'a mut JSONSchemaProps, path: &str) -> Option<&'a mut JSONSchemaProps> {
    path.split('.')
        .filter(|name| !name.is_empty())
        .try_fold(root, |schema, name| {
            schema.properties.as_mut()?.get_mut(name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules anywhere in a schema. A field of the resource is called `rule`, too, so the word alone says nothing.
    fn rules(schema: &serde_json::Value) -> usize {
        match schema {
            serde_json::Value::Object(fields) => {
                let here = fields.get("x-kubernetes-validations");
                let here = here.and_then(|rules| rules.as_array()).map_or(0, Vec::len);
                here + fields.values().map(rules).sum::<usize>()
            }
            serde_json::Value::Array(items) => items.iter().map(rules).sum(),
            _ => 0,
        }
    }

    #[test]
    fn every_rule_has_its_place() {
        let definition = serde_json::to_value(definition()).expect("serialises");
        assert_eq!(rules(&definition), RULES.len());
    }
}
