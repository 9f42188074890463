//! The way to a router through the API server: its proxy for Services, with the user's own rights. Owns: finding the
//! router's Service, and the path to it.

use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Bytes;
use hyper::{Request, Response};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use lps_api::wellknown::label;

use super::{Cluster, Error, RouterName, failed};

/// The router's Services: the one with every router's admin port is for metrics.
const SELECTOR: &str = "app.kubernetes.io/name=lps-router,!llmprogram.dev/port";
/// The port that speaks to clients, where a Service has several: by its name what it speaks.
const PORTS: [&str; 2] = ["http", HTTPS];
/// Of a router with a certificate.
const HTTPS: &str = "https";
/// Services that are looked at.
const SERVICES_MAX: u32 = 50;

/// A body as it comes; its error is told in words.
pub type Body = UnsyncBoxBody<Bytes, String>;

/// A router behind the API server.
#[derive(Clone)]
pub struct Proxy {
    client: kube::Client,
    root: String,
    name: String,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    /// The Service, as `NAMESPACE/NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a request to the router; its address is the path there alone.
    ///
    /// # Errors
    /// When the API server cannot be reached; what it or the router refuses is an answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("{}{path}", self.root);
        parts.uri = uri.parse().map_err(|_| Error::Name(uri))?;
        let request = Request::from_parts(parts, body.into());
        let answer = self.client.send(request).await;
        let answer = answer.map_err(failed("the API server cannot be asked"))?;
        Ok(answer.map(|body| body.map_err(|error| error.to_string()).boxed_unsync()))
    }
}

impl Cluster {
    /// The router that is named, else the one that there is.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub async fn router(&self, named: Option<&RouterName>) -> Result<Proxy, Error> {
        let service = match named {
            Some(named) => self.service(named).await?,
            None => self.only_router().await?,
        };
        let port = port(&service, named.and_then(|named| named.port.as_deref()))?;
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let service = if port == HTTPS {
            format!("{HTTPS}:{name}:{port}")
        } else {
            format!("{name}:{port}")
        };
        Ok(Proxy {
            client: self.client.clone(),
            root: format!("/api/v1/namespaces/{namespace}/services/{service}/proxy"),
            name: format!("{namespace}/{name}"),
        })
    }

    async fn service(&self, named: &RouterName) -> Result<Service, Error> {
        let namespace = named.namespace.as_deref().unwrap_or(&self.namespace);
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("Service {namespace}/{}", named.service);
        api.get(&named.service).await.map_err(failed(what))
    }

    async fn only_router(&self) -> Result<Service, Error> {
        let params = ListParams::default().labels(SELECTOR).limit(SERVICES_MAX);
        let all: Api<Service> = Api::all(self.client.clone());
        let own: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let (listed, place) = match all.list(&params).await {
            // Who may not look everywhere may look at home.
            Err(kube::Error::Api(refused)) if refused.code == 403 => {
                let place = format!(
                    "namespace {}, and no right to look in others",
                    self.namespace
                );
                (own.list(&params).await, place)
            }
            listed => (listed, "any namespace".to_owned()),
        };
        let listed = listed.map_err(failed("the router's Service cannot be looked for"))?;
        choose(
            listed.items,
            self.is_named.then_some(&self.namespace),
            &place,
        )
    }
}

/// The only one, or the only one in the namespace that a user named.
fn choose(
    mut found: Vec<Service>,
    namespace: Option<&String>,
    place: &str,
) -> Result<Service, Error> {
    let is_near = |service: &Service| service.metadata.namespace.as_ref() == namespace;
    if found.len() > 1 && found.iter().filter(|one| is_near(one)).count() == 1 {
        found.retain(is_near);
    }
    if found.len() > 1 {
        let names = found
            .iter()
            .map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()));
        return Err(Error::Routers(names.collect::<Vec<_>>().join(", ")));
    }
    let selector = format!("{}=lps-router", label::NAME);
    found
        .pop()
        .ok_or_else(|| Error::NoRouter(selector, place.to_owned()))
}

/// The port by which the API server's proxy knows it: its name, where it has one.
fn port(service: &Service, wanted: Option<&str>) -> Result<String, Error> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref());
    let ports = ports.unwrap_or_default();
    let is_wanted = |port: &&k8s_openapi::api::core::v1::ServicePort| match wanted {
        Some(wanted) => port.name.as_deref() == Some(wanted) || port.port.to_string() == wanted,
        None => port
            .name
            .as_deref()
            .is_some_and(|name| PORTS.contains(&name)),
    };
    let only = || (wanted.is_none()).then(|| ports.first()).flatten();
    let port =
        ports.iter().find(is_wanted).or_else(only).ok_or_else(|| {
            Error::NoPort(service.name_any(), wanted.unwrap_or(PORTS[0]).to_owned())
        })?;
    Ok(port.name.clone().unwrap_or_else(|| port.port.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, ports: serde_json::Value) -> Service {
        let metadata = json!({"name": "lps-router", "namespace": namespace});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"ports": ports}}))
            .expect("a Service")
    }

    #[test]
    fn the_port_for_clients_is_found() {
        let two = json!([{"name": "admin", "port": 8081}, {"name": "http", "port": 8080}]);
        for (ports, wanted, expected) in [
            (two.clone(), None, Some("http")),
            (two.clone(), Some("8081"), Some("admin")),
            (two.clone(), Some("admin"), Some("admin")),
            (two, Some("9"), None),
            (
                json!([{"name": "admin", "port": 8081}, {"name": "https", "port": 443}]),
                None,
                Some("https"),
            ),
            (json!([{"port": 80}]), None, Some("80")),
            (json!([]), None, None),
        ] {
            let found = port(&service("a", ports), wanted).ok();
            assert_eq!(found.as_deref(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn of_several_routers_the_named_namespaces_is_taken() {
        let found = || vec![service("a", json!([])), service("b", json!([]))];
        let chosen = |found, namespace: Option<&str>| {
            let namespace = namespace.map(str::to_owned);
            let chosen = choose(found, namespace.as_ref(), "any namespace");
            chosen
                .map(|one| one.namespace().unwrap_or_default())
                .map_err(|error| error.to_string())
        };
        assert_eq!(chosen(found(), Some("b")), Ok("b".to_owned()));
        assert_eq!(
            chosen(vec![service("a", json!([]))], Some("c")),
            Ok("a".to_owned())
        );
        let error = chosen(found(), None).expect_err("two");
        assert!(error.contains("a/lps-router, b/lps-router"), "{error}");
        let error = chosen(found(), Some("c")).expect_err("two");
        assert!(error.contains("--router"), "{error}");
        let error = chosen(Vec::new(), None).expect_err("none");
        assert!(error.contains("is lps installed"), "{error}");
    }
}
