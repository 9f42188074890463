//! Whose call a request is. Owns: the headers that the router sends, and what stands in for them when a client comes
//! without a router.

use axum::http::HeaderMap;
use lps_api::ids::{CallId, ProgramId, TenantId};
use lps_api::quantity::{Attempt, Order};
use lps_api::wellknown::header;

use super::error::Error;

/// Whose call it is, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) call: CallId,
    pub(super) program: ProgramId,
    pub(super) attempt: Attempt,
    /// `None`: by priority and arrival.
    pub(super) order: Option<Order>,
    /// Whose prefixes it shares; `None`: those of nobody.
    pub(super) tenant: Option<TenantId>,
    /// Whether a router asks.
    pub(super) by_router: bool,
}

impl Identity {
    /// Reads the headers. `minted` names the call, and its program, where nobody did.
    pub(super) fn read(headers: &HeaderMap, minted: &str) -> Result<Self, Error> {
        let named = |name: &'static str| -> Result<Option<&str>, Error> {
            let Some(value) = headers.get(name) else {
                return Ok(None);
            };
            let text = value.to_str();
            text.map(Some)
                .map_err(|_| Error::invalid(name, format!("header {name} is not plain text")))
        };
        let wrong = |name: &'static str, reason: String| {
            Error::invalid(name, format!("header {name}: {reason}"))
        };
        let call = named(header::CALL_ID)?.unwrap_or(minted);
        let call = CallId::parse(call).map_err(|e| wrong(header::CALL_ID, e.to_string()))?;
        let program = named(header::PROGRAM_ID)?.unwrap_or(minted);
        let program =
            ProgramId::parse(program).map_err(|e| wrong(header::PROGRAM_ID, e.to_string()))?;
        let order = named(header::ORDER)?.map(str::parse::<Order>).transpose();
        let order = order.map_err(|e| wrong(header::ORDER, e.to_string()))?;
        let tenant = named(header::CACHE_TENANT)?
            .map(TenantId::parse)
            .transpose();
        let tenant = tenant.map_err(|e| wrong(header::CACHE_TENANT, e.to_string()))?;
        let attempt = named(header::ATTEMPT)?.map(str::parse::<u32>).transpose();
        let attempt = attempt.map_err(|e| wrong(header::ATTEMPT, e.to_string()))?;
        Ok(Self {
            call,
            program,
            attempt: Attempt(attempt.unwrap_or(0)),
            order,
            tenant,
            by_router: headers.contains_key(header::PROTOCOL),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Identity, Error> {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = axum::http::HeaderValue::from_str(value).unwrap();
            (axum::http::HeaderName::from_static(name), value)
        });
        Identity::read(&pairs.collect(), "minted-1")
    }

    #[test]
    fn headers_name_the_call_or_it_is_minted() {
        let identity = read(&[]).unwrap();
        assert_eq!(
            (identity.call.as_str(), identity.program.as_str()),
            ("minted-1", "minted-1")
        );
        assert_eq!(identity.order, None);
        let identity = read(&[
            ("x-call-id", "c~1"),
            ("x-program-id", "p"),
            ("x-lps-order", "1,-4"),
            ("x-lps-attempt", "2"),
        ]);
        let identity = identity.unwrap();
        assert_eq!(
            (identity.call.as_str(), identity.program.as_str()),
            ("c~1", "p")
        );
        assert_eq!(
            (identity.order, identity.attempt),
            (Some(Order { queue: 1, rank: -4 }), Attempt(2))
        );
        for wrong in [
            ("x-call-id", "a b"),
            ("x-lps-order", "1"),
            ("x-lps-cache-tenant", "a b"),
            ("x-lps-attempt", "-1"),
        ] {
            assert!(read(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
