//! What no container of an engine's pod may do. Owns: the restricted pod security level, said of each container. Pure.

use k8s_openapi::api::core::v1::{Capabilities, SecurityContext};

/// No further rights, nothing written to its image, no capability; the pod says that it is not root.
pub(crate) fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        ..SecurityContext::default()
    }
}
