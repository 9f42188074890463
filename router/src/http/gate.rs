//! The gate before every route. Owns: where a key stands in a request, which role each route asks for, and that a request
//! goes on in the name of its key's tenant. What a key may do is not its to say.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use jiff::Timestamp;
use lps_api::ids::TenantId;
use lps_api::wellknown::header as known;
use lps_runtime::admin;
use tokio::sync::watch;

use crate::http::context::{Context, named_tenant};
use crate::http::error::Error;
use crate::keys::{Denied, Keys, Role};
use crate::metrics::Metrics;

/// Who may ask for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Who has a key with this role.
    Role(Role),
}

/// One method of one path.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// How a refusal is told there.
    pub(super) refused: fn(Error) -> Response,
    pub(super) serves: MethodRouter<Context>,
}

/// A route of that method.
macro_rules! route {
    ($(#[$about:meta])* $name:ident, $method:ident) => {
        $(#[$about])*
        pub(super) fn $name<H, T>(path: &'static str, access: Access, handler: H) -> Route
        where
            H: Handler<T, Context>,
            T: 'static,
        {
            Route {
                method: Method::$method,
                path,
                access,
                refused: Error::into_response,
                serves: routing::$name(handler),
            }
        }
    };
}

route!(
    /// A route that is asked with GET.
    get,
    GET
);
route!(
    /// A route that is asked with POST.
    post,
    POST
);
route!(
    /// A route that is asked with DELETE.
    delete,
    DELETE
);

impl Route {
    /// What serves it, behind the gate where there is one.
    pub(super) fn guarded(self, gate: Option<&Gate>) -> MethodRouter<Context> {
        let (Some(gate), Access::Role(role)) = (gate, self.access) else {
            return self.serves;
        };
        let post = Arc::new(Post {
            gate: gate.clone(),
            role,
            refused: self.refused,
        });
        self.serves.route_layer(from_fn_with_state(post, checked))
    }
}

/// The gate at one route.
struct Post {
    gate: Gate,
    role: Role,
    refused: fn(Error) -> Response,
}

async fn checked(State(post): State<Arc<Post>>, mut request: Request, next: Next) -> Response {
    match post.gate.admit(request.headers_mut(), post.role) {
        Ok(scope) => {
            request.extensions_mut().insert(scope);
            next.run(request).await
        }
        Err(error) => (post.refused)(error),
    }
}

/// Whose programs a caller may see that asks for more than one tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of all: it names no tenant, and is an administrator, or there are no keys.
    All,
    /// Those of the tenant that its header names.
    Named(TenantId),
    /// Those of its key's tenant.
    Own(TenantId),
}

impl Scope {
    /// The tenant whose programs are seen, where a query names one beside; `None`: those of all.
    pub(super) fn within(
        self,
        named: Option<TenantId>,
        metrics: &Metrics,
    ) -> Result<Option<TenantId>, Error> {
        match (self, named) {
            (Self::All, named) => Ok(named),
            (Self::Named(own) | Self::Own(own), None) => Ok(Some(own)),
            (Self::Named(own) | Self::Own(own), Some(named)) if own == named => Ok(Some(own)),
            (Self::Named(_), Some(_)) => {
                let header = known::TENANT_ID;
                let says =
                    format!("the query names one tenant and {header} another; leave one out");
                Err(Error::invalid("tenant", says))
            }
            (Self::Own(_), Some(_)) => Err(denied(metrics, Denied::Tenant)),
        }
    }

    /// Of who may see all, and names this tenant.
    fn of(named: Option<TenantId>) -> Self {
        named.map_or(Self::All, Self::Named)
    }
}

fn denied(metrics: &Metrics, why: Denied) -> Error {
    metrics.denied(why.reason());
    why.into()
}

impl<S: Send + Sync> FromRequestParts<S> for Scope {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        match parts.extensions.get::<Self>() {
            Some(scope) => Ok(scope.clone()),
            None => named_tenant(&parts.headers).map(Self::of),
        }
    }
}

/// Lets in who has a key.
#[derive(Debug, Clone)]
pub struct Gate {
    keys: watch::Receiver<Arc<Keys>>,
    metrics: Metrics,
    /// Whether metrics are for who has a key, too.
    guards_metrics: bool,
}

impl Gate {
    /// A gate that asks for one of these keys, also before metrics where those are guarded.
    pub fn new(keys: watch::Receiver<Arc<Keys>>, metrics: Metrics, guards_metrics: bool) -> Self {
        Self {
            keys,
            metrics,
            guards_metrics,
        }
    }

    /// Lets a request in, in the name of its key's tenant: from here on `x-tenant-id` says who asks, whatever it said.
    fn admit(&self, headers: &mut HeaderMap, role: Role) -> Result<Scope, Error> {
        let now = Timestamp::now();
        let keys = self.keys.borrow();
        let key = keys.find(shown(headers), now);
        let key = key.and_then(|key| key.may(role).map(|()| key));
        let key = key.map_err(|why| denied(&self.metrics, why))?;
        let named = named_tenant(headers)?;
        let tenant = key.tenant(named.clone());
        let tenant = tenant.map_err(|why| denied(&self.metrics, why))?;
        let scope = match key.may(Role::Admin) {
            Ok(()) => Scope::of(named),
            Err(_) => Scope::Own(tenant.clone()),
        };
        let tenant = HeaderValue::from_str(tenant.as_str()).expect("an id is printable");
        headers.insert(known::TENANT_ID, tenant);
        Ok(scope)
    }
}

impl admin::Gate for Gate {
    fn refusal(&self, headers: &HeaderMap, asked: admin::Asked) -> Option<(StatusCode, String)> {
        let role = match asked {
            admin::Asked::Metrics if !self.guards_metrics => return None,
            admin::Asked::Metrics => Role::Metrics,
            admin::Asked::Logs => Role::Admin,
        };
        let keys = self.keys.borrow();
        let key = keys.find(shown(headers), Timestamp::now());
        let why = key.and_then(|key| key.may(role)).err()?;
        Some((denied(&self.metrics, why).status(), why.to_string()))
    }
}

/// The key that a request shows. `x-api-key` is nobody else's, while `Authorization` may be for a proxy on the way.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let own = headers.get(known::API_KEY).map(HeaderValue::as_bytes);
    let bearer = || bearer(headers.get(header::AUTHORIZATION)?.as_bytes());
    let key = own.or_else(bearer)?.trim_ascii();
    (!key.is_empty()).then_some(key)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_clients_put_it() {
        for (headers, expected) in [
            (&[("authorization", "Bearer k")][..], Some("k")),
            (&[("authorization", "bearer  k ")], Some("k")),
            (&[("x-api-key", "k")], Some("k")),
            (
                &[("authorization", "Bearer other"), ("x-api-key", "k")],
                Some("k"),
            ),
            (&[("authorization", "Basic a2V5")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("authorization", "Bearer")], None),
            (&[("x-api-key", "")], None),
            (&[], None),
        ] {
            let pairs = headers.iter().map(|(name, value)| {
                let value = HeaderValue::from_static(value);
                (header::HeaderName::from_static(name), value)
            });
            let map: HeaderMap = pairs.collect();
            assert_eq!(shown(&map), expected.map(str::as_bytes), "{headers:?}");
        }
    }
}
