//! `/v1/openapi.json`: the OpenAPI document, made from the table of calls.

use std::sync::LazyLock;

use axum::http::header;
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

use super::calls::{Answers, Call, Shape, all};
use super::problem;

static TEXT: LazyLock<String> = LazyLock::new(|| format!("{}\n", document()));

pub(super) async fn get() -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (content_type, TEXT.as_str()).into_response()
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Paths::new();
    let mut parts = Vec::new();
    let problem = Shape::of::<ProblemBody>();
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

fn http_method(call: &Call) -> Option<HttpMethod> {
    match call.method.as_str() {
        "GET" => Some(HttpMethod::Get),
        "PUT" => Some(HttpMethod::Put),
        "POST" => Some(HttpMethod::Post),
        "DELETE" => Some(HttpMethod::Delete),
        _ => None,
    }
}

fn operation(call: &Call, problem: RefOr<Schema>) -> OperationBuilder {
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
    OperationBuilder::new()
        .summary(Some(call.summary))
        .operation_id(Some(operation_id(call)))
        .parameters(Some(parameters(call)))
        .request_body(body)
        .response("200", good)
        .response("default", bad)
        .extensions(Some(scope.build()))
}

/// `put_v1_routes_host`.
fn operation_id(call: &Call) -> String {
    let words = call.path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let method = call.method.as_str().to_ascii_lowercase();
    std::iter::once(&*method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn parameters(call: &Call) -> Vec<Parameter> {
    let names = call.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?;
        name.strip_suffix('}')
    });
    let path = names.map(|name| parameter(name, ParameterIn::Path, string()));
    let is_write = call.method != axum::http::Method::GET;
    let conditions = ["If-Match", "If-None-Match"].into_iter();
    let conditions = conditions
        .filter(|_| is_write)
        .map(|name| parameter(name, ParameterIn::Header, string()));
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

fn string() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}
