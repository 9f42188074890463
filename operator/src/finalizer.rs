//! The finalizer by which a deleted resource waits for its engines. Owns: how it is put on and taken off. Both are done
//! to the resource as it was seen: somebody else's change in between is not undone.

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use lps_api::resource::LLMProgramServing;
use lps_api::wellknown::manager;
use lps_api::wellknown::resource::FINALIZER;
use serde_json::{Value, json};

/// Whether the resource waits for the operator when it is deleted.
pub fn is_on(resource: &LLMProgramServing) -> bool {
    resource.finalizers().iter().any(|one| one == FINALIZER)
}

/// Puts it on; `false` when the resource was changed meanwhile, or is gone.
///
/// # Errors
/// When the API server refuses for another reason.
pub async fn put_on(
    api: &Api<LLMProgramServing>,
    resource: &LLMProgramServing,
) -> Result<bool, kube::Error> {
    let mut finalizers = resource.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    write(api, resource, finalizers).await
}

/// Takes it off; `false` when the resource was changed meanwhile, or is gone.
///
/// # Errors
/// When the API server refuses for another reason.
pub async fn take_off(
    api: &Api<LLMProgramServing>,
    resource: &LLMProgramServing,
) -> Result<bool, kube::Error> {
    let mut finalizers = resource.finalizers().to_vec();
    finalizers.retain(|one| one != FINALIZER);
    write(api, resource, finalizers).await
}

async fn write(
    api: &Api<LLMProgramServing>,
    resource: &LLMProgramServing,
    finalizers: Vec<String>,
) -> Result<bool, kube::Error> {
    let params = PatchParams {
        field_manager: Some(manager::OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch(resource, finalizers));
    match api.patch(&resource.name_any(), &params, &patch).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The whole list, which is right only for the version that it was made from.
fn patch(resource: &LLMProgramServing, finalizers: Vec<String>) -> Value {
    json!({"metadata": {
        "uid": resource.uid(),
        "resourceVersion": resource.resource_version(),
        "finalizers": finalizers,
    }})
}
