//! `/v1/openapi.json`: the OpenAPI document, made from the table of calls.

use std::sync::LazyLock;

use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use pointsman_wire::ProblemBody;
use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Paths, RefOr,
    Required, ResponseBuilder, Schema, Type,
};

use super::calls::{Answers, ApiCall, TypeSchema, all};
use super::problem;

/// What conditions are: any revision, one of them, and several that a reader
/// has already.
const ANY: &str = r"^\*$";
const ONE_OR_ANY: &str = r#"^(\*|"[1-9][0-9]{0,17}")$"#;
const ETAGS: &str = r#"^"[1-9][0-9]{0,17}"(, *"[1-9][0-9]{0,17}")*$"#;

static TEXT: LazyLock<String> = LazyLock::new(|| format!("{}\n", document()));

pub(super) async fn get() -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (content_type, TEXT.as_str()).into_response()
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Paths::new();
    let mut parts = Vec::new();
    let problem = TypeSchema::of::<ProblemBody>();
    for call in all() {
        let operation = operation(&call, problem.schema());
        let Some(method) = http_method(&call) else {
            continue;
        };
        let item = PathItem::new(method, operation);
        match paths.paths.get_mut(call.path) {
            Some(known) => known.merge_operations(item),
            None => {
                paths.paths.insert(call.path.to_owned(), item);
            }
        }
        parts.extend(call.body.into_iter().flat_map(|shape| shape.parts));
        if let Answers::Json(shape) = call.answer {
            parts.extend(shape.parts);
        }
    }
    parts.extend(problem.parts);
    let document: OpenApi = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Pointsman's admin API")
                .version(env!("CARGO_PKG_VERSION"))
                .build(),
        )
        .paths(paths)
        .components(Some(
            ComponentsBuilder::new().schemas_from_iter(parts).build(),
        ))
        .build();
    json!(document)
}

fn http_method(call: &ApiCall) -> Option<HttpMethod> {
    match call.method.as_str() {
        "GET" => Some(HttpMethod::Get),
        "PUT" => Some(HttpMethod::Put),
        "POST" => Some(HttpMethod::Post),
        "DELETE" => Some(HttpMethod::Delete),
        _ => None,
    }
}

fn operation(call: &ApiCall, problem: RefOr<Schema>) -> OperationBuilder {
    let (content_type, shown) = match &call.answer {
        Answers::Json(shape) => ("application/json", Some(shape.schema())),
        Answers::Text("application/json") => ("application/json", None),
        Answers::Text(content_type) => (*content_type, Some(string())),
    };
    let good = ResponseBuilder::new()
        .description("Done")
        .content(content_type, Content::new(shown));
    let bad = ResponseBuilder::new()
        .description("A problem: its `code` says which")
        .content(problem::CONTENT_TYPE, Content::new(Some(problem)));
    let body = call.body.as_ref().map(|shape| {
        RequestBodyBuilder::new()
            .content("application/json", Content::new(Some(shape.schema())))
            .required(Some(Required::True))
            .build()
    });
    let scope = Extensions::builder().add("x-pointsman-scope", call.scope.as_str());
    let operation = OperationBuilder::new()
        .summary(Some(call.summary))
        .operation_id(Some(operation_id(call)))
        .parameters(Some(parameters(call)))
        .request_body(body)
        .response("200", good)
        .response("default", bad)
        .extensions(Some(scope.build()));
    if !call.has_304 {
        return operation;
    }
    let same = ResponseBuilder::new().description("The reader has this revision already");
    operation.response("304", same)
}

/// `put_v1_routes_host`.
fn operation_id(call: &ApiCall) -> String {
    let words = call.path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let method = call.method.as_str().to_ascii_lowercase();
    std::iter::once(&*method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn parameters(call: &ApiCall) -> Vec<Parameter> {
    let names = call.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?;
        name.strip_suffix('}')
    });
    let path = names.map(|name| parameter(name, ParameterIn::Path, name_schema(name)));
    let conditions: &[_] = match call.method {
        Method::PUT => &[("If-Match", ONE_OR_ANY), ("If-None-Match", ANY)],
        Method::DELETE => &[("If-Match", ONE_OR_ANY)],
        _ if call.has_304 => &[("If-None-Match", ETAGS)],
        _ => &[],
    };
    let conditions = conditions.iter().map(|(name, pattern)| {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        parameter(
            name,
            ParameterIn::Header,
            schema.pattern(Some(*pattern)).into(),
        )
    });
    let query = call.query.iter().flat_map(|shape| &shape.parts);
    let query = query.filter_map(|(_, schema)| match schema {
        RefOr::T(Schema::Object(object)) => Some(&object.properties),
        _ => None,
    });
    let query = query
        .flatten()
        .map(|(name, schema)| parameter(name, ParameterIn::Query, schema.clone()));
    path.chain(conditions).chain(query).collect()
}

fn parameter(name: &str, place: ParameterIn, schema: RefOr<Schema>) -> Parameter {
    let required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(schema))
        .build()
}

/// What a name in a path may be. (A host has too many forms for a pattern.)
fn name_schema(name: &str) -> RefOr<Schema> {
    let pattern = match name {
        "app" => Some("^[a-z0-9._-]{1,128}$"),
        "id" => Some("^[A-Za-z0-9._:-]{1,256}$"),
        _ => None,
    };
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .pattern(pattern)
        .into()
}

fn string() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}
