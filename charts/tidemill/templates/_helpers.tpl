{{- define "tidemill.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "tidemill.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "tidemill.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tidemill.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tidemill.selector" -}}
app.kubernetes.io/name: {{ include "tidemill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* managed-by is helm, not tidemill: the operator takes what says tidemill for a child of its own. */ -}}
{{- define "tidemill.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "tidemill.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidemill
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "tidemill.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tidemill.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: needed because serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tidemill.flowSubjects" -}}
- kind: ServiceAccount
  serviceAccount:
    name: {{ include "tidemill.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* An image's full name: by digest, else by tag, else by the chart's version; empty without a repository. */ -}}
{{- define "tidemill.image" -}}
{{- $image := .image }}
{{- if not $image.repository }}
{{- else if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default .root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "tidemill.agentRole" -}}
{{- printf "%s-agent" (include "tidemill.fullname" .) }}
{{- end }}

{{- define "tidemill.leaseName" -}}
{{- printf "%s-operator" (include "tidemill.fullname" .) }}
{{- end }}

{{- /* One Deployment for each shard: plain names while there is one, so that nothing changes for who has no shards. */ -}}
{{- define "tidemill.shardName" -}}
{{- include "tidemill.fullname" .root }}{{ if gt (int .root.Values.shards) 1 }}-{{ .index }}{{ end }}
{{- end }}

{{- define "tidemill.shardLabel" -}}
{{- if gt (int .root.Values.shards) 1 -}}
tidemill.dev/shard: {{ .index | quote }}
{{- end }}
{{- end }}

{{- /* Leases that the operators may hold: with shards also those of every other count, so that a change of the count
       takes no right from who must still give its Lease back. */ -}}
{{- define "tidemill.leaseNames" -}}
{{- $base := include "tidemill.leaseName" . }}
{{- $names := list $base }}
{{- if gt (int .Values.shards) 1 }}
{{- range $count := untilStep 2 17 1 }}
{{- range $index := until $count }}
{{- $names = append $names (printf "%s-%d-of-%d" $base $index $count) }}
{{- end }}
{{- end }}
{{- end }}
{{- $names | toJson }}
{{- end }}

{{- /* The operator's settings file: see `python -m tidemill.runtime --help`. */ -}}
{{- define "tidemill.settings" -}}
workers: {{ .Values.workers }}
httpPort: 8080
shutdownSeconds: {{ .Values.shutdownSeconds }}
watch:
  namespaces: {{ .Values.watchNamespaces | toJson }}
  resyncInterval: {{ .Values.resyncSeconds }}
images:
  {{- range $name := list "worker" "trainer" "language" "serving" "triton" "ray" }}
  {{ $name }}: {{ include "tidemill.image" (dict "root" $ "image" (index $.Values.images $name)) | quote }}
  {{- end }}
  pullPolicy: {{ .Values.images.pullPolicy }}
  pullSecrets: {{ .Values.images.pullSecrets | toJson }}
store:
  {{- toYaml .Values.store | nindent 2 }}
prometheus:
  url: {{ .Values.prometheus.url | quote }}
  timeout: {{ .Values.prometheus.timeout }}
  {{- with .Values.prometheus.tokenSecret }}
  tokenFile: {{ ternary (printf "/etc/tidemill/prometheus-token/%s" .key) "" (ne .name "") | quote }}
  {{- end }}
  {{- with .Values.prometheus.caSecret }}
  caFile: {{ ternary (printf "/etc/tidemill/prometheus-ca/%s" .key) "" (ne .name "") | quote }}
  {{- end }}
client:
  {{- toYaml .Values.client | nindent 2 }}
progress:
  interval: {{ .Values.progressSeconds }}
lease:
  enabled: {{ .Values.leaderElection.enabled }}
  name: {{ include "tidemill.leaseName" . }}
  namespace: {{ .Release.Namespace }}
  duration: {{ .Values.leaderElection.leaseDuration }}
  renewDeadline: {{ .Values.leaderElection.renewDeadline }}
  retryPeriod: {{ .Values.leaderElection.retryPeriod }}
shard:
  count: {{ .Values.shards }}
log:
  {{- toYaml .Values.log | nindent 2 }}
children:
  workerServiceAccount: {{ .Values.workerServiceAccount }}
  agentRoleKind: {{ ternary "Role" "ClusterRole" (gt (len .Values.watchNamespaces) 0) }}
  agentRoleName: {{ include "tidemill.agentRole" . }}
  clusterDomain: {{ .Values.clusterDomain }}
  podLabels: {{ .Values.podLabels | toJson }}
{{- end }}
