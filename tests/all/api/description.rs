//! Checks parts of `/openapi.json`. `make api-test` validates it as an `OpenAPI` 3.1 document.

use serde_json::Value;

use crate::support::api::Server;

#[tokio::test]
async fn every_operation_documents_its_token_and_responses() {
    let description = Server::start().await.get("/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let scheme = &description["components"]["securitySchemes"]["token"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&"http".into(), &"bearer".into()));
    let mut ids = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(operation["security"][0]["token"].is_array(), "{what}: security");
            ids.push(operation["operationId"].as_str().unwrap());
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{what}");
            for (status, response) in responses {
                let text = response["description"].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{what}: {status} has no description");
            }
        }
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an operationId is used twice");
    assert_no_dangling_reference(&description, &description);
}

#[tokio::test]
async fn every_error_is_a_problem_and_patch_fields_are_optional() {
    let description = Server::start().await.get("/openapi.json").await.json();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("default"), "{method} {path}");
            for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with(['2', '3'])) {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path}: {status}");
            }
        }
    }
    let schemas = &description["components"]["schemas"];
    let required = serde_json::json!(["firstName", "birthDate", "timeZone"]);
    assert_eq!(schemas["UserInput"]["required"], required);
    assert_eq!(schemas["UserPatch"]["required"], Value::Null);
    assert_eq!(schemas["UserPatch"]["properties"], schemas["UserInput"]["properties"]);
}

fn assert_no_dangling_reference(part: &Value, whole: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(whole.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            fields.values().for_each(|field| assert_no_dangling_reference(field, whole));
        }
        Value::Array(items) => items.iter().for_each(|item| assert_no_dangling_reference(item, whole)),
        _ => {}
    }
}
