{{- define "demo.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "demo.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "demo.selector" . }}
app.kubernetes.io/part-of: tidemill
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "demo.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{- define "demo.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "demo.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "demo.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* The store's keys as JSON: those of the values, else those of the last install, else new ones. Made once a render. */ -}}
{{- define "demo.keys" -}}
{{- if not (hasKey .Values.store "keys") }}
{{- $old := (lookup "v1" "Secret" .Release.Namespace .Values.store.secretName).data | default dict }}
{{- $access := .Values.store.accessKey | default (get $old "AWS_ACCESS_KEY_ID" | b64dec) | default (randAlphaNum 20) }}
{{- $secret := .Values.store.secretKey | default (get $old "AWS_SECRET_ACCESS_KEY" | b64dec) | default (randAlphaNum 40) }}
{{- $_ := set .Values.store "keys" (dict "access" $access "secret" $secret) }}
{{- end }}
{{- .Values.store.keys | toJson }}
{{- end }}

{{- define "demo.storeConfig" -}}
{{- $keys := include "demo.keys" . | fromJson }}
{{- $credentials := list (dict "accessKey" $keys.access "secretKey" $keys.secret) }}
{{- $actions := list "Admin" "Read" "List" "Tagging" "Write" }}
{{- dict "identities" (list (dict "name" "tidemill" "credentials" $credentials "actions" $actions)) | toJson }}
{{- end }}
