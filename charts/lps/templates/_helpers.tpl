{{/* Names, labels and the parts that pods have in common. `who` is a component: operator, router, uninstall, test. */}}

{{- define "lps.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* By these labels pods are selected; they never change. Arguments: root, who. */}}
{{- define "lps.selector" -}}
app.kubernetes.io/name: lps-{{ .who }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "lps.labels" -}}
{{ include "lps.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lps
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (replace "+" "_" .root.Chart.Version) }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of pods: a new version of the chart alone restarts none. Arguments: root, who. */}}
{{- define "lps.podLabels" -}}
{{ include "lps.selector" . }}
app.kubernetes.io/part-of: lps
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* REGISTRY/REPOSITORY:TAG, or @DIGEST. Arguments: root, image. */}}
{{- define "lps.image" -}}
{{- $registry := default .root.Values.imageRegistry .image.registry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion .image.tag }}{{ end -}}
{{- end -}}

{{- define "lps.serviceAccount" -}}
{{- $account := (index .root.Values .who).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "lps.fullname" .root) .who) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* The one namespace whose resources are served; empty: all. */}}
{{- define "lps.watched" -}}
{{- if eq .Values.scope "namespaced" -}}
{{- default .Release.Namespace .Values.watchNamespace -}}
{{- else if .Values.watchNamespace -}}
{{- fail "watchNamespace is set, but scope is cluster: write scope: namespaced, or leave watchNamespace empty" -}}
{{- end -}}
{{- end -}}

{{- define "lps.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The pod standards' restricted profile, and what a user decides about where pods run. Arguments: root, settings. */}}
{{- define "lps.pod" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Who a process is, and how it logs. Arguments: root, settings. */}}
{{- define "lps.env" -}}
- {name: LPS_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: LPS_POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: LPS_LOG_LEVEL, value: {{ .root.Values.logLevel | quote }}}
- {name: LPS_LOG_FORMAT, value: {{ .root.Values.logFormat | quote }}}
{{- with .settings.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lps.probes" -}}
readinessProbe: {httpGet: {path: /readyz, port: admin}, periodSeconds: 2, timeoutSeconds: 2}
livenessProbe: {httpGet: {path: /healthz, port: admin}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 6,
  # One that hangs does not drain: its clients are to be told soon.
  terminationGracePeriodSeconds: 5}
{{- end -}}

{{- /* What the router speaks to clients. */}}
{{- define "lps.scheme" -}}
{{- ternary "http" "https" (empty .Values.router.tls.secretName) -}}
{{- end }}

{{- /* Not empty where router and engines show each other certificates. */}}
{{- define "lps.engineTls" -}}
{{- with .Values.engine.tls -}}
{{- if ne (empty .secretName) (empty .routerSecretName) -}}
{{- fail "engine.tls: engines and routers show certificates to each other: write secretName and routerSecretName, or neither" -}}
{{- end -}}
{{- .secretName -}}
{{- end -}}
{{- end }}
