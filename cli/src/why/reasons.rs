//! Every reason that a resource or an engine's pod may give, in plain words. Owns: what each means and what to do about
//! it; `lps why` prints it, and docs/kubernetes-api.md is made from it.

/// One reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// Where it stands: a type of condition, or `lps why` where it is a conclusion from several facts.
    pub of: &'static str,
    /// In one word.
    pub reason: &'static str,
    /// What it means.
    pub cause: &'static str,
    /// What to do; `{name}` and `{namespace}` are the resource's. Empty where nothing has to be done.
    pub fix: &'static str,
}

const fn reason(
    of: &'static str,
    reason: &'static str,
    cause: &'static str,
    fix: &'static str,
) -> Reason {
    Reason {
        of,
        reason,
        cause,
        fix,
    }
}

/// The reason as it is known here, wherever it stands.
pub fn find(word: &str) -> Option<&'static Reason> {
    REASONS.iter().find(|known| known.reason == word)
}

/// Every reason, those of `Ready` first.
pub const REASONS: [Reason; 34] = [
    reason(
        "Ready",
        "EnginesReady",
        "as many engines serve as are wanted",
        "",
    ),
    reason(
        "Ready",
        "ScaledToZero",
        "no engine is wanted now; the next call starts one",
        "nothing is wrong; set spec.scaling.min to 1 to keep an engine (in mode Manual: kubectl scale -n {namespace} lps/{name} --replicas=1)",
    ),
    reason(
        "Ready",
        "EnginesStarting",
        "engines start, or are replaced, and nothing is wrong with them so far",
        "wait: an engine that is not ready within spec.engine.startTimeout is replaced; a large model may need a longer one",
    ),
    reason(
        "Ready",
        "Suspended",
        "spec.suspend is true, so there are no engines",
        "kubectl patch -n {namespace} lps/{name} --type merge -p '{\"spec\":{\"suspend\":false}}'",
    ),
    reason(
        "Ready",
        "Deleting",
        "the resource is deleted and its engines finish what they have",
        "wait: it is gone at the latest 30 s after spec.rollout.drainTimeout. Where no operator runs, nobody takes its finalizer off: kubectl patch -n {namespace} lps/{name} --type merge -p '{\"metadata\":{\"finalizers\":null}}'",
    ),
    reason(
        "Ready",
        "InvalidSpec",
        "a field makes no sense; engines that there are stay as they are",
        "the message names each field and what would be right: kubectl edit -n {namespace} lps/{name}",
    ),
    reason(
        "Ready",
        "NotAvailable",
        "the resource makes sense, but this version cannot carry it out",
        "the message names the field and what works instead: kubectl edit -n {namespace} lps/{name}",
    ),
    reason(
        "Ready",
        "ModelUnavailable",
        "the model cannot be fetched, or the claim that holds it is not there or has no volume",
        "the message ends with the last words of what fetches it: correct spec.model.source (repo, revision, tokenSecret, reference), or see whether nodes reach the hub (the chart's hubEndpoint) and user 65532 may write to the chart's modelCache. Of a claim: kubectl get pvc -n {namespace}, and create it, or correct spec.model.source.pvc.claim",
    ),
    reason(
        "Ready",
        "PullingModel",
        "the model is fetched before the engine begins; startTimeout does not run meanwhile",
        "wait: kubectl logs -n {namespace} -l llmprogram.dev/serving={name} -c model shows how far it is. With the chart's modelCache the next engine on the node does not fetch it again",
    ),
    reason(
        "Ready",
        "PodRefused",
        "the API server does not take the engine's pod: pod security of the namespace, a ResourceQuota, or an admission webhook",
        "the message is the API server's. A hostPath model, and a fetched one with the chart's modelCache, need a namespace whose pod security level is privileged: kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=privileged. It is tried again within 75 s",
    ),
    reason(
        "Ready",
        "VolumeMissing",
        "the engine's node cannot mount the model's volume",
        "put a hostPath's folder on every node that may run engines, or name the nodes that have it in spec.engine.pod.nodeSelector; of a claim, its own events say more (kubectl describe pvc -n {namespace})",
    ),
    reason(
        "Ready",
        "InsufficientGPU",
        "no node has a GPU left: an engine with device cuda asks for one nvidia.com/gpu",
        "add a node with GPUs and NVIDIA's device plugin, free a GPU, lower spec.scaling.max, or write spec.engine.device: cpu",
    ),
    reason(
        "Ready",
        "Unschedulable",
        "no node takes the engine's pod; the scheduler's message counts the nodes by what they lack",
        "lower spec.engine.resources.requests, loosen spec.engine.pod.nodeSelector, affinity or tolerations, or add nodes",
    ),
    reason(
        "Ready",
        "ImagePull",
        "the node cannot pull the engine's image",
        "correct spec.engine.image (unset: the operator's --engine-image, the chart's engine.image), or name a secret for the registry in spec.engine.pod.imagePullSecrets",
    ),
    reason(
        "Ready",
        "ContainerError",
        "the node cannot create or start the engine's container",
        "the message is the container runtime's: an image for another architecture or without the engine, or a runtime class that the node lacks",
    ),
    reason(
        "Ready",
        "CrashLoop",
        "an engine ended by itself; it is replaced at once, and after 1, 2, 4, … up to 60 s where engines fail in a row",
        "its last words say why: a wrong entry of spec.engine.extraArgs, a folder that is no checkpoint, or, with exit code 137, too little memory in spec.engine.resources.limits",
    ),
    reason(
        "ModelResolved",
        "Resolved",
        "nothing says that the model is missing",
        "",
    ),
    reason(
        "EnginesAvailable",
        "EnginesServe",
        "at least one engine serves",
        "",
    ),
    reason(
        "RolloutComplete",
        "Complete",
        "every engine is made from the present resource",
        "",
    ),
    reason(
        "RolloutComplete",
        "RollingOut",
        "engines of an older revision, or too few of the present one, are left",
        "wait: old engines drain for at most spec.rollout.drainTimeout each; if it stays, Ready or one of the engines says why",
    ),
    reason(
        "ScalingActive",
        "NotServed",
        "the router serves nothing by this resource, so its engines get no calls",
        "the message says why; of resources with the same spec.model.name only the oldest is served: delete one, or create this one with another model name",
    ),
    reason(
        "ScalingActive",
        "External",
        "scaling.mode is External: another autoscaler writes /scale, the router only wakes from zero",
        "",
    ),
    reason(
        "ScalingActive",
        "Manual",
        "scaling.mode is Manual: engines are as many as kubectl scale says",
        "",
    ),
    reason(
        "ScalingConflict",
        "OtherWriter",
        "somebody else writes spec.replicas too; the router lets the other number stand for 10 s, then twice as long each time, up to 5 min",
        "leave spec.replicas out of what is applied (Git, Helm, kubectl apply), or give the number to its writer with spec.scaling.mode: External or Manual",
    ),
    reason(
        "llmprogram.dev/admitted",
        "Admitted",
        "the router sends calls to the engine",
        "",
    ),
    reason(
        "llmprogram.dev/admitted",
        "NotAnswering",
        "the engine does not answer the router",
        "see whether its container still runs, and whether a NetworkPolicy lets the router reach port 8000 of engines: kubectl get networkpolicy -n {namespace}",
    ),
    reason(
        "llmprogram.dev/admitted",
        "Draining",
        "the engine gets no new calls and has some left",
        "",
    ),
    reason(
        "llmprogram.dev/admitted",
        "Drained",
        "the engine gets no new calls and has none left",
        "",
    ),
    reason(
        "lps why",
        "NotAdmitted",
        "the engine is up, but no router has said that it sends calls there",
        "see whether the router can reach port 8000 of the engine's pod: its log says why not (kubectl logs -A -l app.kubernetes.io/name=lps-router)",
    ),
    reason(
        "lps why",
        "NoRouter",
        "no pod labelled app.kubernetes.io/name=lps-router is ready, and only a router admits engines",
        "kubectl get pods -A -l app.kubernetes.io/name=lps-router; where there is none, install the chart",
    ),
    reason(
        "lps why",
        "NoOperator",
        "no pod labelled app.kubernetes.io/name=lps-operator is ready; engines are neither made nor replaced",
        "kubectl get pods -A -l app.kubernetes.io/name=lps-operator; where there is none, install the chart",
    ),
    reason(
        "lps why",
        "NotObserved",
        "no operator has looked at the resource",
        "see whether an operator runs, and whether it works in this namespace (its --namespace, the chart's scope and watchNamespace)",
    ),
    reason(
        "lps why",
        "Outdated",
        "what is told speaks of an older version of the resource",
        "wait a moment; if it stays, the operator does not run or its rounds fail: kubectl logs -A -l app.kubernetes.io/name=lps-operator",
    ),
    reason(
        "lps why",
        "NoEngines",
        "engines are wanted and there is no pod of one",
        "the operator could not create pods: kubectl get events -n {namespace}, a ResourceQuota or pod security of the namespace, and the operator's log say why",
    ),
];
